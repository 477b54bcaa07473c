"""The OpenAPI document: what FastAPI finds out by itself, completed in one place for all routes.

A route says what it does (its docstring), takes and gives; errors, the envelope around its reply and
examples are put in here. What a route documents itself stays.
"""

import json
import re
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from api.errors import STATUS
from api.examples import EXAMPLES
from api.schemas.replies import ErrorObject, ErrorReply, Reply

Json = dict[str, Any]

_OF_INPUT = frozenset({400, 404, 409, 413, 422})
"""Statuses that only what takes something can have."""


_FASTAPIS = ("HTTPValidationError", "ValidationError")
"""The shape of errors that FastAPI would have given."""

_NESTED = "#/components/schemas/{model}"


def complete(document: Json) -> Json:
    """The document with all that the routes do not say; the same object."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(path, operation)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _FASTAPIS:
        schemas.pop(name, None)
    schemas |= {model.__name__: _schema(model) for model in (Reply, ErrorObject, ErrorReply)}
    return document


def _complete(path: str, operation: Json) -> None:
    if operation.get("description"):
        operation["summary"] = _first_sentence(operation["description"])
    _describe_success(path, operation)
    _describe_errors(operation)
    _add_examples(path, operation)


def _first_sentence(text: str) -> str:
    """Without its mark, and without what comes behind a semicolon."""
    return re.split(r"[.;:](?=\s|$)", " ".join(text.split()), maxsplit=1)[0]


def _describe_success(path: str, operation: Json) -> None:
    success = operation["responses"].get("200", {})
    if success.get("description") == "Successful Response":
        success["description"] = operation["summary"]
    content = success.get("content", {}).get("application/json", {})
    # A route that returns a dict under /api returns what ``envelope`` made.
    if path.startswith("/api/") and content.get("schema", {}).get("additionalProperties") is True:
        content["schema"] = _reference(Reply)


def _describe_errors(operation: Json) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in json.dumps(responses.get("422", {})):
        del responses["422"]
    for status in _statuses(operation):
        responses.setdefault(str(status), _error_response(status))
    operation["responses"] = dict(sorted(responses.items()))


def _statuses(operation: Json) -> list[int]:
    takes_something = "parameters" in operation or "requestBody" in operation
    unlikely = set() if takes_something else _OF_INPUT
    if "security" in operation:
        return sorted(set(STATUS.values()) - unlikely)
    return sorted({500, 503} | ({422} - unlikely))


def _error_response(status: int) -> Json:
    codes = sorted({kind.code for kind, of_kind in STATUS.items() if of_kind == status and status != 500})
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes) or '`internal_error`'}",
        "content": {"application/json": {"schema": _reference(ErrorReply)}},
    }


def _add_examples(path: str, operation: Json) -> None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None and path in EXAMPLES:
        content["examples"] = {
            name: {"summary": name, "value": body} for name, body in EXAMPLES[path].items()
        }


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": _NESTED.format(model=model.__name__)}


def _schema(model: type[BaseModel]) -> Json:
    schema = model.model_json_schema(ref_template=_NESTED, mode="serialization")
    schema.pop("$defs", None)
    return schema
