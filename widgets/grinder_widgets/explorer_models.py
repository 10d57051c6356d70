"""What the models of a fill explorer say of one order, and how far the data behind them reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.model import FillModel, Floats, Inputs
from grinder_kit.fillprob.queue_band import QueueBand
from grinder_kit.fillprob.training import Training
from grinder_kit.market.features import PROXY
from grinder_widgets.explorer_state import RANGES

Explored: TypeAlias = FillModel | QueueBand
Bools: TypeAlias = npt.NDArray[np.bool_]

#: The step heuristic, which is drawn beside every model.
HEURISTIC = HeuristicModel()
#: Volatility within this factor of the training's is inside the data.
SIGMA_FACTOR = 2.0
#: Labels are placed up to here, bps; at another volatility, up to as many of its standard deviations.
FARTHEST_BPS = RANGES["distance_bps"][1]


@runtime_checkable
class Banded(Protocol):
    """A model that says how uncertain it is."""

    def band(
        self, x: Inputs, horizon_s: npt.ArrayLike, *, level: float = 0.9, extrapolate: bool = False
    ) -> tuple[Floats, Floats]:
        """Return (low, high) around its probabilities."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The order that is asked about, and the market that it stands in; units as in `Inputs`."""

    side: int
    distance_bps: float
    at_touch: bool
    horizon_s: float
    queue_s: float
    sigma: float
    imb_own: float
    ofi_z: float

    @property
    def natr_bps(self) -> float:
        """The range of five minutes that goes with this volatility, bps."""
        return PROXY * self.sigma

    def inputs(self, distance_bps: npt.ArrayLike | None = None, at_touch: npt.ArrayLike | None = None) -> Inputs:
        """Return the order as a model takes it; or orders at other distances, away from the touch unless said."""
        if distance_bps is None:
            distance_bps, at_touch = self.distance_bps, self.at_touch
        return Inputs(
            distance_bps=np.asarray(distance_bps, np.float64),
            at_touch=np.asarray(0.0 if at_touch is None else at_touch, np.float64),
            sigma=np.float64(self.sigma),  # type: ignore[arg-type]
            queue_s=np.float64(self.queue_s),  # type: ignore[arg-type]
            imb_own=np.float64(self.imb_own),  # type: ignore[arg-type]
            side=np.float64(self.side),  # type: ignore[arg-type]
            natr_bps=np.float64(self.natr_bps),  # type: ignore[arg-type]
            ofi_z=np.float64(self.ofi_z),  # type: ignore[arg-type]
        )


class Chances(NamedTuple):
    """Probabilities with their 90 % interval, None where the model gives none."""

    middle: Floats
    low: Floats | None
    high: Floats | None


def named(models: Explored | Mapping[str, Explored] | Iterable[Explored]) -> dict[str, Explored]:
    """Return models by name.

    Raises
    ------
    ConfigError
        For something that is no model, for none at all, and for two of one name.
    """
    if isinstance(models, Mapping):
        found = {str(name): model for name, model in models.items()}
    else:
        given = [models] if isinstance(models, FillModel | QueueBand) else list(_each(models))
        found = {}
        for model in given:
            name = _name(model)
            if name in found:
                raise ConfigError(f'two models are called "{name}"; give them names: {{"a": ..., "b": ...}}')
            found[name] = model
    for name, model in found.items():
        if not isinstance(model, FillModel | QueueBand):
            raise ConfigError(
                f"{name} is a {type(model).__name__}; give fitted models, such as FirstPassageModel().fit(labels)"
            )
    if not found:
        raise ConfigError("no model was given; give at least one, such as FirstPassageModel().fit(labels)")
    return found


def _each(models: object) -> Iterable[Explored]:
    if not isinstance(models, Iterable):
        raise ConfigError(
            f"the model is a {type(models).__name__}; give a fitted model, such as FirstPassageModel().fit(labels)"
        )
    return models


def _name(model: Explored) -> str:
    if isinstance(model, QueueBand):
        return model.models["power"].name
    return model.name if isinstance(model, FillModel) else type(model).__name__


def under(model: Explored, queue: str) -> FillModel:
    """Return the model of a queue model; one that was fitted under a single one is that."""
    return model.models[queue] if isinstance(model, QueueBand) else model


def training_of(model: Explored, queue: str = "power") -> Training | None:
    """Return what a model was fitted on."""
    return under(model, queue).training


def chances(model: Explored, queue: str, x: Inputs, horizon_s: npt.ArrayLike) -> Chances:
    """Return what a model says, beyond its data as well (see :func:`outside`)."""
    one = under(model, queue)
    middle = one.predict(x, horizon_s, extrapolate=True)
    if isinstance(model, QueueBand):
        low, _, high = model.predict(x, horizon_s, extrapolate=True)
    elif isinstance(one, Banded):
        low, high = one.band(x, horizon_s, extrapolate=True)
    else:
        return Chances(middle, None, None)
    return Chances(middle, low, high)


def outside(model: FillModel, asked: Asked, distance_bps: npt.ArrayLike, horizon_s: npt.ArrayLike) -> Bools:
    """Return where a model speaks of what its training did not hold.

    That is: another volatility by a factor of `SIGMA_FACTOR`, a distance of more standard deviations than labels reach, or a
    horizon beyond the training's length. A model without a training claims no data.
    """
    distance, horizon = np.broadcast_arrays(np.asarray(distance_bps, np.float64), np.asarray(horizon_s, np.float64))
    beyond = horizon > one_span(model)
    if model.training is not None:
        ratio = asked.sigma / model.training.sigma
        beyond = beyond | (distance > FARTHEST_BPS * ratio) | (not 1 / SIGMA_FACTOR <= ratio <= SIGMA_FACTOR)
    return np.asarray(beyond, np.bool_)


def one_span(model: FillModel) -> float:
    """Return the longest horizon that a model's data speak of, s, with room for rounding."""
    return model.span_s * (1 + 1e-9)


def ignored(model: FillModel, asked: Asked) -> frozenset[str]:
    """Return the inputs that do not move a model's answer to this order; found by moving them from end to end."""
    names = ("queue_s", "sigma", "imb_own", "ofi_z")
    # Two orders for each input, one at either end, and all in one go: it is asked while a slider moves.
    moved = {name: np.full(2 * len(names), getattr(asked, name), np.float64) for name in names}
    for at, name in enumerate(names):
        moved[name][2 * at : 2 * at + 2] = RANGES[name]
    x = Inputs(
        distance_bps=np.full(2 * len(names), asked.distance_bps),
        at_touch=np.float64(asked.at_touch),  # type: ignore[arg-type]
        side=np.float64(asked.side),  # type: ignore[arg-type]
        natr_bps=PROXY * moved["sigma"],
        **moved,
    )
    ends = model.predict(x, asked.horizon_s, extrapolate=True).reshape(-1, 2)
    return frozenset(name for name, (low, high) in zip(names, ends, strict=True) if low == high)
