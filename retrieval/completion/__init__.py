"""Answers from prompts: the protocol, and the two ways to fulfil it.

- :mod:`.extractive` replies with the best quote; the default, needs nothing
- :mod:`.endpoint` any OpenAI-compatible ``/chat/completions`` endpoint
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from retrieval.types import Quote

Content = str | Sequence[Mapping[str, object]]
"""A text, or OpenAI content parts."""

EXTRACTIVE = "extractive"
"""The setting, and the model name, of the backend that quotes."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat, as OpenAI's API has it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Content
    extra: Mapping[str, object] = field(default_factory=dict)
    """Further fields that are passed on as they are, such as ``tool_calls``."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a backend gets. ``model`` empty means the backend's own."""

    messages: tuple[Message, ...]
    quotes: tuple[Quote, ...] = ()
    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    """Further request fields that are passed on as they are, such as ``tools``."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """The next piece of a tool call, in OpenAI's form."""

    call: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the backend counted them."""

    prompt_tokens: int
    completion_tokens: int


Piece = TextDelta | ToolDelta | Usage


class Completion(Protocol):
    """A completion backend. Safe to use from several threads."""

    @property
    def model(self) -> str:
        """Its name, for replies and reports."""
        ...

    def stream(self, prompt: Prompt) -> Iterator[Piece]:
        """The answer, piece by piece; closing the iterator ends the call.

        Raises:
            CompletionFailed: before the first piece or between two.
        """
        ...


@dataclass(frozen=True, slots=True)
class CompletionChoice:
    """Which backend to use; without ``base_url`` it is the extractive one."""

    model: str = EXTRACTIVE
    base_url: str | None = None
    api_key: str | None = None
    timeout_s: float = 60.0


def open_completion(choice: CompletionChoice) -> Completion:
    """The chosen backend; nothing is sent before the first prompt."""
    if choice.base_url:
        from retrieval.completion.endpoint import EndpointCompletion

        return EndpointCompletion(choice.model, choice.base_url, choice.api_key, choice.timeout_s)
    from retrieval.completion.extractive import ExtractiveCompletion

    return ExtractiveCompletion()
