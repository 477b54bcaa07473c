"""How large the body of a request may be, counted while it comes."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.errors import PayloadTooLarge

JSON_LIMIT = 64 << 20
"""Bytes of a body that is read into memory, which all are but uploads."""

UPLOAD_LIMIT = 1 << 30
"""Bytes of an upload where the settings say nothing else."""


class BodyLimit:
    """Middleware: a body that is larger than its path may have cannot be read to its end.

    Reading raises PayloadTooLarge: before the first byte where the header says the size, else at the
    block that passes the limit. What is left is not read.

    Args:
        limit_of: bytes that the body may have, by the path.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receive = _Counted(receive, _declared_size(scope), self._limit_of(scope["path"])).receive
        await self._app(scope, receive, send)


class _Counted:
    def __init__(self, receive: Receive, declared: int, limit: int) -> None:
        self._receive = receive
        self._size = declared
        self._limit = limit
        self._read = 0

    async def receive(self) -> Message:
        # Before anything is received, or a client that waits for 100 (Continue) would begin to send.
        self._check()
        message = await self._receive()
        self._read += len(message.get("body", b""))
        self._size = max(self._size, self._read)
        self._check()
        return message

    def _check(self) -> None:
        if self._size > self._limit:
            raise PayloadTooLarge(
                f"the body of this request is larger than {self._limit:,} bytes: send it in parts; for uploads "
                "QUOTEBASE_UPLOAD_LIMIT sets the limit"
            )


def _declared_size(scope: Scope) -> int:
    """By Content-Length; 0 where there is none."""
    size = Headers(scope=scope).get("content-length", "")
    return int(size) if size.isascii() and size.isdigit() else 0
