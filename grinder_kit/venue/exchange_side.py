"""The exchange's side of a simulated venue: its orders, what it refuses, and the account, folded from the kernel's responses.

What the exchange knows is known here the moment it happens; what of it is told, and when, is a matter of simulated_port.py.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from grinder_kit.decision.constraints import Constraints
from grinder_kit.decision.reason import Reason
from grinder_kit.errors import ConfigError, OrderNotFoundError, OrderRejectedError, VenueError
from grinder_kit.execution.fees import Fees, FundingTable
from grinder_kit.execution.fill_tracker import FillTracker
from grinder_kit.execution.port import AccountEvent, Balance, Capabilities
from grinder_kit.kernel import exchange as ex
from grinder_kit.kernel.codes import KIND_OF, STATE_AFTER
from grinder_kit.kernel.options import kernel_options
from grinder_kit.kernel.simulator import Simulator
from grinder_kit.model.config import ExecutionConfig
from grinder_kit.model.event import FundingPaid
from grinder_kit.model.fill import Fill
from grinder_kit.model.instrument import Contract, Instrument
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderState, OrderType, Side
from grinder_kit.model.section import did_you_mean

if TYPE_CHECKING:
    import polars as pl

#: What an observer is told of the exchange's side: OPENED, AMENDED, FILLED or ENDED, the order as it now is, and when (ns).
Watch = Callable[[str, Order, int], None]
ENDED_KEPT = 10_000
RESTING = (OrderState.OPEN, OrderState.PARTIALLY_FILLED)


@dataclass(frozen=True, slots=True)
class Told:
    """A response as it will be told: when, the event, and the answer to whoever waits for one about order `number`."""

    due_ns: int
    event: AccountEvent | None
    answer: Order | VenueError | None = None
    number: int = 0
    response: tuple[int, ...] | None = None  # funding without a mark: paid at the mid that is known when it is told


class ExchangeSide:
    """Orders and account as the exchange has them.

    Parameters
    ----------
    instrument : Instrument
    execution : ExecutionConfig, optional
        Queue, latency and fees.
    capabilities : Capabilities, optional
        By default those of Binance for the instrument's kind of market.
    balances : mapping of str to Decimal, optional
        Assets at the start; by default a million of the quote (or settlement) asset and, on spot, a thousand of the base.
    watch : callable, optional
        Told of every change as it happens.

    Attributes
    ----------
    simulator : Simulator
        The kernel; made by :meth:`begin`.
    eyes : Simulator
        The kernel whose local book is what our side sees: the same one, or another where the two sides of the market come apart.
    orders : dict of int to Order
        By the kernel's number; those that ended long ago are forgotten.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        execution: ExecutionConfig | None = None,
        capabilities: Capabilities | None = None,
        balances: Mapping[str, Decimal] | None = None,
        watch: Watch | None = None,
    ) -> None:
        execution = execution or ExecutionConfig()
        self.instrument = instrument
        self.capabilities = capabilities or Capabilities.of(instrument)
        self.watch = watch
        self.options = kernel_options(execution, amend=self.capabilities.amend)
        self.orders: dict[int, Order] = {}
        self.tracker = FillTracker(instrument)
        self._constraints = Constraints.of(instrument)
        self._fees = Fees(instrument, execution)
        spot = {instrument.base: Decimal(1000)} if instrument.contract is Contract.SPOT else {}
        self._start = dict({instrument.settle: Decimal(10**6), **spot} if balances is None else balances)
        self._numbers: dict[str, int] = {}  # client order id to the number that last had it
        self._live: dict[int, None] = {}  # numbers of the orders that have not ended, in the order of their placing
        self._ended: deque[int] = deque()
        self._amends: Counter[int] = Counter()
        self._told: deque[Told] = deque()  # made by the exchange, not told yet
        self._last_number = 0
        self._delivered = self._folded = 0  # responses that the kernel has delivered, and that were folded

    def begin(self, funding: pl.DataFrame, eyes: Simulator | None = None) -> None:
        """Make the kernel, with the funding that will be paid."""
        self._funding = FundingTable(self.instrument, funding)
        self.simulator = Simulator(self.options, self._funding.times)
        self.eyes = eyes or self.simulator

    # --- from the kernel ---------------------------------------------------------------------------------------------

    def run(self, until_ns: int) -> tuple[int, bool]:
        """Let time run to `until_ns`, or to the next responses; return the time reached, and whether there were any."""
        reached, responses = self.simulator.run(until_ns)
        known = np.concatenate((responses, self.simulator.under_way()))
        for response in known[self._folded - self._delivered :].tolist():
            self._told.append(self._made(response))
        self._folded = self._delivered + len(known)
        self._delivered += len(responses)
        return reached, len(responses) > 0

    def due(self, now_ns: int) -> Iterator[Told]:
        """Yield what is told by now, in order, once."""
        while self._told and self._told[0].due_ns <= now_ns:
            told = self._told.popleft()
            yield told if told.response is None else replace(told, event=self._paid(told.response), response=None)

    @property
    def next_due_ns(self) -> int | None:
        """When something is told next."""
        return self._told[0].due_ns if self._told else None

    def _made(self, response: list[int]) -> Told:
        """Fold a response."""
        due, what, number = response[ex.R_SEEN], response[ex.R_TYPE], response[ex.R_ID]
        if what == ex.FUNDING:
            if response[ex.R_TICK] == 0:
                return Told(due, None, response=tuple(response))
            return Told(due, self._paid(response))
        order = self.orders[number]
        one = order.client_order_id
        if what in (ex.CANCEL_REJECTED, ex.AMEND_REJECTED):
            error: OrderRejectedError = OrderNotFoundError(f"{one}: no such open order")
            if what == ex.AMEND_REJECTED and not order.state.terminal:
                error = OrderRejectedError(f"{one}: cannot be amended so", reason="NOT_AMENDED")
            return Told(due, None, error, number)
        if what == ex.FILLED:
            return Told(due, self._filled(order, number, response), None, number)
        if what == ex.AMENDED:
            price, quantity = self.instrument.price(response[ex.R_TICK]), self.instrument.quantity(response[ex.R_LOTS])
            self._amends[number] += 1
            order = self._changed(replace(order, price=price, quantity=quantity), number, response[ex.R_TS], "AMENDED")
            return Told(due, order, order, number)
        order = self._changed(
            replace(order, state=STATE_AFTER[what]),
            number,
            response[ex.R_TS],
            "OPENED" if what == ex.ACCEPTED else "ENDED",
        )
        if what == ex.REJECTED:
            words = f"{one}: post-only, and would take"
            return Told(due, None, OrderRejectedError(words, reason="POST_ONLY_WOULD_TAKE"), number)
        return Told(due, order, order if what != ex.EXPIRED else None, number)  # nobody asks for an order to expire

    def _changed(self, order: Order, number: int, ts_ns: int, what: str) -> Order:
        order = self.orders[number] = replace(order, updated_ns=ts_ns)
        if order.state.terminal:
            self._live.pop(number, None)
            self._ended.append(number)
            if len(self._ended) > ENDED_KEPT:
                self._forget(self._ended.popleft())
        if self.watch is not None:
            self.watch(what, order, ts_ns)
        return order

    def _forget(self, number: int) -> None:
        gone = self.orders.pop(number)
        self._amends.pop(number, None)
        if self._numbers.get(gone.client_order_id) == number:  # and no later order has its id
            del self._numbers[gone.client_order_id]

    def _filled(self, order: Order, number: int, response: list[int]) -> Fill:
        ticks, lots, maker = response[ex.R_TICK], response[ex.R_LOTS], bool(response[ex.R_MAKER])
        ts, quantity = response[ex.R_TS], self.instrument.quantity(lots)
        fill = Fill(
            fill_id=str(len(self.tracker.fills) + 1),
            order_id=order.client_order_id,
            symbol=self.instrument.symbol,
            side=order.side,
            price=self.instrument.price(ticks),
            quantity=quantity,
            commission=self._fees.commission(ticks, lots, maker=maker),
            commission_asset=self.instrument.settle,
            ts_ns=ts,
            is_maker=maker,
        )
        self.tracker.record_fill(fill)
        state = OrderState.FILLED if response[ex.R_LEAVES] == 0 else OrderState.PARTIALLY_FILLED
        self._changed(
            replace(order, filled_quantity=order.filled_quantity + quantity, state=state), number, ts, "FILLED"
        )
        return fill

    def _paid(self, response: Sequence[int]) -> FundingPaid:
        ts, index, lots, mark = (response[at] for at in (ex.R_TS, ex.R_ID, ex.R_LOTS, ex.R_TICK))
        amount = self._funding.amount(index, lots, mark, self.eyes.best)
        self.tracker.record_funding(ts, amount)
        return FundingPaid(ts_ns=ts, amount=amount)

    # --- to the kernel -----------------------------------------------------------------------------------------------

    def place(self, request: OrderRequest, now_ns: int) -> int | OrderRejectedError:
        """Send an order on its way; return its number, or why it is refused by what is known now."""
        if (refusal := self._refused_place(request)) is not None:
            return refusal
        self._last_number = number = self._last_number + 1
        self._numbers[request.client_order_id] = number
        self._live[number] = None
        self.orders[number] = Order(
            client_order_id=request.client_order_id,
            level_id=request.level_id,
            symbol=request.symbol,
            side=request.side,
            price=request.price,
            quantity=request.quantity,
            type=request.type,
            order_id=str(number),
            created_ns=now_ns,
            reduce_only=request.reduce_only,
        )
        ticks, lots = self.instrument.ticks(request.price), self.instrument.lots(request.quantity)
        self.simulator.submit([(ex.PLACE, number, request.side.sign, ticks, lots, KIND_OF[request.type])], now_ns)
        return number

    def cancel(self, request: CancelRequest, now_ns: int) -> int | OrderRejectedError:
        """Send a cancel on its way; return the order's number, or why it is refused."""
        found = self._known(request)
        if isinstance(found, int):
            order = self.orders[found]
            ticks, lots = self.instrument.ticks(order.price), self.instrument.lots(order.quantity)
            self.simulator.submit([(ex.CANCEL, found, order.side.sign, ticks, lots, 0)], now_ns)
        return found

    def amend(self, request: AmendRequest, now_ns: int) -> int | OrderRejectedError:
        """Send an amend on its way; return the order's number, or why it is refused."""
        found = self._known(request)
        if not isinstance(found, int):
            return found
        if (refusal := self._off_limits(request)) is not None:
            return refusal
        if self._amends[found] >= self.capabilities.max_amends and not self.orders[found].state.terminal:
            words = f"{request.client_order_id}: amended {self._amends[found]} times, and no more are allowed"
            return OrderRejectedError(words, reason="NOT_AMENDED", request=request)
        ticks, lots = self.instrument.ticks(request.price), self.instrument.lots(request.quantity)
        self.simulator.submit([(ex.AMEND, found, request.side.sign, ticks, lots, 0)], now_ns)
        return found

    # --- what is refused ---------------------------------------------------------------------------------------------

    def unknown_symbol(self, symbol: str, request: object = None) -> OrderRejectedError | None:
        """Return why nothing is done or answered under a symbol."""
        known = self.instrument.symbol
        if symbol == known:
            return None
        words = f"unknown symbol {symbol!r}{did_you_mean(symbol, [known])}; this venue trades {known}"
        return OrderRejectedError(words, reason="UNKNOWN_SYMBOL", request=request)

    def _known(self, request: CancelRequest | AmendRequest) -> int | OrderRejectedError:
        if (refusal := self.unknown_symbol(request.symbol, request)) is not None:
            return refusal
        number = self.number_of(request.client_order_id, request.order_id)
        if number is None:
            return OrderNotFoundError(f"{request.client_order_id}: no such open order", request=request)
        return number

    def _off_limits(self, request: OrderRequest | AmendRequest) -> OrderRejectedError | None:
        """Return why the instrument's limits refuse a request."""
        instrument = self.instrument
        try:
            ticks, lots = instrument.ticks(request.price), instrument.lots(request.quantity)
        except ConfigError as error:
            return OrderRejectedError(f"{request.client_order_id}: {error}", reason="OFF_STEP", request=request)
        bid, ask = self.eyes.best
        mid2 = bid + ask if bid is not None and ask is not None else 2 * ticks
        why = self._constraints.refuse(ticks, lots, mid2)
        if why is not None:
            words = f"{request.client_order_id}: {why[0].text}: {why[1]}"
            return OrderRejectedError(words, reason=why[0], request=request)
        return None

    def _refused_place(self, request: OrderRequest) -> OrderRejectedError | None:
        """Return why the venue refuses a new order, by what the exchange knows now."""
        can, one = self.capabilities, request.client_order_id
        lacking = {OrderType.POST_ONLY: not can.post_only, OrderType.IOC: not can.ioc}.get(request.type, False)
        if lacking or (request.reduce_only and not can.reduce_only):
            kind = request.type if lacking else "reduce-only"
            return OrderRejectedError(
                f"{one}: this venue has no {kind} orders", reason="NOT_SUPPORTED", request=request
            )
        if (refusal := self.unknown_symbol(request.symbol, request) or self._off_limits(request)) is not None:
            return refusal
        if self._numbers.get(one) in self._live:
            words = f"an open order has the client order id {one}"
            return OrderRejectedError(words, reason="DUPLICATE_CLIENT_ID", request=request)
        most = self._constraints.max_orders
        if most is not None and len(self._live) >= most:
            words = f"{one}: {most} orders are open, and no more are allowed"
            return OrderRejectedError(words, reason=Reason.MAX_ORDERS, request=request)
        if request.reduce_only:
            spoken_for = sum(
                (o.remaining for o in self._live_orders() if o.reduce_only and o.side is request.side), Decimal(0)
            )
            held = self.tracker.inventory
            if request.quantity > -held * request.side.sign - spoken_for:
                words = f"{one}: reduce-only; the position is {held}, and open orders may close {spoken_for} of it"
                return OrderRejectedError(words, reason="REDUCE_ONLY_REJECTED", request=request)
        return None

    # --- what is known -----------------------------------------------------------------------------------------------

    def number_of(self, client_order_id: str | None, order_id: str | None) -> int | None:
        """Return the number under which an order is remembered, by either id."""
        if client_order_id:
            return self._numbers.get(client_order_id)
        return int(order_id) if order_id is not None and order_id.isdigit() and int(order_id) in self.orders else None

    def _live_orders(self) -> Iterable[Order]:
        return (self.orders[number] for number in self._live)

    def resting(self) -> Iterator[Order]:
        """Yield the open orders that have arrived."""
        return (order for order in self._live_orders() if order.state in RESTING)

    def queue_ahead(self, client_order_id: str) -> Decimal | None:
        """Return the quantity ahead of a resting order, None where it does not rest."""
        number = self._numbers.get(client_order_id)
        lots = None if number is None else self.simulator.queue_ahead(number)
        return None if lots is None else self.instrument.quantity(max(0, round(lots)))

    # --- the account -------------------------------------------------------------------------------------------------

    @property
    def gained(self) -> Decimal:
        """What fills, commission and funding have changed in the balance of a futures account, in the settlement asset."""
        return self.tracker.average.realised - self.tracker.commission + self.tracker.funding

    def balances(self) -> dict[str, Balance]:
        """Return every asset: what there was, what was gained, and what open orders hold of it."""
        instrument, tracker = self.instrument, self.tracker
        totals, gained = dict(self._start), self.gained
        if instrument.contract is Contract.SPOT:
            totals[instrument.base] = totals.get(instrument.base, Decimal(0)) + tracker.inventory
            spent = sum((f.price * f.quantity * f.side.sign for f in tracker.fills), Decimal(0))
            gained = -spent - tracker.commission
        totals[instrument.settle] = totals.get(instrument.settle, Decimal(0)) + gained
        held = self._held()
        return {
            asset: Balance(asset=asset, free=total - held.get(asset, Decimal(0)), total=total)
            for asset, total in totals.items()
        }

    def _held(self) -> dict[str, Decimal]:
        """Return what open orders hold, by asset: on spot what they may spend; margin is not modelled."""
        held = {self.instrument.base: Decimal(0), self.instrument.quote: Decimal(0)}
        if self.instrument.contract is Contract.SPOT:
            for order in self.resting():
                if order.side is Side.BUY:
                    held[self.instrument.quote] += order.price * order.remaining
                else:
                    held[self.instrument.base] += order.remaining
        return held
