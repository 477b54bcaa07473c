"""Multipart uploads whose file name comes as ``filename*=UTF-8''…``.

RFC 7578 forbids that form and FastAPI leaves it out, clients send it all the same. A route that
takes files belongs to a router with ``route_class=UploadRoute``.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

_EXTENDED = re.compile(rb"""filename\*\s*=\s*"?utf-8'[^']*'([^;"\s]*)""", re.IGNORECASE)


def with_plain_filename(disposition: bytes) -> bytes:
    """The header with ``filename="…"`` in its end where it has ``filename*``: the last one counts."""
    extended = _EXTENDED.search(disposition)
    if extended is None:
        return disposition
    name = unquote_to_bytes(extended[1]).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return disposition + b'; filename="' + name + b'"'


class _Parser(MultiPartParser):
    def on_headers_finished(self) -> None:
        part = self._current_part
        if part.content_disposition:
            part.content_disposition = with_plain_filename(part.content_disposition)
        super().on_headers_finished()


class _UploadRequest(Request):
    async def _get_form(self, **limits: Any) -> FormData:
        if not self.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
            return await super()._get_form(**limits)
        if self._form is None:
            try:
                self._form = await _Parser(self.headers, self.stream(), **limits).parse()
            except MultiPartException as error:
                raise HTTPException(status_code=400, detail=error.message) from error
        return self._form


class UploadRoute(APIRoute):
    """A route whose uploads may name their file either way."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_upload(request: Request) -> Response:
            return await handle(_UploadRequest(request.scope, request.receive))

        return handle_upload
