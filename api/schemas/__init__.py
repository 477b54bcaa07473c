"""The wire's names and types. Unknown fields are ignored; numbers may come as strings."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Wire(BaseModel):
    """A body whose fields are camelCase on the wire and snake_case here."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


def envelope(data: Any) -> dict[str, Any]:
    """What every reply but chat is wrapped in."""
    return {"code": 200, "statusText": "", "message": "", "data": data}
