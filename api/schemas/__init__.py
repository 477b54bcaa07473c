"""The wire's names and types. Unknown fields are ignored, null is as if left out, numbers may come as strings."""

import json
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, field_validator, model_validator
from pydantic.alias_generators import to_camel

Value = TypeVar("Value")


class Wire(BaseModel):
    """A body whose fields are camelCase on the wire and snake_case here."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in body.items() if value is not None}

    @field_validator("*", mode="before")
    @classmethod
    def _is_unicode(cls, value: Any) -> Any:
        """JSON can have half a surrogate pair in it, which nothing further on could write."""
        json.dumps(value, ensure_ascii=False).encode()
        return value


def envelope(data: Any) -> dict[str, Any]:
    """What every reply but chat is wrapped in."""
    return {"code": 200, "statusText": "", "message": "", "data": data}


def to_wire(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by their names on the wire."""
    return {to_camel(name): field for name, field in asdict(value).items()}


def from_wire(kind: type[Value], data: dict[str, Any]) -> Value:
    """The dataclass of which :func:`to_wire` made ``data``."""
    return kind(**{field.name: data[to_camel(field.name)] for field in fields(kind)})  # type: ignore[arg-type]


def wire_time(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as JavaScript writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
