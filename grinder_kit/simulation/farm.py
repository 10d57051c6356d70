"""A sweep on more than one machine: the same grids over many recordings, on the workers of a Dask cluster.

Only paths and configurations travel. A worker reads a recording from a path that all of them share, runs some grids on it, and
writes their rows as one Parquet file, whole or not at all. What was lost with a worker the scheduler gives to another, which writes
the same file. A sweep that was interrupted goes on from the files that are there.

Needs the extra `dask`. One machine needs none of this: `sweep` uses all of its cores.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from grinder_kit.errors import ConfigError, DataError, GrinderError
from grinder_kit.fillprob.model_file import Fitted, model_sha256
from grinder_kit.kernel.options import kernel_options
from grinder_kit.market.recording import Recording
from grinder_kit.market.synthetic import SyntheticMarket
from grinder_kit.model.config import Config, GridConfig
from grinder_kit.model.config_check import check_against
from grinder_kit.model.whole_file import draft
from grinder_kit.simulation.sweep import covers, share, sweep
from grinder_kit.simulation.verdict import BLOCK_S

if TYPE_CHECKING:
    from decimal import Decimal

    from distributed import Client

    from grinder_kit.fillprob.model import FillModel
    from grinder_kit.model.instrument import Instrument
    from grinder_kit.simulation.shared_market import SharedMarket

log = logging.getLogger(__name__)

GRIDS_A_PART = 256
PLAN = "sweep.json"
_PACKAGE = "grinder-kit"
_WAIT_S = 30  # for the first worker
_AHEAD = 4  # parts handed out for each thread of the cluster

#: A market that a worker can open by itself.
Distant = Recording | SyntheticMarket


def sweep_far(
    markets: Sequence[Path | str | Recording | SyntheticMarket],
    grids: Iterable[GridConfig | Config],
    client: Client | str,
    *,
    to: Path,
    model: FillModel | Fitted | None = None,
    block_s: float = BLOCK_S,
    grids_a_part: int = GRIDS_A_PART,
) -> pl.DataFrame:
    """Trade many grids on many markets, on the workers of a cluster.

    Parameters
    ----------
    markets : sequence of Path, str, Recording or SyntheticMarket
        Recordings lie on a path that every worker sees. A window of one is a market of its own, so that a long recording can be
        spread over workers; each part of it starts flat.
    grids : iterable of GridConfig or Config
        As in `sweep`.
    client : Client or str
        Of the cluster, or the address of its scheduler.
    to : Path
        A folder that every worker sees. Rows are written there and read back. The same call goes on where an earlier one ended.
    model, block_s
        As in `sweep`.
    grids_a_part : int
        How many grids one task runs on one market, and one file holds.

    Returns
    -------
    DataFrame
        The rows of `sweep` for each market, in the order given; `market` counts the markets from 0.

    Raises
    ------
    ConfigError
        Without the extra `dask`; for a market or a grid that cannot be run; for a folder that holds another sweep.
    DataError
        For a worker that does not see a recording or the folder, sees another recording under that path, or has another version.
        All of this before anything is computed. Later: for a market without a mid at its end.
    GrinderError
        For a cluster without workers, or a part that its workers did not survive. What is done stays in the folder.

    Examples
    --------
    >>> from distributed import Client  # doctest: +SKIP
    >>> client = Client("tcp://scheduler:8786")  # doctest: +SKIP
    >>> table = sweep_far(["/data/btc", "/data/eth"], grids, client, to=Path("/data/sweeps/1"))  # doctest: +SKIP
    """
    configs = [grid if isinstance(grid, Config) else Config(grid=grid) for grid in grids]
    opened = [_distant(market) for market in markets]
    folder = to.resolve()
    _check(opened, configs, model, block_s, grids_a_part)
    parts = [
        _Part(number=number, first=first, size=min(grids_a_part, len(configs) - first), folder=folder)
        for number in range(len(opened))
        for first in range(0, len(configs), grids_a_part)
    ]
    _enter(folder, _plan(opened, configs, model, block_s, grids_a_part))
    missing = [part for part in parts if not part.path.is_file()]
    if missing:
        log.info("parts=%d done=%d to=%s", len(parts), len(parts) - len(missing), folder)
        with _connected(client) as cluster:
            _see(cluster, opened, folder)
            _run(cluster, missing, opened, configs, model, block_s)
        for left in folder.glob(".*.part.parquet"):  # of workers that died
            left.unlink(missing_ok=True)
    # Another instrument may have other decimals.
    return pl.concat([pl.read_parquet(part.path) for part in parts], how="vertical_relaxed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some grids on one market, and the file of their rows."""

    number: int
    first: int
    size: int
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / f"{self.number:05d}-{self.first:07d}.parquet"


# --- before anything is computed ------------------------------------------------------------------------------------------


def _distant(market: Path | str | Recording | SyntheticMarket) -> Distant:
    if isinstance(market, Path | str):
        return Recording.open(Path(market).resolve())
    if isinstance(market, Recording):
        whole = Recording.open(market.path.resolve())
        return dataclasses.replace(whole, start_ns=market.start_ns, end_ns=market.end_ns)
    if isinstance(market, SyntheticMarket):
        return market
    raise ConfigError(f"a {type(market).__name__} cannot travel to a worker; give recordings by their path")


def _check(
    markets: Sequence[Distant],
    configs: Sequence[Config],
    model: FillModel | Fitted | None,
    block_s: float,
    grids_a_part: int,
) -> None:
    if not markets or not configs:
        raise ConfigError("there is nothing to run; give at least one market and one configuration")
    if not 0 < block_s < float("inf"):
        raise ConfigError(f"block_s is {block_s}; write seconds above 0")
    if grids_a_part < 1:
        raise ConfigError(f"grids_a_part is {grids_a_part}; write 1 or more")
    first = kernel_options(configs[0].execution)
    for number, config in enumerate(configs):
        options = kernel_options(config.execution)
        if (options.feed, options.by_quote) != (first.feed, first.by_quote):
            raise ConfigError(
                f"grid {number}: it has other rules of time and crossing (clock, ties, trade_advance_ms, cross_by) than grid 0; "
                "sweep it apart"
            )
        for instrument in {market.instrument for market in markets}:
            outside = covers(config, instrument, model)
            if outside is not None:
                raise ConfigError(
                    f"grid {number}: the compiled path does not cover {outside} as it is set; replay this configuration, "
                    "or leave the key out"
                )
            _check_against(number, config, instrument, None)


def _check_against(number: int, config: Config, instrument: Instrument, price: Decimal | None) -> None:
    try:
        check_against(config, instrument, price)
    except ConfigError as error:
        raise ConfigError(f"grid {number}: {error}") from None


def _named(model: FillModel | Fitted | None) -> str | None:
    """Return the hash of a model, None where there is none."""
    return model.sha256 if isinstance(model, Fitted) else None if model is None else model_sha256(model)


def _plan(
    markets: Sequence[Distant],
    configs: Sequence[Config],
    model: FillModel | Fitted | None,
    block_s: float,
    grids_a_part: int,
) -> dict[str, Any]:
    """Return what a folder is for; equal where its files can be used."""
    about = [
        {
            "market": market.describe() | {"span_ns": list(market.span_ns)},
            "parts": [part.metadata for part in market.parts],
        }
        if isinstance(market, Recording)
        else {"market": repr(market)}
        for market in markets
    ]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for config in configs:
        digest.update(config.canonical().encode())
    return {
        "sha256": digest.hexdigest(), "version": version(_PACKAGE), "markets": len(markets), "grids": len(configs),
        "model": _named(model), "block_s": block_s, "grids_a_part": grids_a_part,
    }  # fmt: skip


def _enter(folder: Path, plan: dict[str, Any]) -> None:
    """Write down what a folder is for, or find it to be for the same."""
    path = folder / PLAN
    if not path.is_file():
        with draft(path) as file:
            file.write_text(json.dumps(plan, indent=1), encoding="utf-8")
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        earlier = {}
    other = [key for key in plan if not isinstance(earlier, dict) or earlier.get(key) != plan[key]]
    if other:
        what = ", ".join("markets or grids" if key == "sha256" else key for key in other)
        raise ConfigError(
            f"{folder} holds another sweep (it differs in {what}); choose another folder, or remove this one"
        )


@contextmanager
def _connected(client: Client | str) -> Iterator[Any]:
    try:
        import distributed
    except ImportError:
        raise ConfigError(
            "sweeps on more than one machine need Dask; install the extra: pip install 'grinder-kit[dask]'"
        ) from None
    if not isinstance(client, str):
        yield client
        return
    try:
        connect: Any = distributed.Client
        made = connect(client, timeout=_WAIT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise GrinderError(f"no scheduler answers at {client} ({error}); start one, or write its address") from None
    with made:
        yield made


def _see(client: Any, markets: Sequence[Distant], folder: Path) -> None:
    """Ask every worker whether it sees what this process sees."""
    try:
        client.wait_for_workers(1, timeout=_WAIT_S)
    except TimeoutError:
        raise GrinderError(f"the cluster has had no worker for {_WAIT_S} s; start workers and sweep again") from None
    probe = folder / f".probe-{uuid.uuid4().hex}"
    probe.touch()
    try:
        answers = client.run(_blind, list(markets), probe, version(_PACKAGE), on_error="return")
    finally:
        probe.unlink()
    for worker, answer in answers.items():
        if isinstance(answer, BaseException):
            raise DataError(
                f"worker {worker} cannot be asked ({type(answer).__name__}: {answer}); install {_PACKAGE} {version(_PACKAGE)} there"
            )
        if answer is not None:
            raise DataError(f"worker {worker} {answer}")


def _blind(markets: Sequence[Distant], probe: Path, wanted: str) -> str | None:
    """Return what this worker does not see as the client does, and what to do; None where it sees all."""
    if version(_PACKAGE) != wanted:
        return f"has {_PACKAGE} {version(_PACKAGE)}, and this is {wanted}; install the same"
    for market in markets:
        if not isinstance(market, Recording):
            continue
        try:
            seen = Recording.open(market.path)
        except (DataError, OSError):
            return f"cannot see {market.path}; put recordings where every worker finds them under the same path"
        if seen.parts != market.parts:
            return f"sees another recording at {market.path}; give every worker the same files"
    written = probe.with_name(f"{probe.name}-{uuid.uuid4().hex}")
    if not probe.is_file():
        return f"cannot see the folder {probe.parent}; write results where every worker finds them under the same path"
    try:
        written.touch()
        written.unlink()
    except OSError as error:
        return f"cannot write into {probe.parent} ({error.strerror}); let workers write there"
    return None


# --- running -------------------------------------------------------------------------------------------------------------


def _run(
    client: Any,
    parts: Sequence[_Part],
    markets: Sequence[Distant],
    configs: Sequence[Config],
    model: FillModel | Fitted | None,
    block_s: float,
) -> None:
    """Hand parts out, a few ahead, so that configurations of all of them are never under way at once."""
    import distributed
    from distributed.scheduler import KilledWorker

    run, waiting, names = uuid.uuid4().hex, iter(parts), {}

    def submit(part: _Part) -> Any:
        some = configs[part.first : part.first + part.size]
        future = client.submit(
            _write, part, markets[part.number], some, model, block_s, key=f"grinder-{run}-{part.path.stem}"
        )
        names[future.key] = part.path.name
        return future

    ahead = _AHEAD * max(1, sum(client.nthreads().values()))
    finished: Any = distributed.as_completed
    under_way = finished([submit(part) for part in islice(waiting, ahead)])
    try:
        for future in under_way:
            name = names.pop(future.key)
            try:
                future.result()
            except KilledWorker as error:
                raise GrinderError(
                    f"{name}: its workers died again and again, the last {error.last_worker.address}; give them more memory, or write "
                    f"shorter windows. What is done is kept in {parts[0].folder}: sweep again to go on"
                ) from None
            log.info("part=%s waiting=%d", name, len(names))
            for part in islice(waiting, 1):
                under_way.add(submit(part))
    finally:
        client.cancel(list(under_way.futures), force=True)


def _write(
    part: _Part, market: Distant, configs: Sequence[Config], model: FillModel | Fitted | None, block_s: float
) -> None:
    """Run a part in a worker and write its rows."""
    try:
        shared = _shared(market, configs[0])
        for number, config in enumerate(configs, start=part.first):
            _check_against(number, config, shared.instrument, shared.first_mid(config.grid.step_ns))
        rows = sweep(shared, configs, model=model, threads=1, block_s=block_s)
    except GrinderError as error:
        kind = ConfigError if isinstance(error, ConfigError) else DataError  # others may not survive the way back
        raise kind(f"market {part.number}: {error}") from None
    rows = rows.select(pl.lit(part.number, pl.Int64).alias("market"), pl.all()).with_columns(
        pl.col("grid") + part.first
    )
    with draft(part.path) as file:
        rows.write_parquet(file)


_reading = threading.Lock()
_last: list[tuple[str, SharedMarket]] = []  # of this process: parts of one market come one after another


def _shared(market: Distant, config: Config) -> SharedMarket:
    options = kernel_options(config.execution)
    key = repr((market, options.feed, options.by_quote))
    with _reading:
        if not _last or _last[0][0] != key:
            _last.clear()
            _last.append((key, share(market, config)))
        return _last[0][1]
