"""One part of a market, read once, on which any number of configurations are run."""

from __future__ import annotations

import hashlib
import shutil
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grinder_kit.errors import ConfigError
from grinder_kit.kernel.feed import FeedOptions
from grinder_kit.kernel.options import kernel_options
from grinder_kit.model.config import Config, CrossBy
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.sweep import covers, share, sweep
from grinder_kit.simulation.verdict import block_profits
from grinder_kit.tuning.trial import Outcome

if TYPE_CHECKING:
    import polars as pl
    from distributed import Client

    from grinder_kit.fillprob.model_file import Fitted
    from grinder_kit.market.recording import Recording
    from grinder_kit.market.synthetic import SyntheticMarket
    from grinder_kit.simulation.result import Result
    from grinder_kit.simulation.shared_market import SharedMarket

    Splittable = Recording | SyntheticMarket

GRIDS_A_PART = 32  # that one task of a cluster runs
HOUR_NS = 3_600_000_000_000
SLACK_NS = 500_000_000  # beside full blocks: the first point of an equity curve comes a step after the first event


def whole_blocks(start_ns: int, end_ns: int, block_s: float) -> int:
    """Return the length of the largest part of a stretch that full blocks cover, ns; all of it where not even one fits."""
    block_ns, length = round(block_s * 1e9), end_ns - start_ns
    blocks = (length - SLACK_NS) // block_ns
    return blocks * block_ns + SLACK_NS if blocks > 0 else length


_Rules = tuple[FeedOptions, bool]


def _rules(config: Config) -> _Rules:
    """Return what decides how a market is read for a configuration."""
    return kernel_options(config.execution).feed, config.execution.cross_by is CrossBy.QUOTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Farm:
    """Where the sweeps of a study run when this machine is not enough: on the workers of a Dask cluster.

    Attributes
    ----------
    client : Client or str
        Of the cluster, or the address of its scheduler.
    folder : Path
        Where workers leave their rows until they are in the study's file; they must see it, and the market, under the same path.
    """

    client: Client | str
    folder: Path

    def sweep(
        self, market: Splittable, configs: Sequence[Config], model: Fitted | None, block_s: float
    ) -> pl.DataFrame:
        """Return the rows of a sweep; what an interrupted one has left is used."""
        from grinder_kit.simulation.farm import sweep_far

        named = hashlib.sha256(
            repr((market.span_ns, block_s, [config.canonical() for config in configs], model and model.sha256)).encode()
        )
        folder = self.folder / named.hexdigest()[:16]
        rows = sweep_far(
            [market], configs, self.client, to=folder, model=model, block_s=block_s, grids_a_part=GRIDS_A_PART
        )
        shutil.rmtree(folder)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()
        return rows


def connected(executor: Client | str) -> Client | str:
    """Return the client that this process has for ``dask``, and anything else as it is.

    Raises
    ------
    ConfigError
        Where there is none, or Dask is not installed.
    """
    if executor != "dask":
        return executor
    try:
        from distributed import default_client
    except ModuleNotFoundError:
        raise ConfigError("executor 'dask' needs Dask: pip install 'grinder-kit[dask]'") from None
    try:
        client: Client = default_client()  # type: ignore[no-untyped-call]
    except ValueError:
        raise ConfigError(
            "executor is 'dask', and there is no client: make one with distributed.Client(address), or pass the address"
        ) from None
    return client


class Part:
    """One part of a market.

    Parameters
    ----------
    market : Recording or SyntheticMarket
        Read when the first configuration asks for it, once for each set of rules of time and crossing.
    block_s : float
        Length of the blocks of profit, s.
    model : Fitted, optional
        What `grid.min_fill_prob` is held against.
    farm : Farm, optional
        Where sweeps run; by default here.
    """

    def __init__(
        self, market: Splittable, *, block_s: float, model: Fitted | None = None, farm: Farm | None = None
    ) -> None:
        self.market, self.block_s, self.model, self.farm = market, block_s, model, farm
        first, last = market.span_ns
        self.hours = (last - first) / HOUR_NS
        self._shared: dict[_Rules, SharedMarket] = {}

    def share(self, config: Config) -> SharedMarket:
        """Return the market as read for the rules of a configuration."""
        rules = _rules(config)
        if rules not in self._shared:
            self._shared[rules] = share(self.market, config)
        return self._shared[rules]

    def first_mid(self, config: Config) -> Decimal | None:
        """Return mid at the first decision of a configuration, quote."""
        return self.share(config).first_mid(config.grid.step_ns)

    def kept_out(self, config: Config) -> str | None:
        """Return the first key that the compiled path does not cover; None: it covers all of it."""
        named = None if config.instrument is None else config.instrument.instrument()
        if named is not None and named != self.market.instrument:
            return "instrument"
        return covers(config, self.market.instrument, self.model)

    def run(self, configs: Sequence[Config]) -> list[Outcome]:
        """Run configurations: those that the compiled path covers as one sweep, the others by replay.

        Raises
        ------
        ConfigError
            For a configuration that does not fit the instrument.
        """
        found: dict[int, Outcome] = {}
        sweeps: dict[_Rules, list[int]] = {}
        for number, config in enumerate(configs):
            key = self.kept_out(config)
            if key is None:
                sweeps.setdefault(_rules(config), []).append(number)
            else:
                found[number] = self._replayed(replay(self.market, config, model=self.model), key)
        for numbers in sweeps.values():
            rows = self._rows([configs[number] for number in numbers])
            found |= {numbers[row["grid"]]: self._outcome(row, row["blocks"]) for row in rows.iter_rows(named=True)}
        return [found[number] for number in range(len(configs))]

    def _rows(self, configs: Sequence[Config]) -> pl.DataFrame:
        """Return the rows of a sweep over configurations of the same rules."""
        if self.farm is None:
            return sweep(self.share(configs[0]), configs, model=self.model, block_s=self.block_s)
        return self.farm.sweep(self.market, configs, self.model, self.block_s)

    def _replayed(self, result: Result, kept_out: str) -> Outcome:
        equity = result.equity
        blocks = block_profits(equity["ts_ns"].to_numpy(), equity["equity"].cast(float).to_numpy(), self.block_s)
        return self._outcome(result.summary, blocks.tolist(), kept_out)

    def _outcome(self, found: Mapping[str, Any], blocks: list[float], kept_out: str | None = None) -> Outcome:
        """Return the outcome that a row of a sweep or the summary of a replay tells; both have the same names."""
        return Outcome(
            hours=self.hours,
            net=found["equity"],
            fees=found["fee"],
            funding=found["funding"],
            fills=found["trades"],
            round_trips=found["round_trips"],
            orders=found["submitted_buy"] + found["submitted_sell"],
            drawdown=found["max_drawdown"],
            inventory_p95=found["inventory_p95"],
            blocks=_adding_up(blocks, float(found["equity"])),
            kept_out=kept_out,
        )


def _adding_up(blocks: list[float], net: float) -> array[float]:
    """Return blocks whose last one also holds what came after it, less than SLACK_NS, so that they add up to the profit."""
    return array("d", [*blocks[:-1], blocks[-1] + net - sum(blocks)] if blocks else [])
