"""Sessions with one thing wrong: the laboratory must notice each, or what it says about the real one is worth nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from grinder_kit.execution.engine import ExecutionEngine
from grinder_kit.execution.idempotent import IdempotentPort
from grinder_kit.execution.own_orders import OwnOrder, OwnOrders
from grinder_kit.execution.port import EpochGate
from grinder_kit.execution.retry import OrderRetryPolicy
from grinder_kit.model.event import Cancel, Command, Event, OrderFilled
from grinder_kit.model.order import Order


def no_look_up() -> AbstractContextManager[Any]:
    """After a timeout the order is sent again at once."""

    async def none(self: IdempotentPort, symbol: str, client_order_id: str) -> Order | None:
        return None

    return patch.object(IdempotentPort, "_look_up", none)


@contextmanager
def no_wait_for_the_cancel() -> Iterator[None]:
    """A level is free as soon as its cancel is sent."""
    step, end = ExecutionEngine.step, OwnOrders._end

    def freed(self: ExecutionEngine, event: Event, now_ns: int) -> tuple[Command, ...]:
        commands = step(self, event, now_ns)
        for command in commands:
            order = self.orders.by_id.get(command.client_order_id)
            if isinstance(command, Cancel) and order is not None and self.orders.by_key.get(order.key) is order:
                del self.orders.by_key[order.key]
        return commands

    def ended(self: OwnOrders, order: OwnOrder, ts_ns: int, reason: str) -> None:
        standing = self.by_key.get(order.key)
        self.by_key[order.key] = order
        end(self, order, ts_ns, reason)
        if standing is not None and standing is not order:
            self.by_key[order.key] = standing

    with patch.object(ExecutionEngine, "step", freed), patch.object(OwnOrders, "_end", ended):
        yield


def no_deduplication() -> AbstractContextManager[Any]:
    """A fill that is told twice is booked twice."""
    book, count = ExecutionEngine._book_fill, itertools.count()

    def again(self: ExecutionEngine, event: OrderFilled) -> None:
        book(self, replace(event, trade_id=f"{event.trade_id}#{next(count)}"))

    return patch.object(ExecutionEngine, "_book_fill", again)


def fills_of_a_cancel_dropped() -> AbstractContextManager[Any]:
    """An order that ends is gone, whatever it had filled."""
    end = OwnOrders._end_with

    def at_once(self: OwnOrders, order: OwnOrder, ending: Any) -> bool:
        return end(self, order, ending._replace(filled=0))

    return patch.object(OwnOrders, "_end_with", at_once)


def no_generation() -> AbstractContextManager[Any]:
    """An order that is placed again under its level has the same id again."""
    return patch("grinder_kit.execution.own_orders.base36", lambda number: "1")


def epoch_not_checked() -> AbstractContextManager[Any]:
    """What was decided before a stop is sent after it."""
    return patch.object(EpochGate, "_check", lambda self, request: None)


def retry_after_ignored() -> AbstractContextManager[Any]:
    """The venue's wish to be left alone is not heard."""
    return patch.object(OrderRetryPolicy, "_heed", lambda self, error, otherwise_s: None)


MUTANTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no look-up after a timeout": no_look_up,
    "replacement before the cancel is confirmed": no_wait_for_the_cancel,
    "no deduplication": no_deduplication,
    "fills of a cancel dropped": fills_of_a_cancel_dropped,
    "generation missing from the client id": no_generation,
    "epoch not checked": epoch_not_checked,
    "Retry-After ignored": retry_after_ignored,
}
