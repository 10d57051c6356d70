"""A model against own orders: those of a replay, a session or a journal, and how many of them should have filled.

Hypothetical orders are a poor proxy of real ones (Lo, MacKinlay, Zhang 2002), so a model is also held against what was really
sent. An order is asked about every `SPELL_S` that it rests, with what was known of the market then. One that was cancelled, or
rests at the end, has not filled by then, and no more is known: it is censored.

The fills expected are the sum of -ln(1 - P(T <= t)) over these spells, t being how long each lasted: whenever orders are
withdrawn, the fills less this sum have the mean 0 if the model is right. (The sum of P(T <= t) would not do: an order that filled
has a short t because it filled.) What remains wrong is that a grid withdraws what price leaves, and a model knows of price at the
start of a spell alone: a grid that follows price closely fills less than any model expects, or more. Shorter spells show how much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob import label_kernel as lk
from grinder_kit.fillprob.interval import LEVEL, Interval
from grinder_kit.fillprob.label_options import SECOND_NS, LabelOptions
from grinder_kit.fillprob.model import FillModel, Floats, Inputs
from grinder_kit.fillprob.observations import Observations, known
from grinder_kit.fillprob.scoring import HORIZONS_S, rcll
from grinder_kit.fillprob.training import Origin
from grinder_kit.kernel import book as bk
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.feed import Slice, slices
from grinder_kit.kernel.options import kernel_options
from grinder_kit.kernel.simulator import Simulator
from grinder_kit.market.features import PROXY
from grinder_kit.model.event import Amended, LookedUp, OrderFilled, OrderUpdate, Place
from grinder_kit.model.order import OrderState, OrderType, Side

if TYPE_CHECKING:
    from grinder_kit.market.source import Market
    from grinder_kit.model.instrument import Instrument

SPELL_S = 10.0
LONGEST_S = 60.0  # as long as labels are watched: no model knows more
BLOCK_NS = 60 * SECOND_NS
SCHEMA = pl.Schema(
    {
        "client_order_id": pl.String,
        "side": pl.Int8,
        "ticks": pl.Int64,
        "lots": pl.Int64,
        "ts_ns": pl.Int64,
        "time_s": pl.Float64,
        "filled": pl.Boolean,
    }
)
#: Upper edges of the bands of distance in a score, bps; the first holds the orders at the touch.
BANDS_BPS = (0.0, 1.0, 2.0, 5.0, 10.0, math.inf)
#: A score outside this range is no chance any more.
SURE_LEVEL = 0.99
#: Blocks that a tally holds open.
KEPT_BLOCKS = 1000
_SURE = 1 - 1e-9  # a model that says 1 would expect infinitely many fills
_TIMES_S = np.concatenate(([0.0], np.geomspace(1e-3, LONGEST_S, 200)))
_KNOWN = ("distance_bps", "at_touch", "sigma", "queue_s", "imb_own", "ofi_z", "natr_bps")


class Life(NamedTuple):
    """An order at one price: from when until when (ns), and whether the whole of it had filled then."""

    client_order_id: str
    side: int
    ticks: int
    lots: int
    start_ns: int
    end_ns: int
    whole: bool


class ResultLike(Protocol):
    """A finished replay."""

    @property
    def orders(self) -> pl.DataFrame:
        """Every order that was sent."""
        ...

    @property
    def fills(self) -> pl.DataFrame:
        """Every fill."""
        ...

    @property
    def amends(self) -> pl.DataFrame:
        """Every amend that was confirmed."""
        ...

    @property
    def instrument(self) -> Instrument:
        """What was traded."""
        ...

    @property
    def end_ns(self) -> int:
        """When it ended."""
        ...


class EntryLike(Protocol):
    """An entry of a journal."""

    @property
    def ts_ns(self) -> int:
        """When it was written."""
        ...

    @property
    def body(self) -> object:
        """A command, an event, or something else."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnFills:
    """Own resting orders and what became of them.

    Attributes
    ----------
    frame : DataFrame
        One row an order at one price, by its start: client_order_id; side (+1 buy), ticks, lots; ts_ns, when it was sent (or came
        to this price); time_s, how long it rested; filled, whether the whole order had filled then.

    Examples
    --------
    >>> from grinder_kit import Config, GridConfig, replay, synthetic_market
    >>> from grinder_kit.fillprob.first_passage import FirstPassageModel
    >>> market = synthetic_market(seed=7, minutes=3)
    >>> grid = Config(grid=GridConfig(spacing_bps=4, levels=3, size="0.01"))
    >>> own = OwnFills.of_result(replay(market, grid))
    >>> score = own.score(FirstPassageModel(), market)
    >>> score.text.startswith("Fills seen ")
    True
    """

    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame["client_order_id"].n_unique()

    # --- where they come from ----------------------------------------------------------------------------------------

    @classmethod
    def of_result(cls, result: ResultLike) -> OwnFills:
        """Return the orders of a replay; an amend ends one row and starts another."""
        return cls.of_frames(result.orders, result.fills, result.instrument, amends=result.amends, end_ns=result.end_ns)

    @classmethod
    def of_frames(
        cls, orders: pl.DataFrame, fills: pl.DataFrame, instrument: Instrument, *, end_ns: int,
        amends: pl.DataFrame | None = None,
    ) -> OwnFills:  # fmt: skip
        """Return the orders of frames as a Result has them.

        Parameters
        ----------
        orders, fills : DataFrame
            client_order_id, side, price, quantity, state, sent_ns, ended_ns (null while it rests) of each order; client_order_id,
            ts_ns, quantity, is_maker of each fill.
        instrument : Instrument
        end_ns : int
            Until when they were watched.
        amends : DataFrame, optional
            client_order_id, ts_ns, price_before, quantity_before of each amend that was confirmed, an order's by time. None: no
            order was amended.
        """
        filled = fills.group_by("client_order_id").agg(
            pl.col("quantity").sum().alias("traded"),
            pl.col("ts_ns").max().alias("last_ns"),
            pl.col("ts_ns").filter(~pl.col("is_maker")).min().alias("taken_ns"),
        )
        rested = orders.filter(pl.col("state") != OrderState.REJECTED).join(filled, on="client_order_id", how="left")
        moves: dict[str, list[_Move]] = {}
        if amends is not None:
            wanted = amends.select("client_order_id", "ts_ns", "price_before", "quantity_before")
            for order_id, *move in wanted.iter_rows():
                moves.setdefault(order_id, []).append(_Move(*move))
        return cls._of(
            life
            for row in rested.iter_rows(named=True)
            for life in _lives(row, moves.get(row["client_order_id"], []), instrument, end_ns)
        )

    @classmethod
    def of_journal(cls, entries: Iterable[EntryLike], *, end_ns: int | None = None) -> OwnFills:
        """Return the orders of a journal's entries; an amend ends one row and starts another.

        What the session itself knows is in its frames only in part: its orders stand in its journal.

        Parameters
        ----------
        entries : iterable
            In their order.
        end_ns : int, optional
            Until when they were watched: entries of later are not read, and orders that still rest are censored then. By default
            the time of the last entry.
        """
        return cls._of(_follow(entries, end_ns))

    @classmethod
    def _of(cls, lives: Iterable[Life]) -> OwnFills:
        rows = [
            (order_id, side, ticks, lots, start, (end - start) / SECOND_NS, whole)
            for order_id, side, ticks, lots, start, end, whole in lives
            if end > start
        ]
        frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
        return cls(frame=frame.sort("ts_ns", maintain_order=True))

    # --- what was known ----------------------------------------------------------------------------------------------

    def spells(self, spell_s: float = SPELL_S) -> pl.DataFrame:
        """Return the frame cut into rows of at most `spell_s`; only the last of an order may have filled.

        Raises
        ------
        ConfigError
            For seconds that are not above 0, or more than labels are watched.
        """
        if not 0 < spell_s <= LONGEST_S:
            raise ConfigError(f"spell_s is {spell_s}; write seconds above 0, at most {LONGEST_S:g}")
        last = (pl.col("time_s") / spell_s * (1 - 1e-12)).floor().cast(pl.Int64)
        cut = self.frame.with_columns(pl.int_ranges(0, last + 1).alias("spell"), last.alias("last")).explode("spell")
        start = (pl.col("spell") * (spell_s * SECOND_NS)).round().cast(pl.Int64)
        return cut.select(
            "client_order_id", "side", "ticks", "lots",
            pl.col("ts_ns") + start,
            pl.min_horizontal(pl.lit(spell_s), pl.col("time_s") - pl.col("spell") * spell_s).alias("time_s"),
            (pl.col("filled") & (pl.col("spell") == pl.col("last"))).alias("filled"),
        ).sort("ts_ns", maintain_order=True)  # fmt: skip

    def observe(self, market: Market, *, spell_s: float = SPELL_S) -> Observations:
        """Return the spells with what was known of each at its start, as a model takes them.

        Parameters
        ----------
        market : Market
            The one that the orders were in; a live session's must have been recorded.
        spell_s : float
            Seconds after which an order that still rests is asked about anew. At the touch it then counts as behind the whole
            queue, though it has moved up.

        Raises
        ------
        ConfigError
            As :meth:`spells`.
        DataError
            Where nothing is known of any of them, as when the market is of another time.
        """
        spells = self.spells(spell_s)
        seen = pl.DataFrame(list(_look(spells, market)), schema=dict.fromkeys(_KNOWN, pl.Float64), orient="row")
        seen = seen.fill_nan(None).with_columns(pl.col("at_touch") == 1)
        frame = pl.concat([spells, seen], how="horizontal").filter(known())
        if frame.is_empty():
            raise DataError(
                f"of {spells.height:,} spells of own orders none lies where the market shows volatility and both sides; "
                "give the market that they were in, and more than its warm-up of 10 s"
            )
        frame = frame.with_columns(pl.col("queue_s", "ofi_z").fill_null(0.0))
        ts = frame["ts_ns"].to_numpy()
        return Observations(
            x=Inputs.from_frame(frame),
            ts_ns=ts,
            time_s=frame["time_s"].to_numpy(),
            filled=frame["filled"].to_numpy(),
            watched_s=frame["time_s"].to_numpy(),
            block=(ts - ts[0]) // BLOCK_NS,
            left_out=spells.height - frame.height,
            origin=Origin.of(market.instrument, market.describe()),
        )

    def score(self, model: FillModel, market: Market, *, spell_s: float = SPELL_S, in_sample: bool = False) -> OwnScore:
        """Return how a model does on these orders; see :func:`score_own`.

        Raises
        ------
        ConfigError, DataError
            As :meth:`observe` and :func:`score_own`.
        """
        return score_own(model, self.observe(market, spell_s=spell_s), in_sample=in_sample)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OwnScore:
    """How many own orders filled, and how many the model expected.

    Parameters
    ----------
    model : str
        Its name.
    spells : int
        Spells of orders whose market was known; `left_out` are the others.
    seen : int
        Fills.
    expected : float
        By the model.
    spread : float
        Standard deviation of the fills around what was expected.
    rcll : float
        Right-censored log likelihood a spell; higher is better.
    bands : tuple
        (upper edge in bps, spells, fills seen, fills expected) by distance at the start; the edge 0 holds orders at the touch.
    in_sample : bool
        Whether the orders lie in the model's training.
    """

    model: str
    spells: int
    left_out: int
    seen: int
    expected: float
    spread: float
    rcll: float
    bands: tuple[tuple[float, int, int, float], ...]
    in_sample: bool = False

    def range(self, level: float = LEVEL) -> tuple[float, float]:
        """Return where the fills should lie in so large a share of cases."""
        away = NormalDist().inv_cdf((1 + level) / 2) * self.spread
        return max(0.0, self.expected - away), self.expected + away

    @property
    def low(self) -> float:
        """Lower end of the range of 90 %."""
        return self.range()[0]

    @property
    def high(self) -> float:
        """Upper end of the range of 90 %."""
        return self.range()[1]

    @property
    def disagrees(self) -> bool:
        """Whether the fills lie outside the range of 99 %."""
        low, high = self.range(SURE_LEVEL)
        return not low <= self.seen <= high

    @property
    def inside(self) -> bool:
        """Whether the fills lie in the range."""
        return self.low <= self.seen <= self.high

    @property
    def text(self) -> str:
        """The score as a sentence."""
        where = "inside" if self.inside else "above" if self.seen > self.high else "below"
        return f"Fills seen {self.seen:,} of {self.expected:,.1f} expected; {where} the range"

    def __repr__(self) -> str:
        note = ", seen in training" if self.in_sample else ""
        lines = [
            f"{self.text} ({self.low:,.1f} to {self.high:,.1f}, 90 %){note}",
            f"  {self.model} on {self.spells:,} spells of own orders, {self.left_out:,} left out (nothing known of their market)",
        ]
        for edge, spells, seen, expected in self.bands:
            name = "at the touch" if edge == 0 else f"to {edge:g} bps" if edge < math.inf else "beyond"
            lines.append(f"  {name:<14}{spells:>7,} spells{seen:>7,} seen{expected:>9,.1f} expected")
        return "\n".join(lines)


def score_own(model: FillModel, seen: Observations, *, in_sample: bool = False) -> OwnScore:
    """Return how many of these orders filled, against how many should have.

    The range comes from how far blocks of 60 s are off, and is never narrower than that of independent orders: orders of one
    grid share its market. What lies outside it is too far off for chance.

    Raises
    ------
    ConfigError
        For orders that lie in the model's training, unless `in_sample` accepts them; where nobody knows which market they were in,
        their time decides.
    """
    training = model.training
    seen_before = training is not None and training.overlaps(seen)
    if training is not None and not in_sample:
        training.check_unseen(seen, what="own orders", later="such as a replay over market.split(0.6)[1]")
    tally = Tally(model)
    tally.add(seen)
    return tally.score(in_sample=seen_before)


class Tally:
    """Fills seen and fills expected, added up while orders end: the score in bounded memory.

    Parameters
    ----------
    model : FillModel
        What is scored.
    """

    def __init__(self, model: FillModel) -> None:
        self.model = model
        self._spells = self._left_out = self._seen = 0
        self._expected = self._likelihood = self._squares = 0.0
        self._off: dict[int, float] = {}  # by block, fills seen less expected
        self._bands: dict[int, tuple[int, int, float]] = {}

    def add(self, seen: Observations) -> None:
        """Take spells; a block's may come apart, but not after `KEPT_BLOCKS` later ones."""
        self._left_out += seen.left_out
        if not len(seen):
            return
        expected = _expected(self.model, seen)
        blocks, group = np.unique(seen.block, return_inverse=True)
        for block, off in zip(blocks.tolist(), np.bincount(group, seen.filled - expected).tolist(), strict=True):
            self._off[block] = self._off.get(block, 0.0) + off
        while len(self._off) > KEPT_BLOCKS:
            self._squares += self._off.pop(min(self._off)) ** 2
        cumulative = self.model.predict(seen.x, HORIZONS_S, extrapolate=True)
        self._likelihood += rcll(cumulative, seen.time_s, seen.filled) * len(seen)
        place = np.searchsorted(BANDS_BPS[1:], seen.x.distance_bps) + 1
        place[seen.x.at_touch == 1] = 0
        for at in np.unique(place).tolist():
            spells, fills, sum_expected = self._bands.get(at, (0, 0, 0.0))
            mine = place == at
            self._bands[at] = (
                spells + int(mine.sum()), fills + int(seen.filled[mine].sum()), sum_expected + float(expected[mine].sum()),
            )  # fmt: skip
        self._spells += len(seen)
        self._seen += int(seen.filled.sum())
        self._expected += float(expected.sum())

    def leave_out(self, spells: int = 1) -> None:
        """Count spells of whose market nothing was known."""
        self._left_out += spells

    def score(self, *, in_sample: bool = False) -> OwnScore:
        """Return the score of what was added."""
        squares = self._squares + sum(off * off for off in self._off.values())
        return OwnScore(
            model=self.model.name,
            spells=self._spells,
            left_out=self._left_out,
            seen=self._seen,
            expected=self._expected,
            spread=math.sqrt(max(self._expected, squares)),
            rcll=self._likelihood / self._spells if self._spells else math.nan,
            bands=tuple((BANDS_BPS[at], *self._bands[at]) for at in sorted(self._bands)),
            in_sample=in_sample,
        )


def observed_by(time_s: Floats, filled: npt.NDArray[np.bool_], horizon_s: float) -> Interval:
    """Return the share that filled within a horizon, with those that were withdrawn before it in their place (Kaplan-Meier).

    The interval is Wilson's, for as many orders as Greenwood's variance stands for. There is none where nobody was watched so long.

    Parameters
    ----------
    time_s : ndarray
        (n,) how long each rested, not empty.
    filled : ndarray of bool
        (n,) whether it had filled then.
    horizon_s : float
    """
    hit, stood = filled & (time_s <= horizon_s), time_s >= horizon_s
    times, counts = np.unique(time_s[hit], return_counts=True)
    at_risk = (time_s[None, :] >= times[:, None]).sum(axis=1)
    left = float(np.prod(1.0 - counts / at_risk))
    if left > 0 and not stood.any():
        return Interval(value=1.0 - left)
    stayed = at_risk - counts
    greenwood = float(np.divide(counts, at_risk * stayed, out=np.zeros(len(times)), where=stayed > 0).sum())
    orders = (1.0 - left) / (left * greenwood) if left * greenwood > 0 else float((hit | stood).sum())
    square = NormalDist().inv_cdf((1 + LEVEL) / 2) ** 2 / orders
    middle = (1.0 - left + square / 2) / (1 + square)
    away = math.sqrt(square * (left * (1.0 - left) + square / 4)) / (1 + square)
    return Interval(value=1.0 - left, low=max(0.0, middle - away), high=min(1.0, middle + away))


def _expected(model: FillModel, seen: Observations) -> Floats:
    """Return the fills expected of each spell: the cumulative hazard at its end."""
    hazard = -np.log1p(-np.minimum(model.predict(seen.x, _TIMES_S, extrapolate=True), _SURE))
    place = np.clip(np.searchsorted(_TIMES_S, seen.time_s), 1, len(_TIMES_S) - 1)
    rows = np.arange(len(seen))
    part = np.clip((seen.time_s - _TIMES_S[place - 1]) / (_TIMES_S[place] - _TIMES_S[place - 1]), 0.0, 1.0)
    return np.asarray(hazard[rows, place - 1] * (1 - part) + hazard[rows, place] * part)


# --- frames ------------------------------------------------------------------------------------------------------------


class _Move(NamedTuple):
    """An amend: when it moved an order, and from where."""

    ts_ns: int
    price: Decimal
    quantity: Decimal


def _lives(row: dict[str, Any], moves: Iterable[_Move], instrument: Instrument, end_ns: int) -> Iterator[Life]:
    """Yield an order's time at each of its prices; what took is no order at rest."""
    order_id, side, start, taken = row["client_order_id"], Side(row["side"]).sign, row["sent_ns"], row["taken_ns"]
    for at, price, quantity in moves:
        if taken is not None and taken < at:
            return
        yield Life(order_id, side, instrument.ticks(price), instrument.lots(quantity), start, at, False)
        start = at
    if taken is None:
        whole = row["traded"] is not None and row["traded"] >= row["quantity"]
        end = row["last_ns"] if whole else row["ended_ns"] or end_ns
        yield Life(order_id, side, instrument.ticks(row["price"]), instrument.lots(row["quantity"]), start, end, whole)


# --- journals ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Resting:
    """An order as far as it has been told: where it stands, since when, and what it has filled."""

    side: int
    ticks: int
    lots: int
    since_ns: int
    filled: int = 0
    trades: set[str] = field(default_factory=set)


class Follower:
    """Follow own orders by what was sent and told, in its order, from one price to the next.

    Attributes
    ----------
    resting : dict of str to Resting
        By client order id.
    """

    def __init__(self) -> None:
        self.resting: dict[str, Resting] = {}

    def take(self, value: object, ts_ns: int) -> Life | None:
        """Take a command that was sent at `ts_ns`, or an event; return the row that it ends."""
        if isinstance(value, Place):
            if value.type is not OrderType.IOC:
                self.resting[value.client_order_id] = Resting(
                    value.side.sign, value.price_ticks, value.quantity_lots, ts_ns
                )
            return None
        if not isinstance(value, OrderUpdate | OrderFilled | Amended | LookedUp):
            return None
        order = self.resting.get(value.client_order_id)
        if order is None:
            return None
        if isinstance(value, OrderFilled):
            return self._fill(order, value)
        if isinstance(value, Amended):
            life = self._end(value.client_order_id, value.ts_ns, whole=False)
            if order.filled < value.quantity_lots:  # else the rest of it is withdrawn
                order.ticks, order.lots, order.since_ns = value.price_ticks, value.quantity_lots, value.ts_ns
                self.resting[value.client_order_id] = order
            return life
        if value.state is not None and not value.state.terminal:
            return None
        # An end may be told before the fills that it counts: only what was never accepted leaves no row.
        whole = value.state is OrderState.FILLED or (value.filled_lots or 0) >= order.lots
        life = self._end(value.client_order_id, value.ts_ns, whole=whole)
        never = value.state is OrderState.REJECTED or (value.state is None and not order.filled)
        return None if never else life

    def _fill(self, order: Resting, fill: OrderFilled) -> Life | None:
        if fill.trade_id in order.trades:
            return None
        order.trades.add(fill.trade_id)
        order.filled += fill.quantity_lots
        if not fill.is_maker:
            del self.resting[fill.client_order_id]
        elif order.filled >= order.lots:
            return self._end(fill.client_order_id, fill.ts_ns, whole=True)
        return None

    def _end(self, order_id: str, ts_ns: int, *, whole: bool) -> Life:
        order = self.resting.pop(order_id)
        return Life(order_id, order.side, order.ticks, order.lots, order.since_ns, max(ts_ns, order.since_ns), whole)

    def end_all(self, ts_ns: int) -> Iterator[Life]:
        """Yield the rows of what still rests."""
        for order_id in list(self.resting):
            yield self._end(order_id, ts_ns, whole=False)


def _follow(entries: Iterable[EntryLike], end_ns: int | None) -> Iterator[Life]:
    follower, last_ns = Follower(), 0
    for entry in entries:
        if end_ns is not None and entry.ts_ns > end_ns:
            break
        last_ns = max(last_ns, entry.ts_ns)
        if (life := follower.take(entry.body, entry.ts_ns)) is not None:
            yield life
    yield from follower.end_all(last_ns if end_ns is None else end_ns)


# --- the market --------------------------------------------------------------------------------------------------------


def _look(orders: pl.DataFrame, market: Market) -> Iterator[tuple[float, ...]]:
    """Yield what was known at the start of each spell, in their order; NaN where it was not.

    By the rules of labels: of the exchange's book at that time, and of the volatility by local time.
    """
    options = LabelOptions()
    kernel = kernel_options(options.rules(market.instrument))
    eyes = Simulator(kernel)
    silence_ns = round(options.silence_s * SECOND_NS)
    field = lk.new_field(
        1, eyes.exchange.head, eyes.exchange.settings, eyes.exchange.power, options.window_ns, silence_ns
    )
    wanted = orders.select("ts_ns", "side", "ticks", "lots").iter_rows()
    following = next(wanted, None)
    at = start_ns = 0

    def run(stretch: Slice, until_ns: int) -> None:
        nonlocal field, at
        while True:
            status, at = lk.advance(field, stretch.exchange, at, until_ns)
            if status == ex.DONE:
                break
            field = field._replace(book=bk.with_room(field.book))
        eyes.run(until_ns)

    for stretch in slices(market, kernel.feed):
        eyes.load(stretch)
        at = 0
        if not start_ns and len(stretch.exchange.ts):
            start_ns = int(stretch.exchange.ts[0])
        while following is not None and following[0] <= stretch.until_ns:
            if following[0] < start_ns or not start_ns:
                yield (math.nan,) * len(_KNOWN)
            else:
                run(stretch, following[0])
                yield _known(field, eyes, market.instrument, *following)
            following = next(wanted, None)
        run(stretch, stretch.until_ns)
    while following is not None:
        yield (math.nan,) * len(_KNOWN)
        following = next(wanted, None)


def _known(
    field: lk.Field, eyes: Simulator, instrument: Instrument, now_ns: int, side: int, ticks: int, lots: int
) -> tuple[float, ...]:
    if now_ns - field.head[lk.NOW] > field.silence_ns or not lk.trusted(field, now_ns):
        return (math.nan,) * len(_KNOWN)
    features = eyes.features(now_ns, instrument)
    sigma = math.nan if features.sigma_bps is None else features.sigma_bps
    ofi_z = math.nan if features.ofi_zscore is None else features.ofi_zscore
    field.head[lk.N_DECIDED] = 0  # the one slot is used again and again
    lk.decide(field, side, np.array([ticks]), np.array([lots]), now_ns, sigma, ofi_z)
    seen = field.floats[0]
    mid = seen[lk.MID2] / 2
    best = int(field.book.head[bk.BEST_BID if side > 0 else bk.BEST_ASK])
    at_touch = (ticks - best) * side >= 0
    queue_s = 0.0 if (ticks - best) * side > 0 else seen[lk.QUEUE_S]
    return (
        side * (mid - ticks) / mid * 1e4, float(at_touch), sigma, queue_s, seen[lk.IMB_OWN], ofi_z, PROXY * sigma,
    )  # fmt: skip
