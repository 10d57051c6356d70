"""The synthetic market: reproducible, a real recording's shape, and roughly a market's behaviour."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from grinder_kit.errors import ConfigError
from grinder_kit.market.schema import COLUMNS
from grinder_kit.market.source import Market
from grinder_kit.market.stylised import stylised_facts
from grinder_kit.market.synthetic import SYNTHETIC_INSTRUMENT, synthetic_market
from grinder_kit.model.instrument import Instrument

PINNED = (5824, 83749690881467)  # rows and a checksum of 6 s of seed 7


def whole(seed: int = 7, minutes: float = 2, rows: int = 131_072) -> pl.DataFrame:
    """Return all rows of a market."""
    return pl.concat(synthetic_market(seed, minutes).batches(rows))


@pytest.fixture(scope="module")
def two_minutes() -> pl.DataFrame:
    """Return two minutes of seed 7."""
    return whole()


def messages(rows: pl.DataFrame) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """Return (kind, [(side, price, quantity)]) for each message, in order."""
    out: list[tuple[str, list[tuple[str, int, int]]]] = []
    last = None
    for seq, kind, side, price, quantity in rows.select("seq", "kind", "side", "price", "quantity").iter_rows():
        if seq != last:
            out.append((kind, []))
            last = seq
        out[-1][1].append((side, price, quantity))
    return out


def test_it_is_a_market() -> None:
    """It has what replay reads from any market, and describes itself in JSON types."""
    market = synthetic_market(3, 1)
    assert isinstance(market, Market)
    assert market.describe()["seed"] == 3
    assert market.funding().is_empty()
    assert (market.clock_offset_ns, market.disorder_ns) == (0, (0, 0))


def test_rows_have_the_columns_of_a_recording(two_minutes: pl.DataFrame) -> None:
    """Columns and types are those that importers write."""
    assert dict(two_minutes.schema) == COLUMNS
    assert two_minutes.null_count().sum_horizontal().item() == 0


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(two_minutes: pl.DataFrame) -> None:
    """A second reading, of the same or a new market, repeats every row."""
    market = synthetic_market(7, 2)
    assert pl.concat(market.batches()).equals(two_minutes)
    assert pl.concat(market.batches()).equals(two_minutes)
    assert not whole(seed=8).equals(two_minutes)


def test_rows_are_pinned() -> None:
    """The rows of seed 7 are those of the day they were tuned; a change of the model or of a version shows here."""
    rows = whole(7, 0.1)
    digest = sum(
        (index + 1) * (row[0] % 1_000_003 + row[1] * 7 + row[2] * 31)
        for index, row in enumerate(rows.select("exchange_ns", "price", "quantity").iter_rows())
    )
    assert (len(rows), digest) == PINNED


@pytest.mark.parametrize("size", [1_000, 4_099, 10_000_000])
def test_the_size_of_batches_changes_nothing(two_minutes: pl.DataFrame, size: int) -> None:
    """However it is cut, the stream is the same; batches are full but for the last."""
    batches = list(synthetic_market(7, 2).batches(size))
    assert pl.concat(batches).equals(two_minutes)
    assert all(len(batch) == size for batch in batches[:-1])
    assert 0 < len(batches[-1]) <= size


def test_a_longer_market_begins_like_a_shorter_one(two_minutes: pl.DataFrame) -> None:
    """Minutes only say where it stops."""
    short = whole(minutes=1)
    # The last message of the shorter one may stop early: it ends at its own last moment.
    assert two_minutes.head(len(short) - 20).equals(short.head(len(short) - 20))
    assert (short["exchange_ns"].max() - short["exchange_ns"].min()) / 60e9 == pytest.approx(1, abs=0.01)


def test_clocks_and_numbers_only_rise(two_minutes: pl.DataFrame) -> None:
    """Seq, both clocks, update ids and trade ids never fall; exchange time is whole ms; local time comes after it."""
    for name in ("seq", "exchange_ns", "local_ns"):
        assert two_minutes[name].is_sorted()
    assert (two_minutes["exchange_ns"] % 1_000_000 == 0).all()
    assert (two_minutes["local_ns"] > two_minutes["exchange_ns"]).all()
    trades = two_minutes.filter(pl.col("kind") == "trade")
    assert trades["id"].to_list() == list(range(1, len(trades) + 1))
    assert two_minutes.filter(pl.col("kind").is_in(["depth", "bbo"]))["id"].is_sorted()
    shared = two_minutes.group_by("seq").agg(pl.col("kind", "local_ns", "exchange_ns", "id").n_unique())
    assert shared.drop("seq").max().row(0) == (1, 1, 1, 1)


def test_it_starts_with_a_snapshot_of_100_bps_a_side(two_minutes: pl.DataFrame) -> None:
    """One snapshot message, bids best first and then asks best first, about 100 bps deep."""
    (kind, levels) = messages(two_minutes.head(5_000))[0]
    assert kind == "snapshot"
    bids = [price for side, price, _ in levels if side == "buy"]
    asks = [price for side, price, _ in levels if side == "sell"]
    assert [side for side, *_ in levels] == ["buy"] * len(bids) + ["sell"] * len(asks)
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert (bids[0] - bids[-1]) / bids[0] * 1e4 == pytest.approx(100, abs=3)


def test_the_book_is_never_crossed_and_bbo_and_trades_agree_with_it(two_minutes: pl.DataFrame) -> None:
    """Depth applied message by message: bid below ask, bbo its best, trades at its best and gone from it afterwards."""
    book: dict[str, dict[int, int]] = {"buy": {}, "sell": {}}
    traded: Counter[tuple[str, int]] = Counter()
    pending: list[tuple[str, int, int]] = []
    checked = 0
    begin = two_minutes["exchange_ns"][0]
    for kind, levels in messages(two_minutes.filter(pl.col("exchange_ns") < begin + 45_000_000_000)):
        assert all(quantity >= 0 for _, _, quantity in levels)
        if kind == "trade":
            ((taker, price, quantity),) = levels
            assert quantity > 0
            passive = "sell" if taker == "buy" else "buy"
            here = [p for p in book[passive] if traded[passive, p] < book[passive][p]]
            assert price == (min(here) if passive == "sell" else max(here))
            traded[passive, price] += quantity
            assert traded[passive, price] <= book[passive][price]
        elif kind == "bbo":
            pending = levels
        else:
            expected = {key: book[key[0]][key[1]] - lots for key, lots in traded.items()}
            for side, price, quantity in levels:
                if traded:
                    assert expected.pop((side, price)) == quantity
                    checked += 1
                if quantity:
                    book[side][price] = quantity
                else:
                    assert book[side].pop(price, None) is not None or kind == "depth"
            assert not expected
            traded.clear()
            bid, ask = max(book["buy"]), min(book["sell"])
            assert bid < ask
            if pending:
                assert pending == [("buy", bid, book["buy"][bid]), ("sell", ask, book["sell"][ask])]
                pending = []
    assert checked > 300
    assert min(book["buy"]) > max(book["buy"]) - 7_000


def test_an_order_larger_than_the_best_level_is_one_trade_a_level(two_minutes: pl.DataFrame) -> None:
    """Trades of one order at one time walk away from the market, one row for each level."""
    trades = two_minutes.filter(pl.col("kind") == "trade")
    walks = trades.filter((pl.col("exchange_ns").diff() == 0) & (pl.col("price").diff() != 0))
    assert len(walks) > 50


def test_the_instrument_can_be_another() -> None:
    """Another instrument renames ticks and lots; the rows stay the same."""
    other = Instrument.from_json({**SYNTHETIC_INSTRUMENT.to_json(), "symbol": "OTHER", "tick": "0.5"})
    market = synthetic_market(7, 0.1, instrument=other)
    assert market.instrument.symbol == "OTHER"
    assert pl.concat(market.batches()).equals(whole(7, 0.1))


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), 1e9])
def test_a_length_that_cannot_be_is_refused(minutes: float) -> None:
    """The message says which lengths there are."""
    with pytest.raises(ConfigError, match="above 0 and at most"):
        synthetic_market(7, minutes)


def test_it_behaves_like_a_market() -> None:
    """The facts that carry a grid's result, loosely: volatility, spread, diffusion, flow, and touch is not fill."""
    facts = {fact.name: fact.value for fact in stylised_facts(synthetic_market(7, 12))}
    assert 0.9 < facts["sigma of 1 s returns (bps)"] < 1.8
    assert 0.985 < facts["time at a spread of one tick"] < 0.998
    assert 0.83 < facts["100 ms returns: zeros"] < 0.92
    assert 0.7 < facts["variance ratio 10 s / 1 s"] < 1.5
    assert 9 < facts["parent orders per s"] < 18
    assert 0.15 < facts["trade-sign ACF(1)"] < 0.6
    assert facts["corr(imbalance, sign of next 1 s return)"] > 0.2
    assert facts["corr(OFI, 1 s return)"] > 0.5
    assert facts["touch rule / queue-aware fills, touch, 1 s"] > 1.4
