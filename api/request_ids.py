"""The id of a request: in the header of its reply, and in each line that is logged for it."""

import re
import uuid
from collections.abc import Iterable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-Id"

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that the thread at hand works for; empty where it works for none."""

_NAME = HEADER.lower().encode()
_SANE = re.compile(rb"[!-~]{1,128}")
"""What goes into a log and a header without any doubt where it ends."""


class RequestIds:
    """Around the whole application, so that the replies to what it did not foresee have an id too.

    The client's own id is taken if it is 1 to 128 visible ASCII characters, else one is made.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = sent_or_new(scope["headers"])
        # Not taken back at the end: the server logs what went wrong after that, and has a context for each request.
        REQUEST_ID.set(request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [pair for pair in message.get("headers", ()) if pair[0].lower() != _NAME]
                message = {**message, "headers": [*others, (_NAME, request_id.encode())]}
            await send(message)

        await self._app(scope, receive, send_with_id)


def sent_or_new(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id among the headers of a request, if there is a sane one."""
    sent = next((value for name, value in headers if name.lower() == _NAME), b"")
    return sent.decode() if _SANE.fullmatch(sent) else uuid.uuid4().hex
