"""Markets by name: what a configuration's `market`, the command line and a session in another process open.

``synthetic seed=7 minutes=30``, or the path of a recording, with ``start_ns=`` and ``end_ns=`` for a part of it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from grinder_kit.errors import ConfigError

if TYPE_CHECKING:
    from grinder_kit.market.recording import Recording
    from grinder_kit.market.source import Market
    from grinder_kit.market.synthetic import SyntheticMarket

_SYNTHETIC = re.compile(r"synthetic(?: +seed=(\d+))?(?: +minutes=([0-9.]+))?")
_WINDOW = re.compile(r"(.+?)(?: +start_ns=(\d+))?(?: +end_ns=(\d+))?")


def open_market(name: str) -> Market:
    """Open a market by its name.

    Raises
    ------
    ConfigError
        For a description of a synthetic market that cannot be read.
    DataError
        For a file that is no recording.
    FileNotFoundError
    """
    found = _WINDOW.fullmatch(name)
    if found is None or Path(name).exists():
        return _whole(name)
    whole, *window = found.groups()
    start_ns, end_ns = (None if text is None else int(text) for text in window)
    market = _whole(whole)
    return market if start_ns is None and end_ns is None else market.window(start_ns, end_ns)


def _whole(name: str) -> Recording | SyntheticMarket:
    if name.split(" ")[0] != "synthetic" or Path(name).exists():
        from grinder_kit.market.recording import Recording

        return Recording.open(name)
    from grinder_kit.market.synthetic import synthetic_market

    match = _SYNTHETIC.fullmatch(name)
    if match is None:
        raise ConfigError(f"market is '{name}'; write 'synthetic seed=7 minutes=30'")
    try:
        return synthetic_market(seed=int(match[1] or 7), minutes=float(match[2] or 30))
    except ValueError:
        raise ConfigError(f"market is '{name}'; write 'synthetic seed=7 minutes=30'") from None


def market_name(market: Market | str | Path) -> str:
    """Return the name by which another process opens this market.

    Raises
    ------
    ConfigError
        For a market that has none: a synthetic one with another instrument or physics, or one of the caller's own making.

    Examples
    --------
    >>> from grinder_kit.market.synthetic import synthetic_market
    >>> market_name(synthetic_market(seed=3, minutes=5))
    'synthetic seed=3 minutes=5'
    """
    if isinstance(market, str):
        return market
    if isinstance(market, Path):
        return str(market)
    from grinder_kit.market.recording import Recording
    from grinder_kit.market.synthetic import SyntheticMarket, synthetic_market

    if isinstance(market, SyntheticMarket):
        if replace(market, start_ns=None, end_ns=None) == synthetic_market(market.seed, market.minutes):
            return f"synthetic seed={market.seed} minutes={market.minutes:g}{_times(market)}"
        raise ConfigError(
            "only the standard synthetic market can be played by another process; record this one to a file"
        )
    if isinstance(market, Recording):
        return f"{market.path.resolve()}{_times(market)}"
    raise ConfigError(
        f"market is {type(market).__name__}; a session in a process of its own opens a recording by its path, or "
        "'synthetic seed=7 minutes=30'"
    )


def _times(market: Recording | SyntheticMarket) -> str:
    return "".join(
        f" {name}={at}" for name, at in (("start_ns", market.start_ns), ("end_ns", market.end_ns)) if at is not None
    )
