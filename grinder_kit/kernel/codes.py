"""The kernel's codes and the values of model/ that they stand for."""

from __future__ import annotations

from types import MappingProxyType

from grinder_kit.kernel import exchange as ex
from grinder_kit.model.order import OrderState, OrderType

#: How the kernel treats an order of a type (C_KIND).
KIND_OF = MappingProxyType({OrderType.POST_ONLY: ex.POST_ONLY, OrderType.LIMIT: ex.LIMIT, OrderType.IOC: ex.IOC})
#: State of an order after a response (R_TYPE) that changes nothing else of it.
STATE_AFTER = MappingProxyType(
    {
        ex.ACCEPTED: OrderState.OPEN,
        ex.REJECTED: OrderState.REJECTED,
        ex.CANCELLED: OrderState.CANCELLED,
        ex.EXPIRED: OrderState.EXPIRED,
    }
)
