"""What a session expects of its orders: how likely each fills, what that is worth, and how it came out.

The probabilities are those by which decisions are made, and nothing is decided here. Each own order is asked about when it is
sent, when an amend has moved it, and every `SPELL_S` that it rests; fillprob/own_fills.py says why, and does the counting.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np

from grinder_kit.decision.economics import LevelEconomics
from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.fillprob.heuristic_model import HeuristicModel
from grinder_kit.fillprob.interval import Interval
from grinder_kit.fillprob.label_options import SECOND_NS
from grinder_kit.fillprob.level import Banded, level_inputs
from grinder_kit.fillprob.model import FillModel, Floats, Inputs
from grinder_kit.fillprob.model_file import Fitted
from grinder_kit.fillprob.observations import Observations
from grinder_kit.fillprob.own_fills import BLOCK_NS, SPELL_S, Follower, Life, Tally, observed_by
from grinder_kit.fillprob.training import Origin
from grinder_kit.model.event import Amended, Command, Event, Place, Tick
from grinder_kit.model.market import Features
from grinder_kit.session.snapshot import RESOLVED, Forecast, Ribbon, RibbonBin

Value = TypeVar("Value")
log = logging.getLogger(__name__)

#: Orders that the ribbon's bins are made of, the latest ones; bins, and the fewest orders of one that is shown.
LATEST, BINS, FEWEST = 2000, 10, 10
#: Spells that wait to be counted: a batch costs little more than one.
BATCH = 64

NO_MODEL = "no fill model: name one in [fill_model]"
NOT_KNOWN = "the market is not known yet: volatility and both best quantities"
NO_MARKOUT = "the model's file has no markout: fit it again"
NO_FIT = "the heuristic knows neither an interval nor a markout: name a fitted model in [fill_model]"


class Chance(NamedTuple):
    """What is expected of one level: its probability, what a try of it is worth and what a fill of it earns, bps; None: not known."""

    prob: Interval | None = None
    value: Interval | None = None
    profit: Interval | None = None


@dataclass(slots=True)
class _Asked:
    """An order at one price: the probability when it came there, and what was known when it was last asked about."""

    placed: float | None
    since_ns: int
    x: Inputs | None


class Forecasts:
    """Follow one session's orders.

    Parameters
    ----------
    engine : ExecutionEngine
        Its configuration is read each time, and nothing of it is changed.
    fitted : Fitted or None
        What the engine judges levels by. Without one it is the heuristic where the configuration sets `grid.min_fill_prob`, and
        nothing where it does not.
    origin : Origin, optional
        The market, so that a score on the model's own training can be told.
    """

    def __init__(self, engine: ExecutionEngine, fitted: Fitted | None, origin: Origin | None = None) -> None:
        heuristic = HeuristicModel() if engine.config.grid.min_fill_prob > 0 else None
        self.model: FillModel | None = heuristic if fitted is None else fitted.model
        self.markout = None if fitted is None else fitted.markout
        self._fitted, self._engine, self._origin = fitted, engine, origin
        self._features: Features | None = None
        self._mid2 = 0
        self._follower = Follower()
        self._asked: dict[str, _Asked] = {}
        self._spells: list[tuple[Inputs, int, float, bool]] = []
        self._first_ns = self._last_ns = self._orders = self._filled = self._stood = 0
        self._lives: deque[tuple[float, float, bool]] = deque(maxlen=LATEST)
        self._horizon_s = engine.config.grid.fill_horizon_s
        self._known: tuple[object, list[Chance]] = ((), [])
        self._ribbon: Ribbon | None = None
        self._failed = ""
        if self.model is not None:
            self._tally = Tally(self.model)
            # The compiler would hold up the heartbeat later.
            x = Inputs(distance_bps=[1.0], sigma=[1.0], natr_bps=[10.0])  # type: ignore[arg-type]
            self._probabilities(self.model, x)

    # --- what happens ------------------------------------------------------------------------------------------------

    def take(self, event: Event, commands: Sequence[Command], now_ns: int) -> None:
        """Take what the engine was told and what it asked for."""
        if self.model is not None:
            self._guarded(lambda: self._take(event, commands, now_ns), None)

    def _guarded(self, work: Callable[[], Value], otherwise: Value) -> Value:
        """Do some work; whatever goes wrong in it is no matter of the session, and is said once."""
        if self._failed:
            return otherwise
        try:
            return work()
        except Exception as error:
            log.exception("forecasts ended")
            self._failed = f"forecasts ended by {type(error).__name__}: {error}"
            return otherwise

    def _take(self, event: Event, commands: Sequence[Command], now_ns: int) -> None:
        if self._horizon_s != self._engine.config.grid.fill_horizon_s:
            self._start_over()
        if isinstance(event, Tick):
            self._see(event)
            if self._asked and now_ns >= self._next_ns:
                self._ask_again(now_ns)
        else:
            life = self._follower.take(event, now_ns)
            if life is not None:
                self._end(life)
            if isinstance(event, Amended):
                self._begin(event.client_order_id, event.ts_ns)
            order_id = getattr(event, "client_order_id", None)
            if order_id is not None and order_id not in self._follower.resting:
                self._asked.pop(order_id, None)  # it never rested
        for command in commands:
            if isinstance(command, Place):
                self._follower.take(command, now_ns)
                self._begin(command.client_order_id, now_ns)

    def _start_over(self) -> None:
        """Begin the bins anew: their probabilities are of another horizon."""
        self._horizon_s = self._engine.config.grid.fill_horizon_s
        self._orders = self._filled = self._stood = 0
        self._lives.clear()
        for order_id, asked in self._asked.items():
            asked.placed = self._prob(order_id)
        self._ribbon = None

    def _see(self, tick: Tick) -> None:
        if tick.bid_ticks is not None and tick.ask_ticks is not None:
            self._features, self._mid2 = tick.features, tick.bid_ticks + tick.ask_ticks

    @property
    def _next_ns(self) -> int:
        """When the first order is asked about again; those of a grid come together."""
        return min(asked.since_ns for asked in self._asked.values()) + round(SPELL_S * SECOND_NS)

    def _ask_again(self, now_ns: int) -> None:
        for order_id, asked in self._asked.items():
            if now_ns - asked.since_ns >= SPELL_S * SECOND_NS:
                self._count(asked, now_ns, filled=False)
                asked.since_ns, asked.x = now_ns, self._of(order_id)

    def _begin(self, order_id: str, ts_ns: int) -> None:
        if order_id in self._follower.resting:
            self._asked[order_id] = _Asked(self._prob(order_id), ts_ns, self._of(order_id))

    def _end(self, life: Life) -> None:
        asked = self._asked.pop(life.client_order_id, None)
        if asked is None:  # of an earlier run
            return
        self._count(asked, life.end_ns, filled=life.whole)
        time_s = (life.end_ns - life.start_ns) / SECOND_NS
        if asked.placed is not None and time_s > 0:
            self._orders += 1
            self._filled += life.whole and time_s <= self._horizon_s
            self._stood += time_s >= self._horizon_s
            self._lives.append((asked.placed, time_s, life.whole))
        self._ribbon = None

    def _count(self, asked: _Asked, now_ns: int, *, filled: bool) -> None:
        """Take a spell that has ended."""
        time_s = (now_ns - asked.since_ns) / SECOND_NS
        if time_s <= 0:
            return
        if asked.x is None:
            self._tally.leave_out()
            return
        self._first_ns = self._first_ns or asked.since_ns
        self._last_ns = max(self._last_ns, now_ns)
        self._spells.append((asked.x, asked.since_ns, time_s, filled))
        if len(self._spells) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._spells:
            return
        inputs, ts, times, filled = zip(*self._spells, strict=True)
        self._spells = []
        x = Inputs(**{one.name: np.concatenate([getattr(x, one.name) for x in inputs]) for one in fields(Inputs)})
        ts_ns, time_s = np.array(ts, np.int64), np.array(times)
        self._tally.add(
            Observations(
                x=x, ts_ns=ts_ns, time_s=time_s, filled=np.array(filled, bool), watched_s=time_s, block=ts_ns // BLOCK_NS,
                left_out=0,
            )
        )  # fmt: skip

    # --- what is expected --------------------------------------------------------------------------------------------

    def placed(self, client_order_id: str) -> float | None:
        """Return the probability of an order when it came to its price."""
        asked = self._asked.get(client_order_id)
        return None if asked is None else asked.placed

    def chances(self, levels: Sequence[tuple[int, int]]) -> list[Chance]:
        """Return what is expected of levels, given by their side (+1 buy) and price in ticks, at the planner's horizon."""
        key = (self._features, self._mid2, tuple(levels), self._engine.config)
        if self._known[0] != key:
            self._known = key, self._guarded(lambda: self._chances(levels), [Chance()] * len(levels))
        return self._known[1]

    def _chances(self, levels: Sequence[tuple[int, int]]) -> list[Chance]:
        x = self._inputs(levels) if levels and self.model is not None else None
        if x is None or self.model is None:
            return [Chance()] * len(levels)
        probs = self._probabilities(self.model, x)
        if self.markout is None:
            return [Chance(prob) for prob in probs]
        middle, (low, high) = self.markout.predict(x), self.markout.band(x)
        config, edge_bps = self._engine.config, self._edge_bps
        found = []
        for at, prob in enumerate(probs):
            level = LevelEconomics(
                size=1.0, fill_prob=prob, horizon_s=config.grid.fill_horizon_s, edge_bps=edge_bps,
                fees_bps=2 * float(config.execution.maker_fee_bps),
                markout_bps=Interval(value=float(middle[at]), low=float(low[at]), high=float(high[at])),
            )  # fmt: skip
            found.append(Chance(prob, level.value_bps, level.profit_bps))
        return found

    @property
    def _edge_bps(self) -> float:
        """What a round trip of the grid earns before fees: its spacing."""
        grid = self._engine.config.grid
        if grid.spacing_bps is not None:
            return float(grid.spacing_bps)
        return float(grid.spacing_ticks or 0) / (self._mid2 / 2) * 10_000

    def _probabilities(self, model: FillModel, x: Inputs) -> list[Interval]:
        horizon_s = self._engine.config.grid.fill_horizon_s
        middle = model.predict(x, horizon_s)
        if not isinstance(model, Banded):
            return [Interval(value=float(value)) for value in middle]
        low, high = model.band(x, horizon_s)
        return [
            Interval(value=float(m), low=float(a), high=float(b)) for m, a, b in zip(middle, low, high, strict=True)
        ]

    def _inputs(self, levels: Sequence[tuple[int, int]]) -> Inputs | None:
        if self._features is None or not self._mid2:
            return None
        side, ticks = (np.array(column, np.float64) for column in zip(*levels, strict=True))
        x = level_inputs(self._features, side, (self._mid2 - 2 * ticks) * side / self._mid2 * 10_000)
        heuristic = isinstance(self.model, HeuristicModel)
        return None if x is None or (heuristic and np.isnan(x.natr_bps).any()) else x

    def _of(self, order_id: str) -> Inputs | None:
        order = self._follower.resting[order_id]
        return self._inputs([(order.side, order.ticks)])

    def _prob(self, order_id: str) -> float | None:
        x = self._of(order_id)
        assert self.model is not None  # nothing is taken without one
        return None if x is None else float(self.model.predict(x, self._engine.config.grid.fill_horizon_s)[0])

    # --- what is told ------------------------------------------------------------------------------------------------

    def forecast(self) -> Forecast:
        """Return by what levels are judged and valued, and why something of it is missing."""
        grid, fitted = self._engine.config.grid, self._fitted
        known = self._inputs([(1, self._mid2 // 2)]) is not None
        no_prob = NO_MODEL if self.model is None else self._failed or ("" if known else NOT_KNOWN)
        no_value = no_prob or (NO_FIT if fitted is None else "" if self.markout is not None else NO_MARKOUT)
        training = None if fitted is None else fitted.model.training
        return Forecast(
            model="" if self.model is None else self.model.name,
            fitted="" if training is None else str(training),
            sha256="" if fitted is None else fitted.sha256[:16],
            horizon_s=grid.fill_horizon_s,
            least=grid.min_fill_prob,
            no_prob=no_prob,
            no_value=no_value,
        )

    def ribbon(self) -> Ribbon:
        """Return how the probabilities of own orders came out."""
        if self._ribbon is None:
            self._ribbon = self._guarded(self._new_ribbon, Ribbon())
        return self._ribbon

    def _new_ribbon(self) -> Ribbon:
        if self.model is None:
            return Ribbon()
        self._flush()
        score = self._tally.score()
        low, high = score.range()
        told = score.spells > 0 and self._filled + self._stood >= RESOLVED
        return Ribbon(
            orders=self._orders,
            filled=self._filled,
            stood=self._stood,
            left_out=score.left_out,
            seen=score.seen,
            expected=round(score.expected, 3),
            low=round(low, 3),
            high=round(high, 3),
            rcll=round(score.rcll, 4) if score.spells else None,
            text=f"{score.text}." if told else "",
            disagrees=told and score.disagrees,
            in_sample=self._in_sample(),
            bins=self._bins(),
        )

    def _in_sample(self) -> bool:
        training = None if self.model is None else self.model.training
        return training is not None and self._last_ns > 0 and training.overlaps(
            _Watched(self._origin, (self._first_ns, self._last_ns))
        )  # fmt: skip

    def _bins(self) -> tuple[RibbonBin, ...]:
        """Return by probability at placement what happened; bins of few orders are left out."""
        if not self._lives:
            return ()
        placed, time_s, filled = (np.array(column) for column in zip(*self._lives, strict=True))
        place = np.minimum((placed * BINS).astype(np.int64), BINS - 1)
        return tuple(
            _bin(placed[mine], time_s[mine], filled[mine], self._horizon_s)
            for at in range(BINS)
            for mine in (place == at,)
            if mine.sum() >= FEWEST
        )


class _Watched(NamedTuple):
    """The orders of a session as a training looks at them: in which market, and when."""

    origin: Origin | None
    window_ns: tuple[int, int]


def _bin(placed: Floats, time_s: Floats, filled: Floats, horizon_s: float) -> RibbonBin:
    hit = filled.astype(bool)
    share = observed_by(time_s, hit, horizon_s)
    return RibbonBin(
        predicted=round(float(placed.mean()), 4),
        observed=round(share.value, 4),
        low=None if share.low is None else round(share.low, 4),
        high=None if share.high is None else round(share.high, 4),
        orders=len(placed),
        filled=int((hit & (time_s <= horizon_s)).sum()),
    )
