"""What a model was fitted on, so that it is never scored on it unawares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from grinder_kit.errors import ConfigError

if TYPE_CHECKING:
    from grinder_kit.fillprob.kaplan_meier import KaplanMeierModel
    from grinder_kit.fillprob.labels import LabelSet
    from grinder_kit.fillprob.observations import Observations
    from grinder_kit.model.instrument import Instrument

FEW_SECONDS, FEW_FILLS = 30.0, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which market data are of.

    Parameters
    ----------
    venue, symbol : str
        The instrument.
    seed : int or None
        Of a synthetic market, where it is known. What was recorded of one instrument and time is one market, whoever recorded it.
    """

    venue: str
    symbol: str
    seed: int | None = None

    @classmethod
    def of(cls, instrument: Instrument, about: Mapping[str, Any]) -> Self:
        """Return the origin of a market's data: its instrument, and what it says of itself."""
        return cls(venue=instrument.venue, symbol=instrument.symbol, seed=about.get("seed"))

    def may_be(self, other: Origin | None) -> bool:
        """Return whether nothing that is known says that the other is another market."""
        if other is None:
            return True
        one_seed = self.seed is None or other.seed is None or self.seed == other.seed
        return (self.venue, self.symbol) == (other.venue, other.symbol) and one_seed


class Placed(Protocol):
    """Orders in a market: labels, or own ones."""

    @property
    def origin(self) -> Origin | None:
        """The market; None where nobody knows."""
        ...

    @property
    def window_ns(self) -> tuple[int, int]:
        """Exchange time of the first and the last that is known of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Training:
    """What a model was fitted on.

    Parameters
    ----------
    venue, symbol : str
        The instrument.
    window_ns : tuple of int
        Exchange time of the data, start included, end not.
    source : tuple of str
        SHA-256 of the raw files; empty for a synthetic market.
    queue : str
        Queue model that filled the labels.
    rows, fills, blocks : int
        Labels with known inputs, those that filled, and blocks of 60 s.
    sigma : float
        Volatility, bps per square root of a second; bands of distance are measured in it.
    kaplan_meier : KaplanMeierModel or None
        The empirical curve of the same labels: what a model must beat.
    score : float or None
        Mean log loss on later data, where one was measured.
    seed : int or None
        Of a synthetic market.
    """

    venue: str
    symbol: str
    window_ns: tuple[int, int]
    source: tuple[str, ...]
    queue: str
    rows: int
    fills: int
    blocks: int
    sigma: float
    kaplan_meier: KaplanMeierModel | None = None
    score: float | None = None
    seed: int | None = None

    @property
    def origin(self) -> Origin:
        """The market."""
        return Origin(venue=self.venue, symbol=self.symbol, seed=self.seed)

    @property
    def span_s(self) -> float:
        """Length of the window, s."""
        return (self.window_ns[1] - self.window_ns[0]) / 1e9

    @property
    def warning(self) -> str | None:
        """Why the data are too little to believe the fit, None where they are not."""
        if self.span_s >= FEW_SECONDS and self.fills >= FEW_FILLS:
            return None
        return (
            f"{self.span_s:.0f} s with {self.fills:,} fills are too little data: the model is mostly its prior; "
            f"give it {FEW_SECONDS:.0f} s and {FEW_FILLS} fills or more"
        )

    def __repr__(self) -> str:
        return f"{self.symbol}, {self.span_s / 60:.1f} min, {self.fills:,} fills under {self.queue}"

    def overlaps(self, orders: Placed) -> bool:
        """Return whether orders were placed in the market and time of the training."""
        (first, last), (start, end) = orders.window_ns, self.window_ns
        return self.origin.may_be(orders.origin) and first < end and start < last

    def check_unseen(self, orders: Placed, *, what: str = "labels", later: str = "labels.split(0.6)[1]") -> None:
        """Refuse orders that were in the training.

        Parameters
        ----------
        orders : Placed
        what, later : str
            What they are, and where later ones come from, for the message.

        Raises
        ------
        ConfigError
            Where market and time overlap.
        """
        if self.overlaps(orders):
            of = "" if orders.origin is None else f" of {self.symbol}"
            raise ConfigError(
                f"these {what}{of} lie in the model's training ({utc(self.window_ns[0])} to {utc(self.window_ns[1])} UTC); "
                f"score on later data, {later}, or pass in_sample=True to accept"
            )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        curves = None if self.kaplan_meier is None else [list(curve) for curve in self.kaplan_meier.curves]
        return {**values, "window_ns": list(self.window_ns), "source": list(self.source), "kaplan_meier": curves}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Training:
        """Return what :meth:`to_json` wrote."""
        from grinder_kit.fillprob.kaplan_meier import KaplanMeierModel

        curves = values["kaplan_meier"]
        model = None if curves is None else KaplanMeierModel(curves=tuple(tuple(curve) for curve in curves))
        return cls(
            **{
                **values,
                "window_ns": tuple(values["window_ns"]),
                "source": tuple(values["source"]),
                "kaplan_meier": model,
            }
        )


def trained_on(labels: LabelSet, seen: Observations, queue: str) -> Training:
    """Return what a model that is fitted on these labels will remember."""
    from grinder_kit.fillprob.kaplan_meier import KaplanMeierModel

    return Training(
        venue=labels.instrument.venue,
        symbol=labels.symbol,
        window_ns=labels.window_ns,
        source=labels.source_sha256,
        queue=queue,
        rows=len(seen),
        fills=int(seen.filled.sum()),
        blocks=len(np.unique(seen.block)),
        sigma=seen.sigma,
        kaplan_meier=KaplanMeierModel().fit_observations(seen),
        seed=labels.origin.seed,
    )


def utc(ts_ns: int) -> str:
    """Return a time as text, to the second."""
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
