"""What every fill model promises, whatever it is made of; the specification's heuristic breaks some of it, and it is said where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.calibration import CalibratedModel
from grinder_kit.fillprob.first_passage import FirstPassageModel
from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.kaplan_meier import KaplanMeierModel
from grinder_kit.fillprob.model import FillModel, Inputs
from grinder_kit.fillprob.observations import observe
from tests.fillprob.simulated import brownian_times, label_set, normal_model, orders, passage_times

LADDERS, LEVELS = 100_000, 5
HORIZONS = np.array([0.0, 1e-9, 1e-3, 0.1, 1.0, 5.0, 10.0, 30.0, 59.0, 60.0])
FIELDS = tuple(Inputs.__dataclass_fields__)


def _models() -> dict[str, FillModel]:
    x = orders(300, seed=1)
    labels = label_set(x, passage_times(x, seed=2))
    other = label_set(x, brownian_times(x, seed=3))
    fitted = FirstPassageModel().fit(labels)
    kaplan_meier = KaplanMeierModel().fit(labels)
    return {
        "first_passage_prior": FirstPassageModel(),
        "first_passage": fitted,
        "reflection": normal_model(),
        "kaplan_meier": kaplan_meier,
        "calibrated": CalibratedModel(inner=fitted).calibrate(fitted, observe(other)),
        "calibrated_kaplan_meier": CalibratedModel(inner=kaplan_meier).calibrate(kaplan_meier, observe(other)),
        "heuristic": HeuristicModel(),
    }


MODELS = _models()
#: What the heuristic cannot keep, and why.
BROKEN = {
    ("heuristic", "vanishes"): "its floor is .05, and an order at mid has .9 at any horizon",
    ("heuristic", "unclipped"): "it is clipped to [.05, .95]",
}


def each(promise: str) -> Any:
    """Run a test for every model; where a model breaks the promise, the test must fail."""
    return pytest.mark.parametrize(
        "model",
        [
            pytest.param(
                model, id=name, marks=[pytest.mark.xfail(strict=True, reason=BROKEN[name, promise])] if (name, promise) in BROKEN else []
            )
            for name, model in MODELS.items()
        ],
    )  # fmt: skip


def together(promise: str) -> Any:
    """Run a test for all models at once, so that orders are drawn once for them; a model that breaks the promise stands alone."""
    broken = [name for name in MODELS if (name, promise) in BROKEN]
    kept = {name: model for name, model in MODELS.items() if name not in broken}
    alone = [
        pytest.param({name: MODELS[name]}, id=name, marks=pytest.mark.xfail(strict=True, reason=BROKEN[name, promise]))
        for name in broken
    ]
    return pytest.mark.parametrize("models", [pytest.param(kept, id="all" if not broken else "others"), *alone])


@st.composite
def inputs(draw: st.DrawFn) -> Inputs:
    """Return some orders, extreme ones too."""
    n = draw(st.integers(1, 6))

    def column(values: st.SearchStrategy[float]) -> np.ndarray[Any, Any]:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    return Inputs(
        distance_bps=column(st.floats(0, 1e5)),
        sigma=column(st.floats(1e-4, 1e4)),
        at_touch=column(st.sampled_from([0.0, 1.0])),
        queue_s=column(st.floats(0, 1e9) | st.just(np.inf)),
        imb_own=column(st.floats(-1, 1)),
        side=column(st.sampled_from([-1.0, 1.0])),
        natr_bps=column(st.floats(0, 1e4)),
        ofi_z=column(st.floats(-5, 5)),
    )


@together("bounded")
@given(x=inputs())
def test_a_probability_lies_between_0_and_1_and_grows_with_the_horizon(models: dict[str, FillModel], x: Inputs) -> None:
    """Every answer lies in [0, 1], and a longer horizon never has a lower one."""
    for name, model in models.items():
        p = model.predict(x, HORIZONS)
        assert p.shape == (len(x), len(HORIZONS)), name
        assert ((p >= 0) & (p <= 1)).all(), name
        assert (np.diff(p, axis=1) >= 0).all(), name


@each("unclipped")
def test_there_is_no_floor(model: FillModel) -> None:
    """An order that is out of all reach has no probability to speak of: nothing is clipped."""
    x = Inputs(distance_bps=[1e5], sigma=1.0, natr_bps=30.0)
    assert model.predict(x, 10.0)[0] < 0.01


@together("vanishes")
@given(x=inputs().filter(lambda x: x.distance_bps.min() > 0.01))
def test_a_probability_goes_to_0_with_the_horizon(models: dict[str, FillModel], x: Inputs) -> None:
    """At horizon 0 nothing has filled, and just after hardly anything."""
    for name, model in models.items():
        p = model.predict(x[x.sigma < 100], np.array([0.0, 1e-12]))
        assert (p[:, 0] == 0).all(), name
        assert (p[:, 1] < 1e-2).all(), name


@together("mirrored")
@given(x=inputs())
def test_mirrored_sides_are_equal(models: dict[str, FillModel], x: Inputs) -> None:
    """A buy and a sell under mirrored inputs have the same probability, to the last bit."""
    mirrored = replace(x, side=-x.side, ofi_z=-x.ofi_z)
    for name, model in models.items():
        assert (model.predict(x, HORIZONS) == model.predict(mirrored, HORIZONS)).all(), name


@each("priority")
def test_a_closer_order_never_has_a_lower_probability(model: FillModel) -> None:
    """In 100,000 random ladders of one side no level lies above a closer one, whatever the queues."""
    rng = np.random.default_rng(11)
    shape = (LADDERS, LEVELS)
    distance = np.sort(rng.exponential(1, shape) * rng.choice([0.01, 1.0, 10.0], (LADDERS, 1)), axis=1)
    touch = np.zeros(shape)
    touch[:, 0] = rng.random(LADDERS) < 0.5

    def common(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.repeat(values, LEVELS)

    sigma, side = np.exp(rng.uniform(-2, 2, LADDERS)), rng.choice([-1.0, 1.0], LADDERS)
    x = Inputs(
        distance_bps=distance.ravel(),
        sigma=common(sigma),
        at_touch=touch.ravel(),
        queue_s=rng.exponential(10, shape).ravel(),
        imb_own=common(rng.uniform(-1, 1, LADDERS)),
        side=common(side),
        natr_bps=common(27.6 * sigma),
        ofi_z=common(rng.normal(0, 2, LADDERS)),
    )
    for horizon in (0.1, 1.0, 10.0, 60.0):
        p = model.predict(x, horizon).reshape(shape)
        assert (np.diff(p, axis=1) <= 0).all()


@together("inverse")
@given(x=inputs(), share=st.floats(0.01, 0.99))
def test_a_quantile_is_the_time_by_which_it_fills(models: dict[str, FillModel], x: Inputs, share: float) -> None:
    """At a finite quantile the probability is what was asked for; an infinite one is not reached inside the span."""
    for name, model in models.items():
        times = model.quantile(x, share)
        for at in range(len(x)):
            one = x[at : at + 1]
            if np.isfinite(times[at]):
                assert model.predict(one, max(times[at] * 1.02, 1e-12), extrapolate=True)[0] >= share - 1e-9, name
            else:
                assert model.predict(one, min(model.span_s, 1e6) * 0.98, extrapolate=True)[0] <= share + 1e-9, name


@each("strict")
@pytest.mark.parametrize("horizon", [-1.0, float("nan"), float("inf"), [1.0, -1.0], []])
def test_a_horizon_that_is_none_is_refused(model: FillModel, horizon: Any) -> None:
    """A negative, missing or endless horizon is an error that says what to write."""
    with pytest.raises(ConfigError, match=r"horizon_s (is|has).*write seconds"):
        model.predict(Inputs(distance_bps=[1.0], sigma=1.0, natr_bps=30.0), horizon)


@pytest.mark.parametrize("name", ["first_passage", "first_passage_prior", "kaplan_meier", "calibrated"])
def test_a_horizon_beyond_the_data_must_be_asked_for(name: str) -> None:
    """A day is refused where the data span minutes, unless extrapolate=True."""
    x = Inputs(distance_bps=[1.0], sigma=1.0)
    with pytest.raises(
        ConfigError, match=r"horizon 86,400 s exceeds the span of [\d,]+ s; pass extrapolate=True to accept"
    ):
        MODELS[name].predict(x, 86_400)
    assert 0 < MODELS[name].predict(x, 86_400, extrapolate=True)[0] <= 1


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "natr_bps"])
def test_nan_is_refused(field: str) -> None:
    """No input may be missing: which, and at which row, is said."""
    values: dict[str, Any] = {"distance_bps": np.array([1.0, 2.0]), "sigma": np.array([1.0, 1.0])}
    values[field] = np.array([1.0, np.nan])
    with pytest.raises(ConfigError, match=rf"{field} is nan at row 1; write"):
        Inputs(**values)


def test_the_heuristic_refuses_a_missing_range() -> None:
    """natr_bps, which the heuristic alone reads, may be missing for the others."""
    with pytest.raises(ConfigError, match="natr_bps is nan at row 0"):
        HeuristicModel().predict(Inputs(distance_bps=[1.0], sigma=1.0), 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mid": None}, "mid is None"),
        ({"mid": 0.0}, "mid is 0"),
        ({"sigma_bps": None}, "sigma_bps is None"),
        ({"sigma_bps": 0.0}, "sigma is 0 at row 0; .*mid did not move"),
        ({"imbalance": None}, "imbalance is None"),
    ],
)
def test_features_that_are_missing_are_refused(change: dict[str, Any], words: str) -> None:
    """Without a mid, a volatility above 0 or both best quantities there are no inputs."""
    known = {"mid": 100.0, "sigma_bps": 1.2, "imbalance": 0.5, "natr_bps": 33, "ofi_zscore": 1.0}
    assert Inputs.from_features(known, -1, [1.0, 2.0]).imb_own.tolist() == [-0.5, -0.5]
    with pytest.raises(ConfigError, match=words):
        Inputs.from_features(known | change, 1, [1.0])


@pytest.mark.parametrize("value", [-0.1, np.inf])
def test_an_order_that_would_not_rest_is_refused(value: float) -> None:
    """A distance below 0 is behind mid."""
    with pytest.raises(ConfigError, match="distance_bps"):
        Inputs(distance_bps=[value], sigma=1.0)


def test_lengths_that_differ_are_refused() -> None:
    """Fields have one value, or one an order."""
    with pytest.raises(ConfigError, match="lengths differ"):
        Inputs(distance_bps=[1.0, 2.0], sigma=[1.0, 1.0, 1.0])


def test_models_share_the_protocol() -> None:
    """Every model has what FillModel names."""
    assert all(isinstance(model, FillModel) for model in MODELS.values())
