"""The configuration of a session: one object for replay, paper and live, in one TOML schema (config_file.py).

Sections are frozen and refuse unknown keys; every error says what to write instead.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from grinder_kit.errors import ConfigError
from grinder_kit.model.execution_config import (
    BookSource,
    CrossBy,
    ExecutionConfig,
    MatchClock,
    OwnVolume,
    QueueFill,
    QueueModel,
    Ties,
    UnknownLevel,
)
from grinder_kit.model.grid_config import GridConfig, Planner
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.reconcile_config import ReconcileConfig, ReconcileMode
from grinder_kit.model.section import (
    Bps,
    ExactNumber,
    InvalidConfigError,
    Positive,
    Problem,
    Real,
    Section,
    Whole,
    did_you_mean,
)

__all__ = [
    "SECTIONS",
    "BookSource",
    "Config",
    "CrossBy",
    "ExecutionConfig",
    "FillModelConfig",
    "GridConfig",
    "InstrumentConfig",
    "InvalidConfigError",
    "Limits",
    "MatchClock",
    "OwnVolume",
    "Planner",
    "Provenance",
    "QueueFill",
    "QueueModel",
    "ReconcileConfig",
    "ReconcileMode",
    "RetryConfig",
    "RouterConfig",
    "Ties",
    "UnknownLevel",
    "unknown_key",
    "unknown_section",
]


class RouterConfig(Section):
    """How wanted levels become cancels, amends and places (SPEC 9.3)."""

    price_tolerance_ticks: Annotated[Whole, Field(ge=0, le=10**6)] = Field(
        1, description="ticks an order may be off its level and stay"
    )
    amend_threshold_bps: Annotated[Bps, Field(ge=0, le=10_000)] = Field(
        Decimal(20), description="bps up to which a moved order is amended"
    )
    batch_cancel_above: Annotated[Whole, Field(ge=0)] = Field(5, description="more cancels than this go as a batch")
    batch_place_above: Annotated[Whole, Field(ge=0)] = Field(3, description="more places than this go as a batch")
    amend: bool = Field(True, strict=True, description="amend where the venue can; false: always cancel and replace")
    order_ttl_s: Annotated[Real, Field(gt=0, le=10**9)] | None = Field(
        None, description="s an order lives; then it is withdrawn and placed anew"
    )
    max_concurrent: Annotated[Whole, Field(ge=1, le=1000)] = Field(
        8, description="requests under way at once; the others wait"
    )
    # 0: a level stands at its own price or nowhere, as in the published grid that replays are compared with.
    max_repegs: Annotated[Whole, Field(ge=0, le=1000)] = Field(
        0, description="times in a row that a refused post-only is placed next to the other side instead"
    )

    @property
    def amend_threshold_tenths(self) -> int:
        """Threshold of an amend in tenths of a bp."""
        return int(self.amend_threshold_bps * 10)


class Limits(Section):
    """What must never be exceeded: a breach kills the session; a key left out sets no limit."""

    max_position: Positive | None = Field(None, description="base (or contracts) held, either way")
    max_notional: Positive | None = Field(None, description="quote held at mid, either way")
    max_drawdown: Positive | None = Field(None, description="settlement asset lost from the highest equity")
    max_loss_per_day: Positive | None = Field(None, description="settlement asset lost since 00:00 UTC")
    max_orders_per_s: Positive | None = Field(None, description="orders and amends sent a second, over 10 s")


def _one_attempt(value: int) -> int:
    if value < 1:
        raise ConfigError("max_retries must be at least 1 (1 = a single attempt)")
    return value


class RetryConfig(Section):
    """How often and how long a request is tried (SPEC 9.9)."""

    max_retries: Annotated[Whole, AfterValidator(_one_attempt), Field(le=100)] = Field(
        3, description="attempts in all (1 = a single attempt)"
    )
    timeout_s: Annotated[Real, Field(gt=0, le=3600)] = Field(5.0, description="s one attempt may take")
    base_delay_ms: Annotated[Real, Field(ge=0, le=3_600_000)] = Field(
        100.0, description="ms before the second attempt; doubles"
    )
    cap_ms: Annotated[Real, Field(ge=0, le=3_600_000)] = Field(5000.0, description="ms: longest wait between attempts")
    deadline_s: Annotated[Real, Field(gt=0, le=86_400)] = Field(30.0, description="s for all attempts together")
    stale_after_s: Annotated[Real, Field(ge=0, le=86_400)] = Field(
        2.0, description="s after its decision at which an order is not sent again: its price is stale"
    )


class InstrumentConfig(Section):
    """Which instrument the grid is for: its names only, or all its values."""

    symbol: str = Field(description="the venue's own symbol")
    venue: str | None = Field(None, description="such as binanceusdm")
    base: str | None = Field(None, description="asset bought")
    quote: str | None = Field(None, description="asset paid with")
    contract: Contract | None = Field(None, description="spot, linear or inverse")
    tick: Positive | None = Field(None, description="quote: smallest price step")
    lot: Positive | None = Field(None, description="base (or contracts): smallest quantity step")
    contract_size: Positive | None = Field(None, description="base (inverse: quote) per unit of quantity")
    min_quantity: Annotated[ExactNumber, Field(ge=0)] | None = Field(None, description="base (or contracts) an order")
    min_notional: Annotated[ExactNumber, Field(ge=0)] | None = Field(None, description="quote an order")
    max_quantity: Positive | None = Field(None, description="base (or contracts) an order")
    min_price: Annotated[ExactNumber, Field(ge=0)] | None = Field(None, description="quote")
    max_price: Positive | None = Field(None, description="quote")
    band_up: Positive | None = Field(None, description="highest price over reference")
    band_down: Positive | None = Field(None, description="lowest price over reference")
    max_orders: Annotated[Whole, Field(ge=1)] | None = Field(None, description="open orders the venue allows")
    unknown_filters: tuple[str, ...] | None = Field(None, description="filters of the venue that are not enforced")

    @model_validator(mode="after")
    def _names_or_everything(self) -> Self:
        given = self.to_json().keys() - {"symbol", "venue"}
        missing = [key for key in ("venue", "base", "quote", "tick", "lot") if getattr(self, key) is None]
        if given and missing:
            raise InvalidConfigError(
                [Problem(path=(key,), text=f"{key} is missing; write all values, or symbol alone") for key in missing]
            )
        return self

    def instrument(self) -> Instrument | None:
        """Return the instrument, or None where only its names are given."""
        if self.tick is None:
            return None
        return Instrument(
            **{key: value for key in type(self).model_fields if (value := getattr(self, key)) is not None}
        )

    @classmethod
    def of(cls, instrument: Instrument) -> InstrumentConfig:
        """Return the section that holds all values of `instrument`."""
        values = {key: getattr(instrument, key) for key in cls.model_fields}
        return cls(**(values | {"unknown_filters": instrument.unknown_filters or None}))


def _digest(value: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ConfigError(
            f"sha256 is {value!r}; write the 64 hex digits that stand in the last line of the model's file"
        )
    return value


class FillModelConfig(Section):
    """The fitted fill model by which levels are judged and valued; left out, it is the specification's heuristic.

    The hash says which model it is and belongs to the digest; where its file lies does not.
    """

    places: ClassVar[frozenset[str]] = frozenset({"file"})

    file: str | None = Field(None, description="that save_model wrote, from the folder of this one")
    sha256: Annotated[str, AfterValidator(_digest)] = Field(description="of that model: the last line of its file")


class Provenance(Section):
    """Where a configuration came from; no part of its digest, and no order depends on it."""

    market: str | None = Field(None, description="market it was last run on: a path, or synthetic seed=7 minutes=30")
    sha256: tuple[str, ...] | None = Field(None, description="of the sources of that market")
    window_ns: tuple[Whole, Whole] | None = Field(None, description="ns UTC: first and last event of that market")
    window_utc: str | None = Field(None, description="the same as text")
    digest: str | None = Field(None, description="of the orders and fills of that run")
    score: Real | None = Field(None, description="settlement asset an hour after fees")
    score_interval: tuple[Real, Real] | None = Field(None, description="90 % interval of the score")
    score_text: str | None = Field(None, description="the same in words")
    score_ns: tuple[Whole, Whole] | None = Field(
        None, description="ns UTC: the part it was scored on, if not the whole run"
    )
    seed: Whole | None = Field(None, description="of the study that chose this")
    version: str | None = Field(None, description="of grinder_kit that wrote this")
    note: str | None = Field(None, description="free text")
    config_sha256: str | None = Field(None, description="of the configuration when it was exported")
    canonical: str | None = Field(None, description="that configuration, so that an edit can be told by its key")


class Config(Section):
    """All sections: one value that says everything a session does.

    Examples
    --------
    >>> config = Config(grid=GridConfig(spacing_bps=8, size="0.002"))
    >>> config.replace(**{"execution.queue": "risk_averse", "grid.levels": 5}).execution.queue
    <QueueModel.RISK_AVERSE: 'risk_averse'>
    """

    instrument: InstrumentConfig | None = None
    grid: GridConfig
    fill_model: FillModelConfig | None = None
    router: RouterConfig = Field(default_factory=RouterConfig)
    execution: ExecutionConfig = Field(default_factory=ExecutionConfig)
    limits: Limits = Field(default_factory=Limits)
    retry: RetryConfig = Field(default_factory=RetryConfig)
    reconcile: ReconcileConfig = Field(default_factory=ReconcileConfig)
    provenance: Provenance = Field(default_factory=Provenance)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with sections (``grid=...``) or single keys (``**{"grid.levels": 5}``) changed.

        Raises
        ------
        ConfigError
            For an unknown section or key, or a value that does not fit.
        """
        whole: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        single: dict[str, dict[str, Any]] = {}
        for dotted, value in changes.items():
            section, _, key = dotted.partition(".")
            if section not in whole:
                raise InvalidConfigError([Problem(path=(section,), text=unknown_section(section))])
            if key:
                single.setdefault(section, {})[key] = value
            else:
                whole[section] = value
        for section, values in single.items():
            known = SECTIONS[section].model_fields
            unknown = [key for key in values if key not in known]
            if unknown:
                raise InvalidConfigError(
                    Problem(path=(section, key), text=unknown_key(section, key)) for key in unknown
                )
            old = whole[section]
            try:
                whole[section] = old.replace(**values) if isinstance(old, Section) else SECTIONS[section](**values)
            except InvalidConfigError as error:
                raise InvalidConfigError(
                    Problem(path=(section, *problem.path), text=problem.text) for problem in error.problems
                ) from None
        return type(self)(**whole)

    def canonical(self) -> str:
        """Return the configuration as JSON without provenance and places: sorted keys, plain numbers; equal for equal meaning."""
        values = self.to_json()
        values.pop("provenance", None)
        for name, section in SECTIONS.items():
            for place in section.places & values.get(name, {}).keys():
                del values[name][place]
        return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical form."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def from_canonical(cls, text: str) -> Self:
        """Read what :meth:`canonical` wrote.

        Raises
        ------
        ConfigError
            For text that is no configuration.
        """
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise ConfigError(f"{text[:60]!r} is no configuration in JSON; write the text that `canonical` returns")
        return cls(**values)


#: Section name to its class, in the order of the file.
SECTIONS: Mapping[str, type[Section]] = {
    "instrument": InstrumentConfig,
    "grid": GridConfig,
    "fill_model": FillModelConfig,
    "router": RouterConfig,
    "execution": ExecutionConfig,
    "limits": Limits,
    "retry": RetryConfig,
    "reconcile": ReconcileConfig,
    "provenance": Provenance,
}


def unknown_section(name: str) -> str:
    """Say that a section does not exist, and which one may have been meant."""
    for section, model in SECTIONS.items():
        if name in model.model_fields:
            return f"unknown section '{name}'; '{name}' is a key of [{section}]"
    return f"unknown section '{name}'{did_you_mean(name, SECTIONS)}"


def unknown_key(section: str, key: str) -> str:
    """Say that a key does not exist in a section, and which one may have been meant, or where it belongs."""
    hint = did_you_mean(key, SECTIONS[section].model_fields)
    home = next((name for name, model in SECTIONS.items() if key in model.model_fields), None)
    return f"unknown key '{key}'{hint}" if hint or home is None else f"unknown key '{key}'; it belongs in [{home}]"
