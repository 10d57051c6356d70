"""Forecasts: what a session expects of its orders is what its decisions know, and how it came out is what its journal says."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grinder_kit.decision.economics import profit_bps
from grinder_kit.errors import ConfigError
from grinder_kit.execution.clock import run_stepped
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.journal import Journal, entries, journal_header
from grinder_kit.fillprob.level import of_model
from grinder_kit.fillprob.model import FillModel
from grinder_kit.fillprob.model_file import fitted_for, load_fitted, save_model
from grinder_kit.fillprob.own_fills import OwnFills
from grinder_kit.market.synthetic import synthetic_market
from grinder_kit.model.config_file import load_config, save_config
from grinder_kit.model.event import Amended, OrderUpdate, Place, Tick
from grinder_kit.model.market import Features
from grinder_kit.model.order import OrderState, OrderType, Side
from grinder_kit.session import forecasts
from grinder_kit.session.client import Session
from grinder_kit.session.forecasts import NO_FIT, NO_MARKOUT, NO_MODEL, NOT_KNOWN, Chance, Forecasts
from grinder_kit.session.snapshot import Ribbon, Snapshot
from tests.session.conftest import GRID, MARKET, Make, ServedMarket, until
from tests.widgets.sessions import CONFIG, Viewed, fitted, judged, played, viewed

S = 1_000_000_000
INSTRUMENT = synthetic_market().instrument
FEATURES = Features(
    ts_ns=1, mid=60_000.05, spread_bps=0.02, natr_proxy=0.004, natr_bps=40, natr_is_proxy=True, ofi_zscore=0.5, imbalance=0.3,
    sigma_bps=1.2,
)  # fmt: skip
TICK = Tick(bid_ticks=600_000, ask_ticks=600_001, stale=False, features=FEATURES)


def followed(**changes: Any) -> Forecasts:
    """Return forecasts of an engine that is judged by a fitted model, with the configuration changed."""
    config = CONFIG.replace(**{"fill_model.sha256": fitted().sha256, **changes})
    return Forecasts(ExecutionEngine(INSTRUMENT, config, model=fitted().model, markout=fitted().markout), fitted())


# --- what is expected ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("away", [0, 30, 300, 3000])
def test_a_probability_is_the_one_that_decides(side: int, away: int) -> None:
    """The number in the ladder is the number that `min_fill_prob` is held against, inside its interval."""
    seen = followed()
    seen.take(TICK, (), 0)
    ticks = 600_000 - side * away
    (chance,) = seen.chances([(side, ticks)])
    distance = (1_200_001 - 2 * ticks) * side / 1_200_001 * 10_000
    wanted = of_model(fitted().model)(FEATURES, side, distance, CONFIG.grid.fill_horizon_s)
    assert chance.prob is not None and chance.prob.low is not None and chance.prob.high is not None
    assert chance.prob.value == pytest.approx(wanted) and chance.prob.low <= chance.prob.value <= chance.prob.high


def test_a_value_is_the_formula() -> None:
    """P(fill) times spacing less both fees plus the fitted markout, as the levels of the grid say it."""
    seen = followed()
    seen.take(TICK, (), 0)
    (chance,) = seen.chances([(1, 599_900)])
    assert chance.prob is not None and chance.value is not None and chance.profit is not None
    manager = seen._engine.manager
    assert chance.value.value == pytest.approx(chance.prob.value * chance.profit.value)
    assert chance.value.low is not None and chance.value.high is not None
    assert chance.value.low <= chance.value.value <= chance.value.high
    plan = _plan(seen)
    (level,) = [one for one in manager.compute_levels(plan, FEATURES) if one.level_id == "BUY_1"]
    (same,) = seen.chances([(1, INSTRUMENT.ticks(level.price))])
    assert same.profit is not None and level.expected_profit_bps == pytest.approx(same.profit.value)
    assert level.expected_profit_bps != pytest.approx(profit_bps(3.0, 4.0)), "the markout is in it"


def _plan(seen: Forecasts) -> Any:
    from grinder_kit.model.grid import GridPlan

    grid = seen._engine.config.grid
    return GridPlan(
        center_price="60000.05",
        spacing_bps=grid.spacing_bps,
        levels_up=3,
        levels_down=3,
        size_schedule=("0.05",),  # type: ignore[arg-type]
    )


def test_what_is_not_known_is_nothing_and_says_why() -> None:
    """Without a model, before the market is known, and without a markout: no number, and the reason."""
    plain = Forecasts(ExecutionEngine(INSTRUMENT, CONFIG), None)
    plain.take(TICK, (), 0)
    assert (
        plain.chances([(1, 600_000)]) == [Chance()]
        and plain.forecast().no_prob == NO_MODEL
        and plain.ribbon() == Ribbon()
    )
    early = followed()
    assert early.chances([(1, 600_000)]) == [Chance()] and early.forecast().no_prob == NOT_KNOWN
    early.take(replace(TICK, features=replace(FEATURES, sigma_bps=None)), (), 0)
    assert early.chances([(1, 600_000)]) == [Chance()] and early.forecast().no_prob == NOT_KNOWN
    early.take(TICK, (), 0)
    assert early.forecast().no_prob == early.forecast().no_value == ""
    without = Forecasts(early._engine, replace(fitted(), markout=None))
    without.take(TICK, (), 0)
    (chance,) = without.chances([(1, 600_000)])
    assert chance.prob is not None and chance.value is None and without.forecast().no_value == NO_MARKOUT


def test_the_heuristic_has_no_interval_and_no_value() -> None:
    """Where it decides, its probability is shown, alone."""
    engine = ExecutionEngine(INSTRUMENT, CONFIG.replace(**{"grid.min_fill_prob": 0.2}))
    seen = Forecasts(engine, None)
    seen.take(TICK, (), 0)
    (chance,) = seen.chances([(1, 599_900)])
    wanted = engine.manager._fill_probability(FEATURES, 1, (1_200_001 - 2 * 599_900) / 1_200_001 * 10_000, 60.0)
    assert chance.prob is not None and chance.prob.low is None and chance.prob.value == pytest.approx(wanted)
    assert chance.value is None and seen.forecast().no_value == NO_FIT and seen.forecast().model == "heuristic"
    seen.take(replace(TICK, features=replace(FEATURES, natr_proxy=None)), (), 0)
    assert seen.chances([(1, 599_900)]) == [Chance()]


def test_whatever_goes_wrong_is_no_matter_of_the_session(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """A view that fails says so once, and goes on to say nothing."""
    seen = followed()
    monkeypatch.setattr(seen, "_see", lambda tick: 1 / 0)
    seen.take(TICK, (), 0)
    seen.take(TICK, (), 0)
    assert caplog.text.count("forecasts ended") == 1 and "ZeroDivisionError" in seen.forecast().no_prob
    assert seen.chances([(1, 600_000)]) == [Chance()]


# --- how it came out -------------------------------------------------------------------------------------------------


async def _trade(one: Viewed, seconds: float) -> None:
    await one.shell.start()
    await one.shell.run(seconds)


def test_the_score_is_that_of_the_journal(tmp_path: Path) -> None:
    """Orders, and fills seen, are those that OwnFills reads from the journal; what is expected is what it says of these spells."""

    async def session() -> tuple[Viewed, Ribbon]:
        async with viewed(minutes=5, fitted=fitted()) as one:
            path = tmp_path / "r0.journal"
            header = journal_header(one.shell.engine.instrument, one.shell.engine.config, "r0")
            one.shell.journal = Journal.open(path, header=header, ts_ns=one.shell.now_ns())
            await _trade(one, 240)
            told = one.forecasts.ribbon()
            one.shell.commit()
            one.shell.journal.close()
            one.shell.journal = None
            return one, told

    one, told = run_stepped(session())
    own = OwnFills.of_journal(entries(tmp_path / "r0.journal"))
    resting = {order.client_order_id for order in one.shell.engine.orders}
    frame = own.frame
    ended = frame.height - sum(order in frame["client_order_id"].to_list() for order in resting)
    unknown = int(frame["filled"].sum()) - told.seen  # they filled before volatility was known
    assert 0 <= unknown <= min(told.left_out, 5) and told.seen > 10
    # Orders that were placed before the market was known have no probability at placement.
    assert 0 <= ended - told.orders <= told.left_out
    assert told.low <= told.expected <= told.high and abs(told.seen - told.expected) < 4 * math.sqrt(told.expected)
    market = synthetic_market(seed=7, minutes=5)
    after = own.score(fitted().model, market)
    # The market was looked at by the rules of labels there, at the touch behind the queue, and here as decisions see it.
    assert abs(after.seen - told.seen) <= 3 and after.expected == pytest.approx(told.expected, rel=0.25)


def test_an_order_is_asked_about_anew_while_it_rests() -> None:
    """Every ten seconds, with what is known then; the probability at placement stays what it was, until an amend moves it."""
    seen, order = followed(), "gkr0-B1-1"
    place = Place(
        client_order_id=order, level_id="BUY_1", side=Side.BUY, price_ticks=599_900, quantity_lots=5, type=OrderType.POST_ONLY,
        reduce_only=False, epoch=0, reason="NEW", policy="centred",
    )  # fmt: skip
    seen.take(TICK, (place,), 0)
    first = seen.placed(order)
    calm = replace(TICK, features=replace(FEATURES, sigma_bps=0.6))
    for second in range(1, 15):
        seen.take(calm, (), second * S)
    assert seen.placed(order) == first
    seen.take(Amended(client_order_id=order, price_ticks=599_900, quantity_lots=5, ts_ns=15 * S), (), 15 * S)
    assert first is not None and (now := seen.placed(order)) is not None and now < first
    seen.take(OrderUpdate(client_order_id=order, state=OrderState.CANCELLED, ts_ns=17 * S), (), 17 * S)
    assert seen.placed(order) is None
    told = seen.ribbon()
    assert (told.orders, told.filled, told.stood, told.seen) == (2, 0, 0, 0)
    assert [time for _, time, _ in seen._lives] == [15.0, 2.0] and seen._tally.score().spells == 3


def test_few_resolved_orders_are_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict waits for thirty; bins for ten orders each; both are bounded whatever a session does."""
    last = judged()[-1].ribbon
    assert last.orders >= last.filled + last.stood and (last.text == "") is (
        last.filled + last.stood < forecasts.RESOLVED
    )
    assert len(last.bins) <= forecasts.BINS and all(one.orders >= forecasts.FEWEST for one in last.bins)
    assert sum(one.orders for one in last.bins) <= forecasts.LATEST
    monkeypatch.setattr(forecasts, "RESOLVED", 5)
    monkeypatch.setattr(forecasts, "LATEST", 20)
    shown = _session(lambda one: one.forecasts.ribbon())
    assert shown.text.startswith(f"Fills seen {shown.seen:,} of ") and shown.text.endswith(" the range.")


def _session(what: Callable[[Viewed], Any]) -> Any:
    async def session() -> Any:
        async with viewed(minutes=3, fitted=fitted()) as one:
            await _trade(one, 120)
            return what(one)

    return run_stepped(session())


def test_another_horizon_begins_its_bins_anew() -> None:
    """Probabilities of ten seconds and of sixty are not mixed; what rests is asked about again."""

    def change(one: Viewed) -> tuple[Ribbon, Ribbon, Snapshot]:
        before = one.forecasts.ribbon()
        one.shell.update(one.shell.engine.config.replace(**{"grid.fill_horizon_s": 10}))
        return before, one.forecasts.ribbon(), one.view.snapshot()

    before, after, shown = _session(change)
    assert before.orders > 0 and (after.orders, after.bins) == (0, ()) and after.seen == before.seen
    assert shown.forecast.horizon_s == 10


def test_a_training_that_may_be_these_orders_is_told() -> None:
    """By market and time: the synthetic market of another seed is another one."""
    assert not judged()[-1].ribbon.in_sample
    model: FillModel = fitted().model
    training = replace(model.training, seed=7)  # type: ignore[arg-type, type-var]
    same = replace(fitted(), model=replace(model, training=training))  # type: ignore[type-var]

    async def session() -> Ribbon:
        async with viewed(minutes=3, fitted=same) as one:
            await _trade(one, 60)
            return one.forecasts.ribbon()

    assert run_stepped(session()).in_sample


def test_a_session_is_the_same_with_and_without_forecasts() -> None:
    """Nothing is decided here: a model that only watches changes no order."""
    shown = _session(lambda one: one.shell.engine.digest())

    async def plain() -> str:
        async with viewed(minutes=3) as one:
            await _trade(one, 120)
            return one.shell.engine.digest()

    assert run_stepped(plain()) == shown


def test_parts_of_a_snapshot_come_back_as_they_were() -> None:
    """As JSON; and a session without a model sends next to nothing of it."""
    last = judged()[-1]
    assert Snapshot.from_json(last.to_json()) == last
    assert played()[-1].ribbon == Ribbon() and np.isfinite(last.ribbon.expected)


# --- configurations --------------------------------------------------------------------------------------------------


def test_an_engine_without_the_named_model_is_refused() -> None:
    """It would judge by the heuristic, unawares."""
    with pytest.raises(ConfigError, match="names a fill model; give what fitted_for"):
        ExecutionEngine(INSTRUMENT, CONFIG.replace(**{"fill_model.sha256": "0" * 64}))


def test_a_session_is_judged_by_the_model_that_it_names(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venue: ServedMarket
) -> None:
    """Found from where the session was made; its runner says the same; a model is no thing to change while it runs."""
    path = save_model(fitted().model, tmp_path / "model.json", markout=fitted().markout)
    monkeypatch.chdir(tmp_path)
    config = GRID.replace(
        **{"fill_model.file": path.name, "fill_model.sha256": fitted().sha256, "grid.min_fill_prob": 0.01}
    )
    for name, market in (("played", MARKET), ("served", venue.name)):
        session = make(name, config, market=market).start()
        session.wait("RUNNING", timeout_s=120)

        def judged_now(session: Session = session) -> Snapshot | None:
            last = session.latest
            return last if last is not None and any(rung.value_bps is not None for rung in last.ladder) else None

        shown = until(judged_now)
        assert shown.forecast.model == "first_passage" and shown.forecast.sha256 == fitted().sha256[:16]
        assert shown.forecast.least == 0.01 and shown.forecast.no_value == ""
        attached = Session.attach(name)
        assert attached.config.fill_model is not None and attached.config.fill_model.file == str(path)
        with pytest.raises(ConfigError, match="fill_model.sha256 cannot change"):
            session.update(config.replace(fill_model=None))
        session.update(config.replace(**{"grid.levels": 3}))
        session.stop()
        session.wait(timeout_s=60)
        assert session.latest is not None and session.latest.forecast.model == "first_passage"


def test_a_model_that_cannot_be_had_starts_nothing(make: Make, tmp_path: Path, home: Path) -> None:
    """In a notebook and in a shell: by key and with what to do, before anything is touched."""
    path = save_model(fitted().model, tmp_path / "model.json")
    wrong = GRID.replace(**{"fill_model.file": str(path), "fill_model.sha256": "0" * 64})
    with pytest.raises(ConfigError, match=r"fill_model\.sha256 is 0{12}\.\.\., and .* to take this one"):
        make("t", wrong)
    file = save_config(wrong.replace(**{"fill_model.file": str(tmp_path / "gone.json")}), tmp_path / "grid.toml")
    for words in (
        ("run", str(file), f"--market={MARKET}"),
        ("replay", str(file), "--data", "synthetic seed=7 minutes=1"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "grinder_kit", *words], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 2 and "gone.json: No such file" in done.stderr
    assert not list(home.glob("sessions/*"))


def test_a_fit_can_be_named_as_it_says(tmp_path: Path) -> None:
    """`grinder fit --out` writes model and markout, and prints the lines of a configuration that a replay takes."""
    words = ["fit", "--data", "synthetic seed=3 minutes=3", "--out", "model.json"]
    run = [sys.executable, "-m", "grinder_kit"]
    done = subprocess.run([*run, *words], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=True)
    file = save_config(GRID, tmp_path / "grid.toml")
    file.write_text(file.read_text() + done.stdout[done.stdout.index("[fill_model]") :])
    config = load_config(file)
    both = load_fitted(tmp_path / "model.json")
    assert both.markout is not None and fitted_for(config) == both
