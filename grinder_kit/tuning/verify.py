"""Whether an exported configuration still does what it did when it was exported, and if not, what is another."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.model_file import Fitted, fitted_for
from grinder_kit.market.naming import open_market, split_name
from grinder_kit.model.config import Config, Provenance
from grinder_kit.model.config_diff import edits
from grinder_kit.model.config_file import load_config
from grinder_kit.simulation.replay import replay
from grinder_kit.tuning.export import sources
from grinder_kit.tuning.trace import first_difference, read_trace, trace, trace_path

if TYPE_CHECKING:
    from grinder_kit.market.source import Market
    from grinder_kit.simulation.result import Result


class Part(StrEnum):
    """What may differ from the export."""

    CONFIGURATION = "configuration"
    DATA = "data"
    MODEL = "model"
    VERSION = "version"
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it was exported: which part, and in words what it was and what it is."""

    part: Part
    text: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Verification:
    """What came of a comparison.

    Attributes
    ----------
    file : Path
        The exported configuration.
    findings : tuple of Finding
        What differs; with nothing but another version of the code in it, the run is the same.
    expected : str
        Digest of the exported run.
    result : Result or None
        The run of now; None where something differs before it, so that it was not run.
    """

    file: Path
    findings: tuple[Finding, ...]
    expected: str
    result: Result | None

    @property
    def same(self) -> bool:
        """Whether every order and fill is as it was exported."""
        return self.result is not None and self.result.digest == self.expected

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "file": str(self.file),
            "same": self.same,
            "findings": [{"part": found.part.value, "text": found.text} for found in self.findings],
            "digest": {"expected": self.expected, "found": None if self.result is None else self.result.digest},
        }

    def __repr__(self) -> str:
        verdict = (
            "the same" if self.same else "not the same" if self.result is not None else "not the same, and not run"
        )
        lines = [f"{self.file}: {verdict}", *(f"{found.part.value:<15}{found.text}" for found in self.findings)]
        if self.result is None:
            return "\n".join(lines)
        trades = f"{len(self.result.orders):,} orders, {len(self.result.fills):,} fills on {self.result.market['name']}"
        return "\n".join([*lines, f"{'run':<15}{trades}", f"{'digest':<15}{self.result.digest}"])


def verify(
    path: str | os.PathLike[str],
    data: Market | Path | str | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """Run an exported configuration again and compare it with what it did.

    A file that was edited, other data or another model are found before anything is run, and then nothing is.

    Parameters
    ----------
    path : path
        Of the configuration.
    data : Market, path or str, optional
        Where the market of the export lies, whole or the exported part of it; by default what the file names, from the working folder.
    progress : callable, optional
        As of :func:`~grinder_kit.simulation.replay.replay`.

    Raises
    ------
    ConfigError
        For a file that is no configuration, or does not say what its run did; no market.
    DataError
        For data that are no recording.
    """
    file, config = Path(path), load_config(path)
    known = config.provenance
    findings = [Finding(part=Part.CONFIGURATION, text=f"edited after the export: {change}") for change in edits(config)]
    if known.digest is None:
        raise ConfigError(
            f"{file}: [provenance] has no digest to compare with; gk.export with a result, or with market=, writes one"
        )
    name = data if data is not None else known.market
    if name is None:
        raise ConfigError(f"{file}: names no market; pass --data RECORDING")
    market = open_market(str(name)) if isinstance(name, str | Path) else name
    market, others = _as_exported(market, known)
    findings += [Finding(part=Part.DATA, text=text) for text in others]
    fitted = _model(config, findings)
    here = version("grinder-kit")
    if known.version not in (None, here):
        said = f"exported by grinder_kit {known.version}, and this is {here}"
        findings.append(Finding(part=Part.VERSION, text=said))
    result = None
    if all(found.part is Part.VERSION for found in findings):
        result = replay(market, config, model=fitted, progress=progress)
        if result.digest != known.digest:
            findings.append(Finding(part=Part.RUN, text=_how(file, known.digest, result)))
    return Verification(file=file, findings=tuple(findings), expected=known.digest, result=result)


def _as_exported(market: Market, known: Provenance) -> tuple[Market, tuple[str, ...]]:
    """Return the exported part of a market, and what about it is not as it was exported."""
    facts = market.describe()
    name, cut = split_name(known.market or "")
    here = facts.get("opens_as")
    if known.sha256 != (sources(facts) or None):
        return market, (f"exported on {_data(known.sha256, name)}, and this is {_data(sources(facts), here)}",)
    whole, given = split_name(here or "")
    if known.sha256 is None and whole != name:
        return market, (f"exported on {name or 'another market'}, and this is {here or facts.get('name')}",)
    if given.whole and not cut.whole:
        market = market.window(cut.start_ns, cut.end_ns)  # type: ignore[attr-defined]  # what has a name has windows
        facts = market.describe()
    span = facts.get("span_ns")
    if known.window_ns is not None and span is not None and tuple(span) != known.window_ns:
        first, last = known.window_ns
        return market, (f"exported on {first} to {last} ns, and this is {span[0]} to {span[1]} ns",)
    return market, ()


def _data(hashes: tuple[str, ...] | None, name: str | None) -> str:
    said = ", ".join(f"{one[:12]}..." for one in (hashes or ())[:3])
    return f"recording sha256 {said}" if hashes else name or "a market without a name"


def _model(config: Config, findings: list[Finding]) -> Fitted | None:
    """Return the model that the configuration names; what is wrong with it joins the findings."""
    try:
        return fitted_for(config)
    except ConfigError as error:
        findings.append(Finding(part=Part.MODEL, text=str(error)))
        return None


def _how(file: Path, expected: str, result: Result) -> str:
    """Say how a run differs from the exported one."""
    before = read_trace(trace_path(file), expected)
    if before is None:
        return f"digest {expected[:16]}... -> {result.digest[:16]}...; no {trace_path(file).name} beside the file says where it begins"
    found = first_difference(before, trace(result))
    return (
        f"first difference: {found}"
        if found
        else "orders and fills are equal, but not the amends between them or the order of the answers"
    )
