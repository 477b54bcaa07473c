"""A line in the log and a count for each request, once it is over."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics

logger = logging.getLogger(__name__)

UNMATCHED = "unmatched"
"""The route of a request for which there is none: its path may be anything, and nothing of it is kept."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestLog:
    """Watches an application; a stream is over when its last piece is sent or the client has gone."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The key of the request is noted in the state that the application finds here.
        scope.setdefault("state", {})
        started, status = time.perf_counter(), 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = route_of(scope)
        self._metrics.count_request(method, route, status, seconds)
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
            "client": scope["client"][0] if scope.get("client") else "",
            "key": scope["state"].get("key_id", ""),
        }
        logger.info(
            "%(method)s %(route)s %(status)d in %(duration_ms).1f ms, client %(client)s, key %(key)s",
            {**fields, "key": fields["key"] or "-"},
            extra=fields,
        )


def route_of(scope: Scope) -> str:
    """The template of the path, never the path: what it was matched with is ours, and there are few."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else UNMATCHED
