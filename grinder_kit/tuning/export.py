"""The way to production: a configuration as one file, with what is known of it, and beside it what it did."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.execution.journal_words import utc
from grinder_kit.fillprob.model_file import Fitted, fitted_for, load_fitted, save_model
from grinder_kit.market.naming import open_market
from grinder_kit.model.config import Config, FillModelConfig, GridConfig, Provenance
from grinder_kit.model.config_diff import differences
from grinder_kit.model.config_file import load_config, save_config
from grinder_kit.model.whole_file import draft
from grinder_kit.simulation.replay import replay
from grinder_kit.simulation.result import Result
from grinder_kit.tuning.trace import save_trace, trace_path

if TYPE_CHECKING:
    from grinder_kit.fillprob.model import FillModel
    from grinder_kit.market.source import Market


@runtime_checkable
class Judged(Protocol):
    """Net profit an hour with its interval, in the settlement asset, as a result's verdict has it."""

    @property
    def per_hour(self) -> float:
        """Net profit an hour."""
        ...

    @property
    def low(self) -> float | None:
        """Lower end of the 90 % interval; None without one."""
        ...

    @property
    def high(self) -> float | None:
        """Its upper end."""
        ...

    @property
    def text(self) -> str:
        """All of it in words."""
        ...


@runtime_checkable
class Chosen(Protocol):
    """What a study hands over; of what else it has, `score` (a Judged), `window_ns` (of the score), `seed` and `note` are taken."""

    @property
    def config(self) -> Config:
        """What is to run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a source says of itself."""

    config: Config
    result: Result | None = None
    score: Judged | None = None
    score_ns: tuple[int, int] | None = None
    seed: int | None = None
    note: str | None = None


def export(
    source: Config | GridConfig | Result | Chosen,
    path: str | os.PathLike[str],
    *,
    market: Market | Path | str | None = None,
    model: FillModel | Fitted | None = None,
    score: Judged | None = None,
    seed: int | None = None,
    note: str | None = None,
    trace: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write a configuration for production: TOML with comments and units, and in [provenance] what is known of it.

    `grinder replay`, `grinder verify` and `grinder run` take the file. It holds no path of this machine: a recording is named as it
    is called in its folder, and a fill model is copied beside the file.

    Parameters
    ----------
    source : Config, GridConfig, Result or Chosen
        What is to run. A result brings its market, digest, verdict and model.
    path : path
        Of the file, such as ``deploy/btc.toml``; its folder is made.
    market : Market, path or str, optional
        Where a configuration or a pick is replayed now, so that the file knows its digest. A result was run already.
    model : FillModel or Fitted, optional
        By which levels are judged; by default the one that the configuration names.
    score : Judged, optional
        By default the pick's, or the verdict of the run.
    seed : int, optional
        Of the study; by default the pick's.
    note : str, optional
        Free text; by default the pick's.
    trace : bool
        Also write the orders and fills of the run, beside the file, so that `verify` can say which is the first that differs.
    overwrite : bool
        Replace a file that holds another configuration, or a model file that holds another model.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ConfigError
        For a source without a configuration, a file that holds another one, a configuration that does not fit the market, a model
        that is not to be had. Nothing has been written then.
    """
    target, known = Path(path), _known(source)
    if known.result is not None and market is not None:
        raise ConfigError(
            f"the result was run on {known.result.market['name']}; for another market export result.config"
        )
    fitted = known.result.fitted if known.result is not None and model is None else fitted_for(known.config, model)
    config, kept = known.config, _kept(known.config)
    if fitted is not None:
        config = config.replace(fill_model=FillModelConfig(file=str(_model_path(target)), sha256=fitted.sha256))
    _check_free(target, config, overwrite=overwrite)
    if market is not None:
        opened = open_market(str(market)) if isinstance(market, str | Path) else market
        known = replace(known, result=replay(opened, config, model=fitted))
    result = known.result
    if result is not None:
        if changes := differences(result.config, config):
            said = "; ".join(map(str, changes))
            raise ConfigError(
                f"the result was run without that ({said}); export result.config with market=, which runs it"
            )
        kept = _of_run(result)
    score = known.score if score is None else score
    facts = {
        "seed": known.seed if seed is None else seed,
        "note": known.note if note is None else note,
        **({} if score is None else _of_score(score)),
        "score_ns": known.score_ns if score is known.score else None,
    }
    provenance = kept.replace(
        **{key: value for key, value in facts.items() if value is not None},
        version=version("grinder-kit"), config_sha256=config.sha256, canonical=config.canonical(),
    )  # fmt: skip
    if fitted is not None:
        _place_model(known.config, fitted, _model_path(target))
    if result is not None and trace:
        save_trace(result, trace_path(target))
    return save_config(config.replace(provenance=provenance), target)


def _known(source: Config | GridConfig | Result | Chosen) -> _Known:
    if isinstance(source, GridConfig):
        return _Known(config=Config(grid=source))
    if isinstance(source, Config):
        return _Known(config=source)
    if isinstance(source, Result):
        return _Known(config=source.config, result=source, score=source.verdict)
    config = getattr(source, "config", None)
    if not isinstance(config, Config):
        raise ConfigError(f"cannot export {type(source).__name__}; pass a Config, a Result, or a pick of a study")
    score, window_ns, seed, note = (getattr(source, name, None) for name in ("score", "window_ns", "seed", "note"))
    if not isinstance(score, Judged):
        score = window_ns = None
    return _Known(config=config, score=score, score_ns=window_ns, seed=seed, note=note)


def _kept(config: Config) -> Provenance:
    """Return what is known of a configuration that was exported before, and is the same still; otherwise only its note."""
    known = config.provenance
    return known if known.config_sha256 == config.sha256 else Provenance(note=known.note)


def _of_run(result: Result) -> Provenance:
    facts, note = result.market, result.config.provenance.note
    first, last = facts.get("span_ns", (result.start_ns, result.end_ns))
    return Provenance(
        market=facts.get("opens_as"),
        sha256=sources(facts) or None,
        window_ns=(first, last),
        window_utc=f"{utc(first)} to {utc(last)} UTC",
        digest=result.digest,
        note=note,
        **_of_score(result.verdict),
    )


def _of_score(score: Judged) -> dict[str, object]:
    interval = None if score.low is None or score.high is None else (score.low, score.high)
    return {"score": score.per_hour, "score_interval": interval, "score_text": score.text}


def sources(facts: dict[str, object]) -> tuple[str, ...]:
    """Return the hashes of a market's raw sources, from what it says of itself; none for a synthetic one."""
    found = facts.get("source", ())
    assert isinstance(found, list | tuple)
    return tuple(str(source["sha256"]) for source in found)


def _model_path(target: Path) -> Path:
    return target.parent.resolve() / f"{target.stem}.model.json"


def _check_free(target: Path, config: Config, *, overwrite: bool) -> None:
    """Refuse to replace what somebody else may run."""
    if target.is_dir():
        raise ConfigError(f"{target} is a folder; name a file in it, such as {target / 'btc.toml'}")
    if overwrite:
        return
    if target.exists():
        changes = differences(_other(target), config)
        if changes:
            said = "; ".join(map(str, changes))
            raise ConfigError(f"{target} holds another configuration ({said}); pass overwrite=True, or another name")
    model = _model_path(target)
    if config.fill_model is not None and model.exists() and _sha256(model) != config.fill_model.sha256:
        raise ConfigError(f"{model.name} beside {target} holds another model; pass overwrite=True, or another name")


def _other(target: Path) -> Config:
    try:
        return load_config(target)
    except ConfigError as error:
        raise ConfigError(f"{error}\n{target} is in the way; pass overwrite=True, or another name") from None


def _sha256(model: Path) -> str | None:
    try:
        return load_fitted(model).sha256
    except DataError:
        return None


def _place_model(config: Config, fitted: Fitted, target: Path) -> None:
    """Put a model beside the file that will name it: its own file where it has one, whose bytes its hash stands for."""
    named = config.fill_model
    with draft(target) as part:
        if named is not None and named.file is not None:
            shutil.copyfile(named.file, part)
        else:
            save_model(fitted.model, part, markout=fitted.markout)
        if _sha256(part) != fitted.sha256:
            raise ConfigError(
                f"the model is {fitted.sha256[:12]}..., and its file would be another: write it with save_model, and name that file"
            )
