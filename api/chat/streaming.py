"""Replies that take a while: what is sent meanwhile, and what happens when the client hangs up."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

HEARTBEAT_S = 10.0
"""Silence after which something is sent, so that nobody between takes the connection for dead."""

HEARTBEAT = b": still here\n\n"
"""A comment, which readers of events pass over."""

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for the log; nobody is there to receive it."""

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

T = TypeVar("T")


class HungUp(Exception):
    """The client went away before there was a reply."""


class EventStreamResponse(Response):
    """Events as they come, each in a piece of its own. Closes the generator when the client hangs up."""

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncGenerator[str, None], heartbeat_s: float = HEARTBEAT_S) -> None:
        self.status_code = 200
        self.background = None
        self._pieces = pieces
        self._heartbeat_s = heartbeat_s
        self._silent_since = time.monotonic()
        self.init_headers(HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(HungUp):
            await until_hang_up(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        beating = asyncio.create_task(self._beat(send))
        try:
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    self._silent_since = time.monotonic()
                    await _send_piece(send, piece.encode())
        finally:
            beating.cancel()
            await asyncio.wait((beating,))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, send: Send) -> None:
        while True:
            await asyncio.sleep(self._silent_since + self._heartbeat_s - time.monotonic())
            if time.monotonic() - self._silent_since >= self._heartbeat_s:
                self._silent_since = time.monotonic()
                await _send_piece(send, HEARTBEAT)


class WaitedResponse(Response):
    """A JSON value that is waited for; nothing is sent to a client that hangs up before it is there."""

    def __init__(self, content: Coroutine[Any, Any, object]) -> None:
        self._content = content
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply: Response
        try:
            reply = JSONResponse(await until_hang_up(receive, self._content))
        except HungUp:
            reply = Response(status_code=CLIENT_CLOSED_REQUEST)
        await reply(scope, receive, send)


async def until_hang_up(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which is cancelled when the client hangs up. Raises HungUp if it does."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_hang_up(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.wait((working, watching))
    if working.cancelled():
        raise HungUp
    return working.result()


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_piece(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
