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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.fillprob import label_kernel as lk
from grinder_kit.fillprob.interval import LEVEL
from grinder_kit.fillprob.label_options import SECOND_NS, LabelOptions
from grinder_kit.fillprob.model import FillModel, Floats, Inputs
from grinder_kit.fillprob.observations import Observations, known
from grinder_kit.fillprob.scoring import HORIZONS_S, rcll
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
_SURE = 1 - 1e-9  # a model that says 1 would expect infinitely many fills
_TIMES_S = np.concatenate(([0.0], np.geomspace(1e-3, LONGEST_S, 200)))
_KNOWN = ("distance_bps", "at_touch", "sigma", "queue_s", "imb_own", "ofi_z", "natr_bps")


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
    def instrument(self) -> Instrument:
        """What was traded."""
        ...

    @property
    def end_ns(self) -> int:
        """When it ended."""
        ...

    @property
    def summary(self) -> Mapping[str, Any]:
        """Its numbers; `amended` is read."""
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
    >>> own = OwnFills.of_result(replay(market, grid.replace(**{"router.amend": False})))
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
        """Return the orders of a replay.

        Raises
        ------
        DataError
            Where orders were amended: a result does not say when, and where they stood before.
        """
        amended = result.summary["amended"]
        if amended:
            raise DataError(
                f"{amended:,} amends, and a result does not say when an order moved; replay with router.amend = false, or read a "
                "session's journal with OwnFills.of_journal"
            )
        return cls.of_frames(result.orders, result.fills, result.instrument, end_ns=result.end_ns)

    @classmethod
    def of_frames(cls, orders: pl.DataFrame, fills: pl.DataFrame, instrument: Instrument, *, end_ns: int) -> OwnFills:
        """Return the orders of two frames as a Result has them; none of them was amended.

        Parameters
        ----------
        orders, fills : DataFrame
            client_order_id, side, price, quantity, state, sent_ns, ended_ns (null while it rests) of each order; client_order_id,
            ts_ns, quantity, is_maker of each fill.
        instrument : Instrument
        end_ns : int
            Until when they were watched.
        """
        filled = fills.group_by("client_order_id").agg(
            pl.col("quantity").sum().alias("traded"), pl.col("ts_ns").max().alias("last_ns"), pl.col("is_maker").all()
        )
        rested = orders.filter(pl.col("state") != OrderState.REJECTED).join(filled, on="client_order_id", how="left")
        return cls._of(
            (row["client_order_id"], Side(row["side"]).sign, instrument.ticks(row["price"]), instrument.lots(row["quantity"]),
             row["sent_ns"], row["last_ns"] if whole else row["ended_ns"] or end_ns, whole)
            for row in rested.iter_rows(named=True)
            if row["is_maker"] is not False  # what took is no order at rest
            for whole in (row["traded"] is not None and row["traded"] >= row["quantity"],)
        )  # fmt: skip

    @classmethod
    def of_journal(cls, entries: Iterable[EntryLike]) -> OwnFills:
        """Return the orders of a journal's entries; an amend ends one row and starts another.

        Those that still rest at its last entry are censored there. What the session itself knows is in its frames only in part:
        its orders stand in its journal.
        """
        return cls._of(_follow(entries))

    @classmethod
    def _of(cls, lives: Iterable[tuple[str, int, int, int, int, int, bool]]) -> OwnFills:
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
        )

    def score(self, model: FillModel, market: Market, *, spell_s: float = SPELL_S) -> OwnScore:
        """Return how a model does on these orders; see :func:`score_own`.

        Raises
        ------
        ConfigError, DataError
            As :meth:`observe`.
        """
        return score_own(model, self.observe(market, spell_s=spell_s))


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
    low, high : float
        Where the fills should lie in 90 % of cases.
    rcll : float
        Right-censored log likelihood a spell; higher is better.
    bands : tuple
        (upper edge in bps, spells, fills seen, fills expected) by distance at the start; the edge 0 holds orders at the touch.
    """

    model: str
    spells: int
    left_out: int
    seen: int
    expected: float
    low: float
    high: float
    rcll: float
    bands: tuple[tuple[float, int, int, float], ...]

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
        lines = [
            f"{self.text} ({self.low:,.1f} to {self.high:,.1f}, 90 %)",
            f"  {self.model} on {self.spells:,} spells of own orders, {self.left_out:,} left out (nothing known of their market)",
        ]
        for edge, spells, seen, expected in self.bands:
            name = "at the touch" if edge == 0 else f"to {edge:g} bps" if edge < math.inf else "beyond"
            lines.append(f"  {name:<14}{spells:>7,} spells{seen:>7,} seen{expected:>9,.1f} expected")
        return "\n".join(lines)


def score_own(model: FillModel, seen: Observations) -> OwnScore:
    """Return how many of these orders filled, against how many should have.

    The range comes from how far blocks of 60 s are off, and is never narrower than that of independent orders: orders of one
    grid share its market. What lies outside it is too far off for chance.
    """
    expected = _expected(model, seen)
    _, group = np.unique(seen.block, return_inverse=True)
    off = np.bincount(group, seen.filled - expected)
    total = float(expected.sum())
    spread = math.sqrt(max(total, float(off @ off)))
    away = NormalDist().inv_cdf((1 + LEVEL) / 2) * spread
    cumulative = model.predict(seen.x, HORIZONS_S, extrapolate=True)
    place = np.searchsorted(BANDS_BPS[1:], seen.x.distance_bps) + 1
    place[seen.x.at_touch == 1] = 0
    bands = tuple(
        (edge, int((place == at).sum()), int(seen.filled[place == at].sum()), float(expected[place == at].sum()))
        for at, edge in enumerate(BANDS_BPS)
        if (place == at).any()
    )
    return OwnScore(
        model=model.name,
        spells=len(seen),
        left_out=seen.left_out,
        seen=int(seen.filled.sum()),
        expected=total,
        low=max(0.0, total - away),
        high=total + away,
        rcll=rcll(cumulative, seen.time_s, seen.filled),
        bands=bands,
    )


def _expected(model: FillModel, seen: Observations) -> Floats:
    """Return the fills expected of each spell: the cumulative hazard at its end."""
    hazard = -np.log1p(-np.minimum(model.predict(seen.x, _TIMES_S, extrapolate=True), _SURE))
    place = np.clip(np.searchsorted(_TIMES_S, seen.time_s), 1, len(_TIMES_S) - 1)
    rows = np.arange(len(seen))
    part = np.clip((seen.time_s - _TIMES_S[place - 1]) / (_TIMES_S[place] - _TIMES_S[place - 1]), 0.0, 1.0)
    return np.asarray(hazard[rows, place - 1] * (1 - part) + hazard[rows, place] * part)


# --- journals ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Resting:
    """An order as far as the journal has told: where it stands, since when, and what it has filled."""

    side: int
    ticks: int
    lots: int
    since_ns: int
    filled: int = 0


def _follow(entries: Iterable[EntryLike]) -> Iterator[tuple[str, int, int, int, int, int, bool]]:
    orders: dict[str, _Resting] = {}
    trades: set[str] = set()
    last_ns = 0

    def end(order_id: str, ts_ns: int, *, whole: bool) -> tuple[str, int, int, int, int, int, bool]:
        order = orders[order_id]
        return order_id, order.side, order.ticks, order.lots, order.since_ns, max(ts_ns, order.since_ns), whole

    for entry in entries:
        value, last_ns = entry.body, max(last_ns, entry.ts_ns)
        if isinstance(value, Place):
            if value.type is not OrderType.IOC:
                orders[value.client_order_id] = _Resting(
                    value.side.sign, value.price_ticks, value.quantity_lots, entry.ts_ns
                )
            continue
        if not isinstance(value, OrderUpdate | OrderFilled | Amended | LookedUp):
            continue
        order = orders.get(value.client_order_id)
        if order is None:
            continue
        if isinstance(value, OrderFilled):
            if value.trade_id in trades:
                continue
            trades.add(value.trade_id)
            order.filled += value.quantity_lots
            if not value.is_maker:
                del orders[value.client_order_id]
            elif order.filled >= order.lots:
                yield end(value.client_order_id, value.ts_ns, whole=True)
                del orders[value.client_order_id]
        elif isinstance(value, Amended):
            yield end(value.client_order_id, value.ts_ns, whole=order.filled >= value.quantity_lots)
            if order.filled >= value.quantity_lots:
                del orders[value.client_order_id]
            else:
                order.ticks, order.lots, order.since_ns = value.price_ticks, value.quantity_lots, value.ts_ns
        elif value.state is None or value.state.terminal:
            # An end may be told before the fills that it counts: only what was never accepted leaves no spell.
            whole = value.state is OrderState.FILLED or (value.filled_lots or 0) >= order.lots
            if value.state is not OrderState.REJECTED and not (value.state is None and not order.filled):
                yield end(value.client_order_id, value.ts_ns, whole=whole)
            del orders[value.client_order_id]
    for order_id in orders:
        yield end(order_id, last_ns, whole=False)


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
