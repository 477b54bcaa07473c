"""The chat request."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from api.chat.history import MAX_CHAT_ID
from api.schemas import Wire
from retrieval.completion import Message

PASSED_ON = ("tools", "tool_choice", "parallel_tool_calls")
"""Request fields that go to the completion backend as they are."""

PASSED_ON_OF_MESSAGES = ("name", "tool_calls", "tool_call_id", "refusal", "reasoning_content")
"""Fields of a message that do so; FastGPT's own, such as ``dataId``, would be refused by some."""


ChatId = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_CHAT_ID - 1})]
"""Its length is only documented here: chats themselves look at it, with an error of its own."""


class ChatMessage(BaseModel):
    """OpenAI's message."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None

    def to_message(self) -> Message:
        role = "system" if self.role == "developer" else self.role
        extra = self.__pydantic_extra__ or {}
        return Message(
            role, self.content or "", {name: extra[name] for name in PASSED_ON_OF_MESSAGES if name in extra}
        )


class StreamOptions(BaseModel):
    """OpenAI's, whose names are not camelCase."""

    include_usage: bool = False


class ChatRequest(Wire):
    """FastGPT's request, which OpenAI's is a case of. ``citations`` is ours: the quotes beside the answer."""

    chat_id: ChatId | None = None
    response_chat_item_id: str | None = None
    stream: bool = False
    detail: bool = False
    citations: bool = False
    stream_options: StreamOptions = Field(default_factory=StreamOptions, alias="stream_options")
    variables: dict[str, Any] = Field(default_factory=dict)
    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = Field(default=None, alias="tool_choice")
    parallel_tool_calls: bool | None = Field(default=None, alias="parallel_tool_calls")

    @property
    def options(self) -> dict[str, object]:
        return {name: value for name in PASSED_ON if (value := getattr(self, name)) is not None}
