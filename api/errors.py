"""Errors on the wire: one shape for everything, and the status of each class."""

import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from retrieval import errors

logger = logging.getLogger(__name__)

STATUS: dict[type[errors.QuotebaseError], int] = {
    errors.QuotebaseError: 500,
    errors.DatasetNotFound: 404,
    errors.CollectionNotFound: 404,
    errors.RecordNotFound: 404,
    errors.AppNotFound: 404,
    errors.KeyNotFound: 404,
    errors.JobNotFound: 404,
    errors.UsageNotFound: 404,
    errors.NameTaken: 409,
    errors.ModelMismatch: 409,
    errors.DirectoryInUse: 409,
    errors.InvalidRequest: 422,
    errors.InvalidChatId: 400,
    errors.StoreUnavailable: 503,
    errors.EmbedderUnavailable: 503,
    errors.CompletionFailed: 502,
    errors.RerankFailed: 502,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.RateLimited: 429,
}
"""The nearest class in an error's ancestry decides."""

_PLACES = ("body", "query")
"""What FastAPI puts before the name of a field."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def status_of(error: errors.QuotebaseError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_body(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """The envelope with FastGPT's fields and OpenAI's ``error`` object."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "code": status,
        "statusText": code,
        "message": message,
        "data": None,
        "error": {"message": message, "type": kind, "code": code, "param": param},
    }


def body_of(error: errors.QuotebaseError) -> dict[str, Any]:
    return error_body(status_of(error), error.code, error.message, getattr(error, "param", None))


def headers_of(error: errors.QuotebaseError) -> dict[str, str]:
    """What clients that wait by themselves look for."""
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, errors.RateLimited) else {}


def install(app: FastAPI) -> None:
    """Give every failure of the app the one shape."""

    @app.exception_handler(errors.QuotebaseError)
    def on_quotebase_error(_: Request, error: errors.QuotebaseError) -> JSONResponse:
        return JSONResponse(body_of(error), status_of(error), headers_of(error))

    @app.exception_handler(RequestValidationError)
    def on_validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        param, message = describe_validation(error.errors())
        return JSONResponse(error_body(422, "invalid_request", message, param), 422)

    @app.exception_handler(HTTPException)
    def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # Starlette names the methods of one route, a path may have several.
            methods = app.openapi()["paths"].get(request.url.path)
            headers["Allow"] = ", ".join(methods).upper() if methods else headers["Allow"]
        code, message = _describe_http(app, request, error, headers)
        return JSONResponse(error_body(error.status_code, code, message), error.status_code, headers)

    @app.exception_handler(Exception)
    def on_anything(request: Request, error: Exception) -> JSONResponse:
        logger.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        message = "something went wrong inside the server; its log says what"
        return JSONResponse(error_body(500, "internal_error", message), 500)


def describe_validation(problems: Sequence[Any], whole: str = "body") -> tuple[str, str]:
    """(field, sentence) for the first problem that pydantic found in ``whole``."""
    first = problems[0]
    if first["type"] == "json_invalid":
        return whole, f"{whole}: not valid JSON ({first['ctx']['error']})"
    place = [str(part) for part in first["loc"]]
    if place in ([], ["body"]):
        return whole, f"{whole}: a JSON object is expected, with Content-Type: application/json"
    param = ".".join(place[1:] if place[0] in _PLACES else place)
    return param, f"{param}: {first['msg']}"


def _describe_http(
    app: FastAPI, request: Request, error: HTTPException, headers: Mapping[str, str]
) -> tuple[str, str]:
    path = request.url.path
    if error.status_code == 404:
        near = difflib.get_close_matches(path, app.openapi()["paths"], n=1, cutoff=0.5)
        mend = f"; did you mean {near[0]}?" if near else "; see /docs for the paths there are"
        return "path_not_found", f"there is nothing at {path}{mend}"
    if error.status_code == 405:
        return "method_not_allowed", f"{path} does not take {request.method}: use {headers['Allow']}"
    return "invalid_request" if error.status_code == 400 else "http_error", str(error.detail)
