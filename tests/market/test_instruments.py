"""Instruments from exchangeInfo, from the built-in table and from decimals."""

from __future__ import annotations

import json
import lzma
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.market import instruments
from grinder_kit.model.instrument import Contract

INFO = ("binance_spot_exchangeInfo_20240908.json.xz", "binance_usdm_exchangeInfo_20251224.json.xz")


@pytest.fixture(scope="module")
def infos(shared_data: Path) -> dict[str, dict[str, Any]]:
    """Return both exchangeInfo files."""
    return {name: instruments.read_exchange_info(shared_data / "meta" / name) for name in INFO}


def entry(**changes: Any) -> dict[str, Any]:
    """Return a small spot entry."""
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "0", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "900", "stepSize": "0.001"},
    ]
    return {"symbol": "FOOUSDT", "baseAsset": "FOO", "quoteAsset": "USDT", "filters": filters} | changes


def test_every_symbol_reads_or_is_refused_by_name(infos: dict[str, dict[str, Any]]) -> None:
    """1,908 symbols: each gives an instrument with all its filters accounted for; only OPENUSDT, whose tick is 0, does not."""
    refused, read = [], 0
    for info in infos.values():
        for symbol in info["symbols"]:
            try:
                instrument = instruments.from_exchange_info(symbol)
            except ConfigError as error:
                refused.append((symbol["symbol"], str(error)))
                continue
            read += 1
            names = {f["filterType"] for f in symbol["filters"]}
            assert set(instrument.unknown_filters) == names - instruments.ENFORCED
            by_name = {f["filterType"]: f for f in symbol["filters"]}
            assert instrument.tick == Decimal(by_name["PRICE_FILTER"]["tickSize"])
            assert instrument.lot == Decimal(by_name["LOT_SIZE"]["stepSize"])
            assert instrument.min_quantity == Decimal(by_name["LOT_SIZE"]["minQty"])
            assert instrument.band_up and instrument.band_down and instrument.max_orders != 0
            assert type(instrument).from_json(json.loads(json.dumps(instrument.to_json()))) == instrument
    assert read == 1_248 + 660 - 1
    assert [name for name, _ in refused] == ["OPENUSDT"]
    assert 'OPENUSDT: tickSize of PRICE_FILTER is "0' in refused[0][1] and "must be above zero" in refused[0][1]


def test_spot_filters_are_mapped(infos: dict[str, dict[str, Any]]) -> None:
    """Notional, the narrower side's band, order count; the rest is kept by name."""
    i = instruments.find_in_exchange_info(infos[INFO[0]], "BTCUSDT")
    assert (i.venue, i.contract, i.tick, i.lot) == ("binance", Contract.SPOT, Decimal("0.01"), Decimal("0.00001"))
    assert (i.min_notional, i.max_quantity, i.min_price, i.max_price) == (5, 9000, Decimal("0.01"), 1_000_000)
    assert (i.band_up, i.band_down, i.max_orders) == (5, Decimal("0.2"), 200)
    assert i.unknown_filters == ("ICEBERG_PARTS", "MARKET_LOT_SIZE", "MAX_NUM_ALGO_ORDERS", "TRAILING_DELTA")


def test_usdm_filters_are_mapped(infos: dict[str, dict[str, Any]]) -> None:
    """Linear, MIN_NOTIONAL's own key, PERCENT_PRICE."""
    i = instruments.find_in_exchange_info(infos[INFO[1]], "BTCUSDT")
    assert (i.venue, i.contract, i.tick, i.lot) == ("binanceusdm", Contract.LINEAR, Decimal("0.1"), Decimal("0.001"))
    assert (i.min_notional, i.band_up, i.band_down, i.max_orders) == (100, Decimal("1.05"), Decimal("0.95"), 10_000)
    assert i.unknown_filters == ("MARKET_LOT_SIZE", "POSITION_RISK_CONTROL")


def test_coinm_entries_are_inverse() -> None:
    """A contract size makes a COIN-M contract, which has no minimum notional."""
    assets = {"baseAsset": "BTC", "quoteAsset": "USD"}
    i = instruments.from_exchange_info(
        entry(symbol="BTCUSD_PERP", contractType="PERPETUAL", contractSize=100, **assets)
    )
    assert (i.venue, i.contract, i.contract_size, i.min_notional) == ("binancecoinm", Contract.INVERSE, 100, 0)


def test_a_limit_of_zero_is_none_and_an_unknown_filter_is_kept() -> None:
    """The venue writes 0 for no limit; a filter of tomorrow is named, not dropped."""
    odd = entry()
    odd["filters"] = [*odd["filters"], {"filterType": "MOON_PHASE", "phase": "full"}]
    i = instruments.from_exchange_info(odd)
    assert i.max_price is None and i.max_quantity == 900
    assert i.unknown_filters == ("MOON_PHASE",)


@pytest.mark.parametrize("key", ["tickSize", "stepSize"])
@pytest.mark.parametrize("zero", ["0", "0.00000000"])
def test_a_step_of_zero_is_refused_by_name(key: str, zero: str) -> None:
    """The message names the symbol and the filter."""
    bad = entry()
    for one in bad["filters"]:
        one.update({k: zero for k in one if k == key})
    with pytest.raises(ConfigError, match=f"FOOUSDT: {key} of .* must be above zero"):
        instruments.from_exchange_info(bad)


def test_an_incomplete_entry_is_refused_by_name() -> None:
    """A missing filter is named."""
    bad = entry()
    bad["filters"] = bad["filters"][:1]
    with pytest.raises(ConfigError, match="FOOUSDT: exchangeInfo has no LOT_SIZE"):
        instruments.from_exchange_info(bad)


def test_the_built_in_table_agrees_with_the_venue(infos: dict[str, dict[str, Any]]) -> None:
    """Tick, lot and minimum notional of the table are those of exchangeInfo."""
    for name, venue in zip(INFO, ("binance", "binanceusdm"), strict=True):
        for symbol in ("BTCUSDT", "ETHUSDT"):
            table = instruments.built_in(symbol, venue)
            assert table is not None
            official = instruments.find_in_exchange_info(infos[name], symbol)
            for field in ("tick", "lot", "min_quantity", "min_notional", "contract", "base", "quote"):
                assert getattr(table, field) == getattr(official, field), (venue, symbol, field)
    perpetual = instruments.built_in("BTCUSD_PERP", "binancecoinm")
    assert perpetual is not None and (perpetual.contract_size, perpetual.settle) == (100, "BTC")


def test_instrument_is_a_name_or_a_file(tmp_path: Path) -> None:
    """What --instrument takes: a built-in name, with or without its venue, an exchangeInfo file, one entry of it."""
    found = instruments.find_instrument("BTCUSDT", symbol="BTCUSDT", venue="binanceusdm")
    assert found == instruments.find_instrument("binanceusdm:BTCUSDT", symbol="BTCUSDT", venue="binanceusdm")
    for name, content in {"all.json": {"symbols": [entry()]}, "one.json": entry()}.items():
        (tmp_path / name).write_text(json.dumps(content))
        assert instruments.find_instrument(tmp_path / name, symbol="FOOUSDT", venue="binance").symbol == "FOOUSDT"
    with lzma.open(tmp_path / "all.json.xz", "wt") as file:
        json.dump({"symbols": [entry()]}, file)
    assert instruments.find_instrument(str(tmp_path / "all.json.xz"), symbol="FOOUSDT", venue="binance").base == "FOO"
    with pytest.raises(ConfigError, match="its FOOUSDT is of binance, wanted is binanceusdm"):
        instruments.find_instrument(tmp_path / "all.json", symbol="FOOUSDT", venue="binanceusdm")
    with pytest.raises(DataError, match="no such exchangeInfo file; write a built-in name"):
        instruments.find_instrument("NOPE", symbol="FOOUSDT", venue="binance")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="not readable as JSON"):
        instruments.find_instrument(tmp_path / "bad.json", symbol="FOOUSDT", venue="binance")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(DataError, match="JSON without `symbols`"):
        instruments.find_instrument(tmp_path / "other.json", symbol="FOOUSDT", venue="binance")


@pytest.mark.parametrize(
    ("symbol", "venue", "base", "quote", "contract", "size"),
    [
        ("SOLUSDC", "binance", "SOL", "USDC", Contract.SPOT, 1),
        ("ETHBTC", "binance", "ETH", "BTC", Contract.SPOT, 1),
        ("BTCUSDT_240927", "binanceusdm", "BTC", "USDT", Contract.LINEAR, 1),
        ("BTCUSD_240927", "binancecoinm", "BTC", "USD", Contract.INVERSE, 100),
        ("LINKUSD_PERP", "binancecoinm", "LINK", "USD", Contract.INVERSE, 10),
    ],
)
def test_an_inferred_instrument_knows_its_assets(
    symbol: str, venue: str, base: str, quote: str, contract: Contract, size: int
) -> None:
    """Base and quote come from the symbol, the contract from the venue."""
    i = instruments.inferred(symbol, venue, tick=Decimal("0.1"), lot=Decimal(1))
    assert (i.base, i.quote, i.contract, i.contract_size) == (base, quote, contract, size)
