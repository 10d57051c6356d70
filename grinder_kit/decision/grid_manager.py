"""GridManager: from a plan to the levels that may be quoted, and the reason for every one that may not (SPEC 9.5)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from grinder_kit.decision import economics, rules
from grinder_kit.decision.constraints import REASONS, Constraints
from grinder_kit.decision.ladder import geometric_level, lattice_first, linear_level, skewed_centre
from grinder_kit.decision.planner import Plan
from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError
from grinder_kit.fillprob.heuristic import step_probability
from grinder_kit.fillprob.level import StepProbability, of_model, of_steps
from grinder_kit.fillprob.model import FillModel, Inputs
from grinder_kit.model.config import ExecutionConfig, GridConfig
from grinder_kit.model.grid import GridLevel, GridMode, GridPlan, Refusal
from grinder_kit.model.instrument import Instrument
from grinder_kit.model.market import Features
from grinder_kit.model.order import Order, Side

if TYPE_CHECKING:
    from grinder_kit.fillprob.markout import MarkoutModel


class Level(NamedTuple):
    """A level in whole ticks and lots. `key` (``B3``, ``S12``) is the planner's: the ordinal, or the lattice index."""

    key: str
    side: int
    ticks: int
    lots: int
    fill_prob: float | None


class Refused(NamedTuple):
    """A level that is not quoted, and why."""

    key: str
    side: int
    ticks: int
    reason: Reason
    detail: str


class Book(NamedTuple):
    """What levels are checked against: best prices in ticks, and the features where a model needs them."""

    bid: int
    ask: int
    features: Features | None = None


def level_id(key: str) -> str:
    """Return the specification's name of a level key: ``B3`` is ``BUY_3``."""
    return f"{'BUY' if key[0] == 'B' else 'SELL'}_{key[1:]}"


class GridManager:
    """Compute the levels of a plan.

    Parameters
    ----------
    config : GridConfig
        `min_fill_prob`, `fill_prob_hysteresis`, `fill_horizon_s`, `throttle_factor` and `max_orders` are used here.
    instrument : Instrument
        Rounding and limits.
    execution : ExecutionConfig, optional
        Its maker fee enters the expected profit of a level: spacing minus round-trip fees.
    fill_probability : FillModel or callable, optional
        A fitted model; or (side, distance bps, expected move bps, OFI z-score) to a probability, by default the specification's
        heuristic.
    markout : MarkoutModel, optional
        What a fill costs beyond fees; it enters the expected profit of a level.

    Attributes
    ----------
    levels : dict of str to GridLevel
        The levels of the last call of `compute_levels`, by level id.
    orders : mapping of str to Order
        Live own orders by level id, as the owner of the manager keeps them; the engine does.
    refusals : tuple of Refusal
        The levels that the last call did not quote.

    Raises
    ------
    ConfigError
        For a `fill_horizon_s` beyond what the data of a model speak of.

    Notes
    -----
    Hysteresis: a level that has an order is refused only when its probability falls below `min_fill_prob` less
    `fill_prob_hysteresis`, so that one near the threshold does not come and go. What stands is read from `orders`, and is so
    remembered across a restart.
    """

    def __init__(
        self,
        config: GridConfig,
        instrument: Instrument,
        *,
        execution: ExecutionConfig | None = None,
        fill_probability: FillModel | StepProbability = step_probability,
        markout: MarkoutModel | None = None,
    ) -> None:
        self.config = config
        self.instrument = instrument
        self.levels: dict[str, GridLevel] = {}
        self.orders: Mapping[str, Order] = {}
        self.refusals: tuple[Refusal, ...] = ()
        self._constraints = Constraints.of(instrument)
        if isinstance(fill_probability, FillModel):
            check_horizon(config, fill_probability)
            self._fill_probability = of_model(fill_probability)
        else:
            self._fill_probability = of_steps(fill_probability)
        self._markout = markout
        self._fees_bps = 2 * (execution or ExecutionConfig()).maker_fee_bps
        self._throttle = config.throttle_factor
        self._banded = instrument.band_down is not None or instrument.band_up is not None
        # Prices of the last plan, and the outermost ones.
        self._ladder: tuple[Plan, tuple[int, ...], tuple[int, ...], frozenset[int]] | None = None
        self._last: tuple[object, tuple[tuple[Level, ...], tuple[Refused, ...]]] | None = None
        self._limit = (
            None if config.position_limit is None else instrument.lots(config.position_limit, "position_limit")
        )

    # --- the specification's form -----------------------------------------------------------------------------------

    def compute_levels(self, plan: GridPlan, features: Features | None = None) -> list[GridLevel]:
        """Return the levels that may be quoted, sells first, each nearest first (SPEC 9.5).

        Parameters
        ----------
        plan : GridPlan
        features : Features, optional
            Needed when `min_fill_prob` is above 0. Where a mid and a spread are known, levels that would cross are refused.
        """
        whole = Plan.of(plan, self.instrument)
        mid2, spread = whole.centre2, 1 << 60  # a market that is not known is so wide that nothing crosses it
        if features is not None and features.mid is not None:
            mid2 = int((Decimal(features.mid) * 2 / self.instrument.tick).to_integral_value())
            if features.spread_bps is not None:
                spread = round(features.spread_bps * features.mid / 10_000 / float(self.instrument.tick))
        quoted, refused = self.wanted(whole, Book((mid2 - spread) // 2, -(-(mid2 + spread) // 2), features), 0)
        levels = [self._grid_level(plan, level, features) for level in sorted(quoted, key=lambda level: level.side)]
        self.levels = {level.level_id: level for level in levels}
        self.refusals = tuple(self.refusal(item) for item in refused)
        return levels

    def _grid_level(self, plan: GridPlan, level: Level, features: Features | None) -> GridLevel:
        return GridLevel(
            level_id=level_id(level.key),
            side=Side.BUY if level.side > 0 else Side.SELL,
            price=self.instrument.price(level.ticks),
            size=self.instrument.quantity(level.lots),
            fill_prob=level.fill_prob,
            expected_profit_bps=self._expected_profit(plan, level, features),
            reason_codes=(f"LEVEL_{level.key[1:]}",),
        )

    def _expected_profit(self, plan: GridPlan, level: Level, features: Features | None) -> float | None:
        """Return the profit of a round trip given the level's fill, bps; None where its markout is not known."""
        edge, fees = float(plan.spacing_bps), float(self._fees_bps)
        if self._markout is None:
            return economics.profit_bps(edge, fees)
        if features is None or features.mid is None or not features.sigma_bps:
            return None
        price = float(self.instrument.price(level.ticks))
        distance = max(0.0, (features.mid - price) * level.side / features.mid * 10_000)
        x = Inputs(distance_bps=[distance], sigma=[features.sigma_bps])  # type: ignore[arg-type]
        return economics.profit_bps(edge, fees, float(self._markout.predict(x)[0]))

    def refusal(self, item: Refused) -> Refusal:
        """Return a refused level as a value with Decimals."""
        return Refusal(
            level_id=level_id(item.key),
            side=Side.BUY if item.side > 0 else Side.SELL,
            price=self.instrument.price(item.ticks) if item.ticks > 0 else None,
            reason=item.reason,
            detail=item.detail,
        )

    # --- the rule ---------------------------------------------------------------------------------------------------

    def wanted(self, plan: Plan, book: Book, inventory: int | None) -> tuple[tuple[Level, ...], tuple[Refused, ...]]:
        """Return the levels that may be quoted, buys first, each nearest first, and those that may not.

        Parameters
        ----------
        plan : Plan
        book : Book
        inventory : int or None
            Position in lots; a side whose position limit is reached is refused. None: the caller has checked the limit.
        """
        if not plan.mode.active:
            return (), ()
        off = self._side_off(plan.mode, 1, inventory), self._side_off(plan.mode, -1, inventory)
        if self._ladder is None or self._ladder[0] is not plan:
            buys, sells = self._prices(plan, 1), self._prices(plan, -1)
            prices = buys + sells
            self._ladder = plan, buys, sells, frozenset((min(prices), max(prices))) if prices else frozenset()
        _, buys, sells, outermost = self._ladder
        crossing = _leading(1, buys, book), _leading(-1, sells, book)
        shape = (buys, sells, crossing, plan.sizes, plan.mode, off)
        if (
            self._last is not None
            and self._last[0] == shape
            and (not self._banded or self._in_band(outermost, plan, book))
        ):
            return self._last[1]
        answer = self._levels(plan, book, off)
        # For the same prices, without a fill filter, only the touch (how many levels cross) and the venue's price bands can
        # change the answer; the bands do so from the outermost levels inwards.
        repeatable = self.config.min_fill_prob == 0 and all(item.reason is not Reason.PRICE_BAND for item in answer[1])
        self._last = (shape, answer) if repeatable else None
        return answer

    def _in_band(self, prices: frozenset[int], plan: Plan, book: Book) -> bool:
        lots, mid2, limits = max(plan.sizes), book.bid + book.ask, self._constraints.numbers
        return all(rules.venue_refuses(ticks, lots, mid2, limits) not in _OUTSIDE for ticks in prices)

    def _levels(
        self, plan: Plan, book: Book, off: tuple[tuple[Reason, str] | None, tuple[Reason, str] | None]
    ) -> tuple[tuple[Level, ...], tuple[Refused, ...]]:
        quoted: list[Level] = []
        refused: list[Refused] = []
        room = self.order_room
        for side, side_off in ((1, off[0]), (-1, off[1])):
            last = 0
            letter = "B" if side > 0 else "S"
            for number, ticks in enumerate(self._prices(plan, side), start=1):
                key = f"{letter}{ticks // plan.spacing_ticks if plan.spacing_ticks else number}"
                lots = plan.sizes[min(number, len(plan.sizes)) - 1]
                if plan.mode is GridMode.THROTTLE:
                    lots = int(lots * self._throttle)
                prob: float | None = None
                why = side_off or self._check(book, side, ticks, lots, last, len(quoted), room)
                if why is None and self.config.min_fill_prob > 0:
                    prob, why = self._likely(book, key, side, ticks)
                if why is not None:
                    refused.append(Refused(key, side, ticks, *why))
                    continue
                last = ticks
                quoted.append(Level(key, side, ticks, lots, prob))
        return tuple(quoted), tuple(refused)

    @property
    def order_room(self) -> int:
        """Orders allowed at once, by the configuration and the venue."""
        limits = [limit for limit in (self.config.max_orders, self._constraints.max_orders) if limit is not None]
        return min(limits, default=1 << 30)

    def _side_off(self, mode: GridMode, side: int, inventory: int | None) -> tuple[Reason, str] | None:
        if (mode is GridMode.UNI_LONG and side < 0) or (mode is GridMode.UNI_SHORT and side > 0):
            return Reason.MODE_OFF, str(mode)
        if inventory is not None and self._limit is not None and rules.side_full(side, inventory, self._limit):
            return Reason.POSITION_LIMIT, f"position {inventory} lots, limit {self._limit}"
        return None

    def _prices(self, plan: Plan, side: int) -> tuple[int, ...]:
        """Return the prices of one side in ticks, nearest first."""
        count = plan.n_down if side > 0 else plan.n_up
        centre2 = skewed_centre(plan.centre2, plan.skew_tenths)
        if plan.spacing_ticks:
            first = lattice_first(centre2, plan.spacing_ticks, plan.half_spread_ticks, side)
            return tuple(first - side * plan.spacing_ticks * number for number in range(count))
        rule = geometric_level if plan.geometric else linear_level
        return tuple(rule(centre2, plan.spacing_tenths, number, side) for number in range(1, count + 1))

    def _check(
        self, book: Book, side: int, ticks: int, lots: int, last: int, quoted: int, room: int
    ) -> tuple[Reason, str] | None:
        venue = self._constraints.refuse(ticks, lots, book.bid + book.ask)
        if venue is not None:
            return venue
        code = rules.level_refuses(ticks, last, rules.crosses(side, ticks, book.bid, book.ask), quoted, room)
        if code == rules.FINE:
            return None
        detail = {
            rules.SAME_PRICE: "closer together than one tick",
            rules.CROSSES: f"the market has reached {ticks} ticks",
            rules.NO_ROOM: f"{room} orders allowed",
        }
        return REASONS[code], detail[code]

    def _likely(self, book: Book, key: str, side: int, ticks: int) -> tuple[float | None, tuple[Reason, str] | None]:
        features = book.features
        if features is None:
            return None, (Reason.FEATURE_WARMUP, "no features")
        mid2 = book.bid + book.ask
        distance = rules.distance_bps(side, ticks, mid2)
        prob = self._fill_probability(features, side, distance, self.config.fill_horizon_s)
        if prob is None:
            return None, (Reason.FEATURE_WARMUP, "volatility unknown")
        config = self.config
        stands = prob < config.min_fill_prob and config.fill_prob_hysteresis > 0 and level_id(key) in self.orders
        least = rules.least_probability(config.min_fill_prob, config.fill_prob_hysteresis, stands)
        if prob < least:
            return prob, (Reason.FILL_PROB, f"{prob:.2f} < {least:.2f}")
        return prob, None


#: Codes of `rules.venue_refuses` that depend on where mid is, or on the price alone.
_OUTSIDE = (rules.OUT_OF_RANGE, rules.BELOW_BAND, rules.ABOVE_BAND)


def _leading(side: int, prices: tuple[int, ...], book: Book) -> int:
    """Return how many of the nearest levels cross."""
    count = 0
    while count < len(prices) and rules.crosses(side, prices[count], book.bid, book.ask):
        count += 1
    return count


def explain_empty(refused: tuple[Refused, ...]) -> str:
    """Say why a grid has no level at all: every reason with its count, the commonest first."""
    if not refused:
        return "the plan has no levels"
    counts: dict[Reason, int] = {}
    for item in refused:
        counts[item.reason] = counts.get(item.reason, 0) + 1
    return "; ".join(
        f"{count} of {len(refused)} levels: {reason.text} ({reason})"
        for reason, count in sorted(counts.items(), key=lambda pair: -pair[1])
    )


def check_horizon(config: GridConfig, model: FillModel) -> None:
    """Refuse a horizon of which a model's data do not speak.

    Raises
    ------
    ConfigError
        For a `fill_horizon_s` beyond the model's span.
    """
    if config.min_fill_prob > 0 and config.fill_horizon_s > model.span_s:
        raise ConfigError(
            f"fill_horizon_s is {config.fill_horizon_s:g}, and the data of model {model.name} span {model.span_s:,.0f} s; write "
            "less, or fit the model on more"
        )


def check_fill_prob(config: GridConfig) -> None:
    """Refuse a threshold that can never act.

    Raises
    ------
    ConfigError
        For a min_fill_prob in (0, .05], which the heuristic's floor makes inert.
    """
    if 0 < config.min_fill_prob <= 0.05:
        raise ConfigError(
            f"min_fill_prob is {config.min_fill_prob}; the heuristic never says less than .05, so this refuses nothing: "
            "write 0, or more than 0.05"
        )
