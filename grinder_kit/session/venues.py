"""The venue of a paper session by the name of its market: played in the runner, or served by a process of its own.

Nothing here holds credentials or could reach an exchange.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from grinder_kit.errors import ConfigError
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import ExchangePort, MarketView
from grinder_kit.fillprob.training import Origin
from grinder_kit.market.naming import open_market
from grinder_kit.model.config import Config
from grinder_kit.model.instrument import Instrument

if TYPE_CHECKING:
    from grinder_kit.venue.socket_port import SocketPort

_SERVED = re.compile(r"venue +(?:(?:127\.0\.0\.1|localhost):)?(\d{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """A venue that has been opened.

    `account` names whose orders these are; a venue that the runner plays alone has none that another could share. `origin` is the
    market that it plays. `ended` says
    whether the market has been played to its end, `feed_age_s` how long ago it was heard, where the venue can tell.
    """

    port: ExchangePort
    market: MarketView
    clock: Clock
    instrument: Instrument
    speed: float
    account: str | None
    origin: Origin
    queue_ahead: Callable[[str], Decimal | None] | None = None
    ended: Callable[[], bool] = lambda: False
    feed_age_s: Callable[[], float | None] = lambda: None


def served_port(market: str) -> int | None:
    """Return the port of a venue that another process serves, from ``venue 127.0.0.1:4711``; None for any other market.

    Raises
    ------
    ConfigError
        For what begins as such a name and is none.
    """
    if market.split(" ")[0] != "venue":
        return None
    found = _SERVED.fullmatch(market)
    if found is None:
        raise ConfigError(
            f"market is '{market}'; write 'venue 127.0.0.1:4711' with the port that `grinder venue` printed"
        )
    return int(found[1])


def check_market(market: str) -> None:
    """Refuse the name of a market that cannot be opened, before a process is started for it."""
    if served_port(market) is None:
        open_market(market)


def needs_features(config: Config) -> bool:
    """Whether the levels of a session are judged or valued by what the market looks like; a replay needs only the first."""
    return config.grid.min_fill_prob > 0 or config.fill_model is not None


@asynccontextmanager
async def open_venue(market: str, config: Config, *, speed: float, stream: bool) -> AsyncIterator[Venue]:
    """Open the venue that a market's name stands for.

    Parameters
    ----------
    market : str
    config : Config
        Its section execution says how orders fill.
    speed : float
        1 plays in real time; a served venue has its own.
    stream : bool
        Play the market as a stream of events into a PaperPort, as a live feed would come.
    """
    number = served_port(market)
    if number is not None:
        from grinder_kit.venue.socket_port import SocketPort

        port = await SocketPort.connect(number)
        try:
            yield _served(port, await port.clock(), number)
        finally:
            await port.close()
        return
    played = open_market(market)
    features = needs_features(config)
    if stream:
        from grinder_kit.venue.paper import open_played

        async with open_played(played, config.execution, speed=speed, with_features=features) as paper:
            yield Venue(
                port=paper,
                market=paper,
                clock=paper.clock,
                instrument=played.instrument,
                speed=speed,
                account=None,
                origin=Origin.of(played.instrument, played.describe()),
                queue_ahead=paper.queue_ahead,
                ended=lambda: paper.ended,
                feed_age_s=lambda: paper.feed_age_s,
            )
        return
    from grinder_kit.venue.simulated import SimulatedVenue

    async with SimulatedVenue(played, execution=config.execution, speed=speed, with_features=features) as venue:
        yield Venue(
            port=venue,
            market=venue,
            clock=venue.clock,
            instrument=played.instrument,
            speed=speed,
            account=None,
            origin=Origin.of(played.instrument, played.describe()),
            queue_ahead=venue.queue_ahead,
            ended=lambda: venue.ended,
        )


def _served(port: SocketPort, clock: Clock, number: int) -> Venue:
    return Venue(
        port=port,
        market=port,
        clock=clock,
        instrument=port.instrument,
        speed=port.speed,
        account=f"sim-{number}-{port.venue_id}",
        origin=Origin(venue=port.instrument.venue, symbol=port.instrument.symbol),
        feed_age_s=lambda: port.feed_age_s,
    )
