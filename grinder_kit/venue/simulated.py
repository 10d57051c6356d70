"""SimulatedVenue: a market played behind the port, with the same latency, queue and fees as a replay of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from grinder_kit.errors import DataError
from grinder_kit.execution.clock import LoopClock
from grinder_kit.execution.port import Capabilities
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.feed import Slice, slices
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.event import Tick
from grinder_kit.venue.exchange_side import ExchangeSide, Told, Watch
from grinder_kit.venue.simulated_port import LOOK_NS, SimulatedPort, look

if TYPE_CHECKING:
    from grinder_kit.market.source import Market


class SimulatedVenue(SimulatedPort):
    """A venue that plays a market and fills orders with the kernel.

    Parameters
    ----------
    market : Market
        A recording, or a synthetic market.
    execution : ExecutionConfig, optional
        Queue, latency and fees.
    capabilities : Capabilities, optional
        By default those of Binance for the instrument's kind of market.
    balances : mapping of str to Decimal, optional
        Assets at the start; by default a million of the quote (or settlement) asset and, on spot, a thousand of the base.
    speed : float
        1 plays in real time, 60 a minute a second. Under `run_stepped` time does not wait at all.
    with_features : bool
        Whether ticks carry features.
    enforce_weight : bool
        Whether requests beyond the weight limit are refused, as a real venue does.
    watch : callable, optional
        Told of every change at the exchange as it happens.

    Examples
    --------
    >>> async with SimulatedVenue(market) as venue:  # doctest: +SKIP
    ...     order = await venue.place_order(request)
    """

    def __init__(
        self,
        market: Market,
        *,
        execution: ExecutionConfig | None = None,
        capabilities: Capabilities | None = None,
        balances: Mapping[str, Decimal] | None = None,
        speed: float = 1.0,
        with_features: bool = False,
        enforce_weight: bool = False,
        watch: Watch | None = None,
    ) -> None:
        side = ExchangeSide(
            market.instrument, execution=execution, capabilities=capabilities, balances=balances, watch=watch
        )
        self.market = market
        self.speed = speed
        self._played = _Played(market, side, speed)
        super().__init__(side, self._played, with_features=with_features, enforce_weight=enforce_weight)

    @property
    def start_ns(self) -> int:
        """Time of the market's first event."""
        return self._played.start_ns

    @property
    def ended(self) -> bool:
        """Whether the market has been played to its end; orders can still be placed and cancelled, and nothing trades."""
        return self._played.ended


class _Played:
    """A market that is read as the clock goes on (a Source): the exchange is always known up to now."""

    def __init__(self, market: Market, side: ExchangeSide, speed: float) -> None:
        self.speed = speed
        self._market, self._side = market, side

    def begin(self, wake: Callable[[], None]) -> LoopClock:
        side = self._side
        side.begin(self._market.funding())
        self._stretches = slices(self._market, side.options.feed)
        self._load_next()
        while len(self._stretch.exchange.ts) == 0:
            if self._stretch.final:
                raise DataError("the market has no events; import it again, or choose another window")
            side.run(self._stretch.until_ns)
            self._load_next()
        self.start_ns = self.known_ns = int(self._stretch.exchange.ts[0])
        return LoopClock(self.start_ns, speed=self.speed)

    async def end(self) -> None:
        pass

    def _load_next(self) -> None:
        self._stretch: Slice = next(self._stretches)
        self._side.simulator.load(self._stretch)

    @property
    def ended(self) -> bool:
        return self._stretch.final and not self._side.simulator.more

    def play(self, now_ns: int) -> Iterator[Told]:
        while True:
            limit = now_ns if self._stretch.final else min(now_ns, self._stretch.until_ns)
            reached, more = self._side.run(limit)
            yield from self._side.due(reached)
            if more or reached < limit:
                continue
            if reached >= now_ns:
                break
            self._load_next()
        self.known_ns = now_ns

    def wake_ns(self, now_ns: int, waiting_ns: int | None) -> int:
        """Return when the next answer or funding is due, the next command arrives, or a resting order may have filled."""
        side, simulator = self._side, self._side.simulator
        times = (side.next_due_ns, simulator.next_arrival_ns, simulator.next_funding_ns)
        due = [now_ns + LOOK_NS, *(at for at in times if at is not None)]
        if simulator.exchange.head[ex.RESTING]:
            # A fill is found before it is due, as long as nobody looks away for longer than an answer takes.
            due.append(now_ns + max(1_000_000, min(side.options.response_ns)))
        return min(due)

    def tick(self, now_ns: int, *, with_features: bool) -> Tick:
        return look(self._side, now_ns, with_features=with_features)
