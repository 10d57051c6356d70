"""Where instruments come from: a venue's exchangeInfo, a small built-in table, or the decimals of a recording."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from grinder_kit.errors import ConfigError, DataError
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.number import exact

#: Filters that Instrument enforces. Every other one is kept by name in `unknown_filters`.
ENFORCED = frozenset(
    {"PRICE_FILTER", "LOT_SIZE", "NOTIONAL", "MIN_NOTIONAL", "PERCENT_PRICE", "PERCENT_PRICE_BY_SIDE", "MAX_NUM_ORDERS"}
)
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "DAI", "USD", "EUR", "TRY", "BRL", "JPY", "BTC", "ETH", "BNB")


def from_exchange_info(entry: dict[str, Any], venue: str | None = None) -> Instrument:
    """Return the instrument of one entry of exchangeInfo's `symbols`.

    Parameters
    ----------
    entry : dict
        As Binance sends it; spot, USD-M and COIN-M are told apart by `contractType` and `contractSize`.
    venue : str, optional
        Another venue's name than `binance`, `binanceusdm` or `binancecoinm`.

    Raises
    ------
    ConfigError
        Naming the symbol: a tickSize or stepSize of 0, a filter that is missing.
    """
    symbol = str(entry.get("symbol", "?"))
    filters = {str(f.get("filterType")): f for f in entry.get("filters", ())}
    try:
        price, lot = filters["PRICE_FILTER"], filters["LOT_SIZE"]
        for where, key, value in (
            ("PRICE_FILTER", "tickSize", price["tickSize"]),
            ("LOT_SIZE", "stepSize", lot["stepSize"]),
        ):
            if exact(value, f"{symbol}: {key}") <= 0:
                raise ConfigError(
                    f'{symbol}: {key} of {where} is "{value}"; it must be above zero (a venue that says 0 has not opened this symbol yet)'
                )
        contract, default_venue = _contract(entry)
        up, down = _band(filters, symbol)
        maximum = filters.get("MAX_NUM_ORDERS", {})
        return Instrument(
            symbol=symbol,
            venue=venue or default_venue,
            base=str(entry["baseAsset"]),
            quote=str(entry["quoteAsset"]),
            contract=contract,
            contract_size=exact(str(entry.get("contractSize", "1")), f"{symbol}: contractSize"),
            tick=exact(price["tickSize"], f"{symbol}: tickSize"),
            lot=exact(lot["stepSize"], f"{symbol}: stepSize"),
            min_quantity=exact(lot["minQty"], f"{symbol}: minQty"),
            max_quantity=_limit(lot.get("maxQty"), f"{symbol}: maxQty"),
            min_notional=_minimum_notional(filters, symbol),
            min_price=_limit(price.get("minPrice"), f"{symbol}: minPrice"),
            max_price=_limit(price.get("maxPrice"), f"{symbol}: maxPrice"),
            band_up=up,
            band_down=down,
            max_orders=_count(maximum.get("maxNumOrders", maximum.get("limit"))),
            unknown_filters=tuple(sorted(name for name in filters if name not in ENFORCED)),
        )
    except KeyError as missing:
        raise ConfigError(
            f"{symbol}: exchangeInfo has no {missing.args[0]}; write a whole entry of exchangeInfo"
        ) from None


def _contract(entry: dict[str, Any]) -> tuple[Contract, str]:
    if "contractType" not in entry and "marginAsset" not in entry:
        return Contract.SPOT, "binance"
    if "contractSize" in entry:
        return Contract.INVERSE, "binancecoinm"
    return Contract.LINEAR, "binanceusdm"


def _limit(value: Any, name: str) -> Decimal | None:
    """Return a limit; the venue writes 0 for none."""
    if value is None:
        return None
    return exact(value, name) or None


def _count(value: Any) -> int | None:
    """Return an order count; 0 is no limit, as six USD-M symbols in trading have it."""
    return None if value is None else int(value) or None


def _minimum_notional(filters: dict[str, Any], symbol: str) -> Decimal:
    """Return the smallest order value: spot calls it minNotional, USD-M notional, COIN-M has none."""
    for name in ("NOTIONAL", "MIN_NOTIONAL"):
        for key in ("minNotional", "notional"):
            if key in filters.get(name, {}):
                return exact(filters[name][key], f"{symbol}: {name}")
    return Decimal(0)


def _band(filters: dict[str, Any], symbol: str) -> tuple[Decimal | None, Decimal | None]:
    """Return the price band; where the sides have bands of their own, the narrower of both."""
    if (one := filters.get("PERCENT_PRICE")) is not None:
        return exact(one["multiplierUp"], f"{symbol}: multiplierUp"), exact(
            one["multiplierDown"], f"{symbol}: multiplierDown"
        )
    if (both := filters.get("PERCENT_PRICE_BY_SIDE")) is not None:
        ups = [exact(both[key], f"{symbol}: {key}") for key in ("bidMultiplierUp", "askMultiplierUp")]
        downs = [exact(both[key], f"{symbol}: {key}") for key in ("bidMultiplierDown", "askMultiplierDown")]
        return min(ups), max(downs)
    return None, None


def read_exchange_info(path: Path) -> dict[str, Any]:
    """Return an exchangeInfo file (plain, .gz or .xz).

    Raises
    ------
    DataError
        For a file that is missing or holds no `symbols`.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"{path}: no such exchangeInfo file; write a built-in name ({', '.join(sorted(BUILT_IN_NAMES))}) or a file"
        )
    openers: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
    try:
        with openers.get(path.suffix, open)(path, "rb") as file:
            info = json.load(file)
    except (ValueError, OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(
            f"{path}: not readable as JSON ({error}); save the venue's answer to GET exchangeInfo"
        ) from error
    if isinstance(info, dict) and isinstance(info.get("symbols"), list):
        return info
    if isinstance(info, dict) and "filters" in info:  # one symbol's entry alone
        return {"symbols": [info]}
    raise DataError(f"{path}: JSON without `symbols`; save the venue's answer to GET exchangeInfo")


def find_in_exchange_info(
    info: dict[str, Any], symbol: str, venue: str | None = None, *, name: str = "exchangeInfo"
) -> Instrument:
    """Return one symbol's instrument, or say that it is not there."""
    for entry in info["symbols"]:
        if entry.get("symbol") == symbol:
            instrument = from_exchange_info(entry)
            if venue is not None and instrument.venue != venue:
                raise ConfigError(
                    f"{name}: its {symbol} is of {instrument.venue}, wanted is {venue}; use that venue's exchangeInfo"
                )
            return instrument
    raise ConfigError(
        f"{name}: no symbol {symbol} among its {len(info['symbols']):,}; write the venue's own symbol, such as BTCUSDT"
    )


def find_instrument(name: str | Path, *, symbol: str, venue: str) -> Instrument:
    """Return what ``--instrument NAME|FILE`` means for a recording of `symbol` at `venue`."""
    if isinstance(name, str):
        wanted = name.rpartition(":")
        if (found := built_in(wanted[2], wanted[0] or venue)) is not None:
            return found
    path = Path(name)
    return find_in_exchange_info(read_exchange_info(path), symbol, venue, name=path.name)


def _row(
    venue: str,
    symbol: str,
    base: str,
    quote: str,
    tick: str,
    lot: str,
    minimum: str,
    contract: Contract,
    size: str = "1",
) -> Instrument:
    return Instrument(
        venue=venue, symbol=symbol, base=base, quote=quote, tick=Decimal(tick), lot=Decimal(lot), min_quantity=Decimal(lot),
        min_notional=Decimal(minimum), contract=contract, contract_size=Decimal(size), max_orders=200,
    )  # fmt: skip


#: Steps as of 2024-08; a venue may change them.
_BUILT_IN = {
    (i.venue, i.symbol): i
    for i in (
        _row("binance", "BTCUSDT", "BTC", "USDT", ".01", ".00001", "5", Contract.SPOT),
        _row("binance", "ETHUSDT", "ETH", "USDT", ".01", ".0001", "5", Contract.SPOT),
        _row("binanceusdm", "BTCUSDT", "BTC", "USDT", ".1", ".001", "100", Contract.LINEAR),
        _row("binanceusdm", "ETHUSDT", "ETH", "USDT", ".01", ".001", "20", Contract.LINEAR),
        _row("binancecoinm", "BTCUSD_PERP", "BTC", "USD", ".1", "1", "0", Contract.INVERSE, "100"),
    )
}
BUILT_IN_NAMES = tuple(f"{venue}:{symbol}" for venue, symbol in _BUILT_IN)


def built_in(symbol: str, venue: str) -> Instrument | None:
    """Return an instrument of the built-in table, or None."""
    return _BUILT_IN.get((venue, symbol))


def inferred(symbol: str, venue: str, *, tick: Decimal, lot: Decimal, base: str | None = None) -> Instrument:
    """Return an instrument that is known only by the decimals of its prices and quantities.

    Minimum quantity is one lot and there is no minimum notional, since no recording shows them. COIN-M contracts are worth
    100 USD for BTC and 10 USD otherwise.
    """
    inverse = venue == "binancecoinm"
    quote = "USD" if inverse else _quote(symbol.split("_")[0], _QUOTES)
    base = base or symbol.split("_")[0].removesuffix(quote)
    contract = Contract.INVERSE if inverse else Contract.SPOT if venue == "binance" else Contract.LINEAR
    size = Decimal(1) if not inverse else Decimal(100) if base == "BTC" else Decimal(10)
    return Instrument(
        symbol=symbol,
        venue=venue,
        base=base,
        quote=quote,
        tick=tick,
        lot=lot,
        min_quantity=lot,
        contract=contract,
        contract_size=size,
    )


def _quote(pair: str, known: Iterable[str]) -> str:
    return next((quote for quote in known if pair.endswith(quote) and pair != quote), "USDT")
