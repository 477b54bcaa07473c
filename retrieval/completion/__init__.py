"""Answers from prompts: the protocol, and the two ways to fulfil it.

- :mod:`.extractive` replies with the best quote; the default, needs nothing
- :mod:`.endpoint` any OpenAI-compatible ``/chat/completions`` endpoint
- :mod:`.backends` several of them by name, each with its limit, one in the place of another
- :mod:`.waiting` whole answers, for threads
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from retrieval.types import Quote

Content = str | Sequence[Mapping[str, object]]
"""A text, or OpenAI content parts."""

EXTRACTIVE = "extractive"
"""The setting, the name and the model of the backend that quotes."""

DEFAULT = "default"
"""The name of the first backend."""


def text_of(content: Content) -> str:
    """The text of a message; of parts, their texts, a line each."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")


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
class ThoughtDelta:
    """The next piece of what a reasoning model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """The next piece of a tool call, in OpenAI's form."""

    call: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Finish:
    """Why the answer ends, in OpenAI's words (``stop``, ``length``, ``tool_calls``, …), and whose it was."""

    reason: str
    model: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the backend counted them, or as counted here where it did not say."""

    prompt_tokens: int
    completion_tokens: int
    is_estimate: bool = False


Piece = TextDelta | ThoughtDelta | ToolDelta | Finish | Usage


class Completion(Protocol):
    """A completion backend. Safe to use from several threads and event loops."""

    @property
    def model(self) -> str:
        """Its name, for replies and reports."""
        ...

    @property
    def context_tokens(self) -> int:
        """What the model takes, prompt and answer together."""
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """The answer, piece by piece; closing the generator ends the call.

        Raises:
            CompletionFailed: before the first piece or between two.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the connections of the running event loop."""
        ...


CONTEXT_TOKENS = 16_384
"""What a model is taken to take if nothing is said."""


@dataclass(frozen=True, slots=True)
class CompletionChoice:
    """Which backend to use; without ``base_url`` it is the extractive one.

    Args:
        timeout_s: how long it may stay silent.
        concurrency: answers under way at a time; further ones wait. ``None`` for any number.
    """

    model: str = EXTRACTIVE
    base_url: str | None = None
    api_key: str | None = None
    timeout_s: float = 60.0
    context_tokens: int = CONTEXT_TOKENS
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class BackendChoices:
    """Which backends there are; ``fallbacks`` are names, also ``extractive``."""

    default: CompletionChoice
    others: Mapping[str, CompletionChoice] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()


def open_completion(choice: CompletionChoice) -> Completion:
    """The chosen backend; nothing is sent before the first prompt."""
    if choice.base_url:
        from retrieval.completion.backends import Guarded
        from retrieval.completion.endpoint import EndpointCompletion

        endpoint = EndpointCompletion(
            choice.model, choice.base_url, choice.api_key, choice.timeout_s, choice.context_tokens
        )
        return Guarded(endpoint, choice.concurrency)
    from retrieval.completion.extractive import ExtractiveCompletion

    return ExtractiveCompletion()
