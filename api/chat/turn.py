"""One turn of a chat: question → search → prompt → answer, as a stream of events.

Every shape of reply is made from these events; nothing here knows of JSON.
"""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from anyio.to_thread import run_sync

from api.apps import App, Speaker
from api.chat.prompt import count_message_tokens, fit_messages
from retrieval.completion import (
    Completion,
    Finish,
    Message,
    Piece,
    Prompt,
    TextDelta,
    ThoughtDelta,
    ToolDelta,
    Usage,
    text_of,
)
from retrieval.errors import InvalidRequest
from retrieval.tokens import count_tokens
from retrieval.types import Quote, SearchRequest, SearchResult

Search = Callable[[SearchRequest], SearchResult]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, after which messages, with which values for the app's variables."""

    message: Message
    history: tuple[Message, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What is searched for: of a tool's result, what the user asked before it."""
        asked = (one for one in (self.message, *reversed(self.history)) if one.role == "user")
        return text_of(next(asked, self.message).content)

    @property
    def said(self) -> list[tuple[Speaker, str]]:
        """The conversation before what is searched for."""
        return [
            (message.role, text_of(message.content))
            for message in self.history
            if message.role in ("user", "assistant") and message.content
        ]


@dataclass(frozen=True, slots=True)
class StepStarted:
    step: Literal["search", "answer"]


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """A piece of the answer; ``is_fixed`` if it is the app's empty reply."""

    text: str
    is_fixed: bool = False


@dataclass(frozen=True, slots=True)
class ThoughtPart:
    text: str


@dataclass(frozen=True, slots=True)
class ToolPart:
    call: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Turn:
    """Everything about a turn that is over.

    ``messages`` is exactly what the backend was sent, and ``quotes`` what of the search was in them. ``usage`` is
    the backend's own count, or where it gives none the cl100k_base count of the texts.
    """

    app: App
    question: Question
    found: SearchResult
    quotes: tuple[Quote, ...]
    messages: tuple[Message, ...]
    answer: str
    thoughts: str
    tool_calls: tuple[Mapping[str, Any], ...]
    finish_reason: str
    model: str
    usage: Usage
    search_seconds: float
    answer_seconds: float

    @property
    def reply(self) -> Message:
        """What was answered, as a message."""
        return Message(
            "assistant", self.answer, {"tool_calls": list(self.tool_calls)} if self.tool_calls else {}
        )


Event = StepStarted | AnswerPart | ThoughtPart | ToolPart | Turn

Events = AsyncGenerator[Event, None]


def run_turn(app: App, question: Question, search: Search, completion: Completion) -> Events:
    """Answer a question; the last event is the :class:`Turn`.

    Args:
        search: called in a thread.

    Raises:
        InvalidRequest: the question has no text; raised at once, not at the first event.
        DatasetNotFound, ModelMismatch, EmbedderUnavailable, StoreUnavailable, CompletionFailed
    """
    if not question.text.strip():
        raise InvalidRequest("the last message has no text to search with", "messages")
    return _run(app, question, search, completion)


async def _run(app: App, question: Question, search: Search, completion: Completion) -> Events:
    yield StepStarted("search")
    started = time.perf_counter()
    found = await run_sync(search, app.search_request(question.text, question.said))
    fitted = await run_sync(
        fit_messages,
        app,
        found.quotes,
        question.history,
        question.message,
        question.variables,
        completion.context_tokens,
    )
    searched = time.perf_counter()
    yield StepStarted("answer")
    prompt = Prompt(
        fitted.messages, fitted.quotes, app.model, app.temperature, app.max_tokens, question.options
    )
    answer = _Answer(app.model or completion.model)
    is_fixed = bool(app.empty_reply) and not found.quotes
    pieces = _fixed(app.empty_reply) if is_fixed else completion.stream(prompt)
    async with aclosing(pieces):
        async for piece in pieces:
            answer.take(piece)
            match piece:
                case TextDelta(text):
                    yield AnswerPart(text, is_fixed)
                case ThoughtDelta(text):
                    yield ThoughtPart(text)
                case ToolDelta(call):
                    yield ToolPart(call)
    yield Turn(
        app=app,
        question=question,
        found=found,
        quotes=fitted.quotes,
        messages=fitted.messages,
        answer=answer.text,
        thoughts="".join(answer.thoughts),
        tool_calls=answer.calls,
        finish_reason=answer.finish.reason,
        model=answer.finish.model,
        usage=answer.usage
        or Usage(count_message_tokens(fitted.messages), count_tokens(answer.text), is_estimate=True),
        search_seconds=searched - started,
        answer_seconds=time.perf_counter() - searched,
    )


async def _fixed(text: str) -> AsyncGenerator[Piece, None]:
    yield TextDelta(text)
    yield Usage(0, 0)


class _Answer:
    """What the pieces of an answer come to."""

    def __init__(self, model: str) -> None:
        self._texts: list[str] = []
        self.thoughts: list[str] = []
        self._calls: dict[object, dict[str, Any]] = {}
        self.finish = Finish("stop", model)
        self.usage: Usage | None = None

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def calls(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self._calls.values())

    def take(self, piece: Piece) -> None:
        match piece:
            case TextDelta(text):
                self._texts.append(text)
            case ThoughtDelta(text):
                self.thoughts.append(text)
            case ToolDelta(call):
                place = call.get("index", 0)
                self._calls[place] = _joined(self._calls.get(place), call)
            case Finish():
                self.finish = piece
            case Usage():
                self.usage = piece


def _joined(call: dict[str, Any] | None, delta: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call with its next piece: the arguments come in several."""
    function = delta.get("function") or {}
    call = call or {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
    return {
        "id": delta.get("id") or call["id"],
        "type": "function",
        "function": {
            "name": call["function"]["name"] + (function.get("name") or ""),
            "arguments": call["function"]["arguments"] + (function.get("arguments") or ""),
        },
    }
