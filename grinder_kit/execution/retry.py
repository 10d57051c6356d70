"""Trying again (SPEC 9.9): only what surely was not done, with pauses that all callers share, and never a stale price.

The loop is tenacity's; what is tried again, when and for how long is decided here. An attempt that takes too long is let go,
not cancelled: what is on the wire stays on the wire, and its late answer is still read.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from tenacity import AsyncRetrying, RetryCallState

from grinder_kit.errors import (
    BannedError,
    ConnectivityError,
    OrderFailedError,
    OutcomeUnknownError,
    RateLimitError,
    VenueError,
)
from grinder_kit.execution.budget import WeightBudget
from grinder_kit.execution.clock import Clock
from grinder_kit.execution.port import AccountEvent, Balance, Capabilities, ExchangePort, Operation
from grinder_kit.model.config import RetryConfig
from grinder_kit.model.fill import Fill, Position
from grinder_kit.model.order import AmendRequest, CancelRequest, Order, OrderRequest, OrderResult

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
#: Called before each attempt with the seconds that it may wait; whether the attempt may be made.
Admit = Callable[[float], Awaitable[bool]]
#: Called with the request and what came of it after its caller had gone: the answer, or the exception.
OnLate = Callable[[Any, Any], None]

_NS = 1_000_000_000
_MICROSECOND_NS = 1_000  # what is over in less is over: clocks and timers round differently


class OrderRetryPolicy:
    """Carry out operations, trying again what surely was not done.

    | what is raised | what follows |
    |---|---|
    | RateLimitError | every caller waits `retry_after` (0: nobody waits; None: as below), then another attempt |
    | BannedError | raised; nothing is sent by anybody until the ban is over (None: for good) |
    | ConnectivityError | another attempt after ``uniform(0, min(cap_ms, base_delay_ms * 2**n))`` |
    | OutcomeUnknownError, no answer in `timeout_s` | raised, unless the operation is repeatable: then as above |
    | any other VenueError, anything else | raised as it is |

    Parameters
    ----------
    config : RetryConfig
        `max_retries` counts all attempts, `deadline_s` bounds them and the waits between them. Orders and amends are not sent
        any more once `stale_after_s` have passed since the call.
    clock : Clock
    rng : random.Random, optional
    on_late : callable, optional
        ``on_late(request, outcome)``: what came of an attempt after its caller had stopped waiting for it.

    Examples
    --------
    >>> order = await policy.execute_with_retry(port.place_order, request)  # doctest: +SKIP
    """

    def __init__(
        self, config: RetryConfig, clock: Clock, *, rng: random.Random | None = None, on_late: OnLate | None = None
    ) -> None:
        self.config = config
        self.clock = clock
        self.on_late = on_late
        self._rng = rng or random.Random()
        self._quiet: tuple[float, RateLimitError] | None = None  # until when (ns), and who asked for it
        self._ban: tuple[float, BannedError] | None = None
        self._let_go: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        state = (
            f", banned: {self._ban[1]}" if self._ban else f", quiet for {self.quiet_s:.3f} s" if self.quiet_s else ""
        )
        return f"OrderRetryPolicy({self.config.max_retries} attempts in {self.config.deadline_s:g} s{state})"

    async def execute_with_retry(
        self, operation: Callable[..., Awaitable[Answer]], *args: Any, **kwargs: Any
    ) -> Answer:
        """Carry out ``operation(*args, **kwargs)``, which must not be sent twice once it may have been done.

        Raises
        ------
        OrderFailedError
            When attempts, time or the freshness of the price are used up; the cause is chained, the request attached.
        OutcomeUnknownError
            When it may have been done: look it up.
        VenueError
            What the venue refused for good, as it was raised.
        """
        request = next((one for one in (*args, *kwargs.values()) if _requests(one)), None)
        return await self.run(partial(operation, *args, **kwargs), request=request, name=_name(operation))

    async def run(
        self,
        operation: Callable[[], Awaitable[Answer]],
        *,
        request: Any = None,
        name: str = "",
        repeatable: bool = False,
        admit: Admit | None = None,
    ) -> Answer:
        """Carry out an operation; see :meth:`execute_with_retry`.

        Parameters
        ----------
        operation : callable without arguments
        request : object, optional
            What is asked for; errors carry it. Orders and amends, or sequences of them, have a price that grows stale.
        name : str
            For messages.
        repeatable : bool
            It does no harm to do it twice (a question, a cancel): an unknown outcome is tried again too.
        admit : callable, optional
            Awaited before each attempt with the seconds left; False ends the call.
        """
        call = _Call(self, operation, request, name or _name(operation), repeatable, admit)
        retrying = AsyncRetrying(
            sleep=self._sleep,
            retry=call.again,
            wait=call.wait_s,
            stop=call.stop,
            before_sleep=call.say,
            retry_error_callback=call.give_up,
        )
        answer: Answer = await retrying(call.attempt)
        return answer

    # --- what all callers share --------------------------------------------------------------------------------------

    @property
    def quiet_s(self) -> float:
        """Seconds for which nobody sends, since the venue has asked to slow down."""
        return 0.0 if self._quiet is None else self._left_s(self._quiet[0])

    def _left_s(self, until_ns: float) -> float:
        left_ns = until_ns - self.clock.monotonic_ns()
        return left_ns / _NS if left_ns > _MICROSECOND_NS else 0.0

    def _heed(self, error: RateLimitError, otherwise_s: float) -> None:
        """Take what the venue asked for: of two waits the longer holds."""
        seconds = error.retry_after
        if seconds is None or math.isnan(seconds):
            seconds = math.inf if isinstance(error, BannedError) else otherwise_s
        until = self.clock.monotonic_ns() + max(0.0, seconds) * _NS
        if isinstance(error, BannedError):
            if self._ban is None or until > self._ban[0]:
                self._ban = (until, error)
            log.error("banned for_s=%s error=%r", error.retry_after, error)
        elif self._quiet is None or until > self._quiet[0]:
            self._quiet = (until, error)

    def _refuse_while_banned(self, request: Any) -> None:
        if self._ban is None:
            return
        until, cause = self._ban
        left = self._left_s(until)
        if not left:
            self._ban = None
            return
        words = "for good" if math.isinf(left) else f"for another {left:.3f} s"
        retry_after = None if math.isinf(left) else left
        raise BannedError(f"not sent: banned {words} ({cause})", retry_after=retry_after, request=request) from cause

    def _backoff_s(self, attempt: int) -> float:
        """Return a wait with full jitter before the attempt after the given one (1 is the first)."""
        most_ms = min(self.config.cap_ms, self.config.base_delay_ms * 2.0 ** (attempt - 1))
        return self._rng.uniform(0.0, most_ms) / 1e3

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            await self.clock.sleep(seconds)

    # --- one attempt -------------------------------------------------------------------------------------------------

    async def _once(self, operation: Callable[[], Awaitable[Answer]], request: Any, timeout_s: float) -> Answer:
        """Begin an operation and wait for it; whoever stops waiting leaves it running."""

        async def work() -> Answer:
            return await operation()

        task = asyncio.create_task(work())
        timer = asyncio.ensure_future(self.clock.sleep(timeout_s))
        in_time = False
        try:
            await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
            in_time = task.done()
        finally:
            timer.cancel()
            if not in_time:
                self._let_go.add(task)
                task.add_done_callback(partial(self._late, request))
        if not in_time:
            raise OutcomeUnknownError(f"no answer within {timeout_s:g} s", request=request)
        try:
            return task.result()
        except VenueError as error:
            if error.request is None:
                error.request = request
            if isinstance(error, BannedError):
                self._heed(error, 0.0)
            raise

    def _late(self, request: Any, task: asyncio.Task[Any]) -> None:
        self._let_go.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, RateLimitError):
            self._heed(error, 0.0)
        log.warning("late answer subject=%s outcome=%r", _subject(request), error or task.result())
        if self.on_late is not None:
            self.on_late(request, error or task.result())


class _Call(Generic[Answer]):
    """One call of a policy, over all its attempts; tenacity asks it what to do."""

    def __init__(
        self,
        policy: OrderRetryPolicy,
        operation: Callable[[], Awaitable[Answer]],
        request: Any,
        name: str,
        repeatable: bool,
        admit: Admit | None,
    ) -> None:
        self._policy = policy
        self._config = policy.config
        self._operation = operation
        self._request = request
        self._what = f"{name} {_subject(request)}".strip()
        self._repeatable = repeatable
        self._admit = admit
        self._perishable = isinstance(next(iter(_requests(request)), None), OrderRequest | AmendRequest)
        self._begun_ns = policy.clock.monotonic_ns()
        self._attempts = 0
        self._last: VenueError | None = None
        self._unknown: OutcomeUnknownError | None = None

    @property
    def _elapsed_s(self) -> float:
        return (self._policy.clock.monotonic_ns() - self._begun_ns) / _NS

    async def attempt(self) -> Answer:
        await self._enter()
        self._attempts += 1
        timeout_s = min(self._config.timeout_s, self._config.deadline_s - self._elapsed_s)
        try:
            return await self._policy._once(self._operation, self._request, timeout_s)
        except VenueError as error:
            self._last = error
            if isinstance(error, OutcomeUnknownError):
                self._unknown = error
            raise

    async def _enter(self) -> None:
        """Wait until an attempt may be made: nobody is banned or asked to be quiet, and the budget has room."""
        policy = self._policy
        while True:
            policy._refuse_while_banned(self._request)
            if wait := policy.quiet_s:
                if why := self._too_late(wait):
                    raise self._failed(why, policy._quiet and policy._quiet[1])
                await policy._sleep(wait)
                continue
            if self._admit is None:
                return
            if not await self._admit(self._left_s()):
                raise self._failed("the request-weight budget has no room in time", None)
            if (self._attempts or self._left_s() <= 0) and (why := self._too_late(0.0)):
                raise self._failed(why, None)
            if not policy.quiet_s and policy._ban is None:
                return  # otherwise the venue has said so meanwhile, and the weight is spent in vain

    def again(self, state: RetryCallState) -> bool:
        error = _raised(state)
        if isinstance(error, OutcomeUnknownError):
            return self._repeatable
        return isinstance(error, ConnectivityError | RateLimitError) and not isinstance(error, BannedError)

    def wait_s(self, state: RetryCallState) -> float:
        policy, error = self._policy, _raised(state)
        if not isinstance(error, RateLimitError):
            return max(policy._backoff_s(self._attempts), policy.quiet_s)
        policy._heed(error, policy._backoff_s(self._attempts) if error.retry_after is None else 0.0)
        return policy.quiet_s

    def stop(self, state: RetryCallState) -> bool:
        return self._attempts >= self._config.max_retries or bool(self._too_late(state.upcoming_sleep))

    def say(self, state: RetryCallState) -> None:
        log.warning(
            "trying again what=%r attempt=%d of=%d wait_s=%.3f error=%r",
            self._what,
            self._attempts,
            self._config.max_retries,
            state.upcoming_sleep,
            self._last,
        )

    def give_up(self, state: RetryCallState) -> Answer:
        why = "" if self._attempts >= self._config.max_retries else self._too_late(state.upcoming_sleep)
        raise self._failed(why, None)

    def _left_s(self) -> float:
        most = min(self._config.deadline_s, self._config.stale_after_s if self._perishable else math.inf)
        return most - self._elapsed_s

    def _too_late(self, wait_s: float) -> str:
        """Say why no attempt may be made after a wait; empty where it may."""
        at = self._elapsed_s + wait_s
        if self._perishable and at > self._config.stale_after_s:
            return f"its price is stale: older than {self._config.stale_after_s:g} s before it could be sent again"
        if at >= self._config.deadline_s:
            return f"the deadline of {self._config.deadline_s:g} s leaves no time for another"
        return ""

    def _failed(self, why: str, asked: VenueError | None) -> OrderFailedError:
        """Return the end of a call, chained to what matters most: an unknown outcome, else the last error."""
        cause = self._unknown or self._last or asked
        attempts = f"{self._attempts} attempt{'' if self._attempts == 1 else 's'}"
        words = "; ".join(str(part) for part in (why, cause) if part)
        failed = OrderFailedError(f"{self._what} failed after {attempts}: {words}", request=self._request)
        failed.__cause__ = cause
        log.warning("gave up what=%r attempts=%d why=%r cause=%r", self._what, self._attempts, why, cause)
        return failed


def _raised(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def _requests(given: Any) -> tuple[OrderRequest | CancelRequest | AmendRequest, ...]:
    """Return what is asked for, one request or several; nothing where `given` is something else."""
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    if all(isinstance(one, OrderRequest | CancelRequest | AmendRequest) for one in several):
        return tuple(several)
    return ()


def _subject(request: Any) -> str:
    return " ".join(one.client_order_id for one in _requests(request)) or ("" if request is None else str(request))


def _name(operation: Any) -> str:
    return str(getattr(operation, "__name__", type(operation).__name__))


class RetryingPort:
    """A port that tries again, within one request-weight budget.

    Every attempt spends its own weight. Questions and cancels are repeatable, cancels may use the reserve of the budget.

    Parameters
    ----------
    port : ExchangePort
    policy : OrderRetryPolicy
    budget : WeightBudget
        Shared by everything that talks to the venue from this address.
    """

    def __init__(self, port: ExchangePort, policy: OrderRetryPolicy, budget: WeightBudget) -> None:
        self._port = port
        self.policy = policy
        self.budget = budget

    @property
    def capabilities(self) -> Capabilities:
        """What the venue behind can do."""
        return self._port.capabilities

    async def _run(
        self, what: Operation, call: Callable[[], Awaitable[Answer]], request: Any, *, repeatable: bool = True
    ) -> Answer:
        weight = self.capabilities.weight(what)
        urgent = what in (Operation.CANCEL, Operation.BATCH_CANCEL)

        async def admit(within_s: float) -> bool:
            return await self.budget.acquire(weight, urgent, within_s=within_s)

        return await self.policy.run(call, request=request, name=what.value, repeatable=repeatable, admit=admit)

    async def place_order(self, request: OrderRequest) -> Order:
        """Place an order; an unknown outcome is raised, not sent again."""
        return await self._run(Operation.PLACE, lambda: self._port.place_order(request), request, repeatable=False)

    async def cancel_order(self, request: CancelRequest) -> Order:
        """Withdraw an order, again where the outcome is unknown."""
        return await self._run(Operation.CANCEL, lambda: self._port.cancel_order(request), request)

    async def amend_order(self, request: AmendRequest) -> Order:
        """Amend an order; an unknown outcome is raised, not sent again."""
        return await self._run(Operation.AMEND, lambda: self._port.amend_order(request), request, repeatable=False)

    async def batch_place(self, requests: Sequence[OrderRequest]) -> list[OrderResult]:
        """Place several orders; what fails as a whole is tried again as a whole, items are not."""
        return await self._run(
            Operation.BATCH_PLACE, lambda: self._port.batch_place(requests), requests, repeatable=False
        )

    async def batch_cancel(self, requests: Sequence[CancelRequest]) -> list[OrderResult]:
        """Withdraw several orders."""
        return await self._run(Operation.BATCH_CANCEL, lambda: self._port.batch_cancel(requests), requests)

    async def batch_amend(self, requests: Sequence[AmendRequest]) -> list[OrderResult]:
        """Amend several orders."""
        return await self._run(
            Operation.BATCH_AMEND, lambda: self._port.batch_amend(requests), requests, repeatable=False
        )

    async def get_order(
        self, symbol: str, *, client_order_id: str | None = None, order_id: str | None = None
    ) -> Order | None:
        """Return an order by either id."""
        return await self._run(
            Operation.GET_ORDER,
            lambda: self._port.get_order(symbol, client_order_id=client_order_id, order_id=order_id),
            client_order_id or order_id,
        )

    async def get_open_orders(self, symbol: str) -> tuple[Order, ...]:
        """Return the open orders."""
        return await self._run(Operation.GET_OPEN_ORDERS, lambda: self._port.get_open_orders(symbol), symbol)

    async def get_fills(self, symbol: str, *, since_ns: int = 0, order_id: str | None = None) -> tuple[Fill, ...]:
        """Return fills."""
        return await self._run(
            Operation.GET_FILLS,
            lambda: self._port.get_fills(symbol, since_ns=since_ns, order_id=order_id),
            order_id or symbol,
        )

    async def get_positions(self) -> Mapping[str, Position]:
        """Return what is held."""
        return await self._run(Operation.GET_POSITIONS, self._port.get_positions, None)

    async def get_balances(self) -> Mapping[str, Balance]:
        """Return the assets."""
        return await self._run(Operation.GET_BALANCES, self._port.get_balances, None)

    def events(self) -> AsyncIterator[AccountEvent]:
        """Pass the account's events."""
        return self._port.events()
