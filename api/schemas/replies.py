"""The two shapes of a reply in JSON, for the schemas; :func:`api.schemas.envelope` and :mod:`api.errors` make them."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class Reply(BaseModel):
    """What every success but chat is wrapped in."""

    code: Literal[200]
    statusText: str  # noqa: N815 - the wire's name
    message: str
    data: Any = Field(description="what was asked for")


class ErrorObject(BaseModel):
    """What OpenAI clients read."""

    message: str = Field(description="what it is, and how to mend it")
    type: str = Field(description="a class of errors, as OpenAI names them")
    code: str = Field(description="a stable name, the same as `statusText`")
    param: str | None = Field(description="the field or parameter that it is about")


class ErrorReply(BaseModel):
    """Every failure, whatever the path."""

    code: int = Field(description="the HTTP status")
    statusText: str = Field(description="a stable name, which programs compare")  # noqa: N815
    message: str = Field(description="what it is, and how to mend it")
    data: None
    error: ErrorObject
