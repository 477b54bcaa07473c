"""How many requests a caller may make."""

import ipaddress
import math
import time
from threading import Lock

from retrieval.errors import RateLimited

ADDRESS_BITS = 64
"""Of an IPv6 address: who has one has all that begin so."""


class RateLimit:
    """At most so many requests a caller in a window of time that begins with the first of them.

    A window costs one number, however long it is; the requests of two windows may come close together
    where these meet. Kept in memory, so each process counts for itself. Safe under threads.

    Args:
        rate: such as ``120/minute``; of a second, a minute, an hour or a day.
    """

    def __init__(self, rate: str) -> None:
        # Importing it takes a tenth of a second, which most commands need not wait for.
        from limits import parse
        from limits.storage import MemoryStorage
        from limits.strategies import FixedWindowRateLimiter

        self._rate = rate
        self._item = parse(rate)
        self._windows = FixedWindowRateLimiter(MemoryStorage())
        self._lock = Lock()

    def count(self, caller: str) -> None:
        """One more request of the caller. Raises RateLimited if it is one too many."""
        with self._lock:
            if self._windows.hit(self._item, caller):
                return
            over_at = self._windows.get_window_stats(self._item, caller).reset_time
        wait_s = max(1, math.ceil(over_at - time.time()))
        raise RateLimited(
            f"more requests than {self._rate} came from here: wait {wait_s} s, or have QUOTEBASE_RATE_LIMIT raised",
            wait_s,
        )


def network_of(host: str) -> str:
    """What a client cannot easily change of its address; of what is no IP address, all."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((int(address), ADDRESS_BITS), strict=False))
