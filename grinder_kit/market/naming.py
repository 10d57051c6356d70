"""Markets by name: what a configuration's `market`, the command line and a session in another process open.

``synthetic seed=7 minutes=30``, or the path of a recording, with ``start_ns=`` and ``end_ns=`` for a part of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from grinder_kit.errors import ConfigError

if TYPE_CHECKING:
    from grinder_kit.market.recording import Recording
    from grinder_kit.market.source import Market
    from grinder_kit.market.synthetic import SyntheticMarket
    from grinder_kit.market.window import Window

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
    whole, cut = split_name(name)
    market = _whole(whole)
    return market if cut.whole else market.window(cut.start_ns, cut.end_ns)


def split_name(name: str) -> tuple[str, Window]:
    """Return the name of the whole market, and which part of it is meant."""
    from grinder_kit.market.window import Window

    found = _WINDOW.fullmatch(name)
    if found is None or Path(name).exists():
        return name, Window()
    whole, start_ns, end_ns = found.groups()
    return whole, Window(*(None if text is None else int(text) for text in (start_ns, end_ns)))


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
    from grinder_kit.market.synthetic import SyntheticMarket

    if isinstance(market, SyntheticMarket):
        if market.opens_as is not None:
            return market.opens_as
        raise ConfigError(
            "only the standard synthetic market can be played by another process; record this one to a file"
        )
    if isinstance(market, Recording):
        return f"{market.path.resolve()}{market.cut.words}"
    raise ConfigError(
        f"market is {type(market).__name__}; a session in a process of its own opens a recording by its path, or "
        "'synthetic seed=7 minutes=30'"
    )
