"""One turn of a chat: question → search → prompt → answer, as a stream of events.

Every shape of reply is made from these events; nothing here knows of JSON.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from api.apps import App
from api.chat.prompt import build_messages, count_message_tokens, text_of
from retrieval.completion import Completion, Message, Prompt, TextDelta, ToolDelta, Usage
from retrieval.errors import InvalidRequest
from retrieval.tokens import count_tokens
from retrieval.types import SearchRequest, SearchResult

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
        return text_of(self.message.content)


@dataclass(frozen=True, slots=True)
class StepStarted:
    step: Literal["search", "answer"]


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """A piece of the answer; ``is_fixed`` if it is the app's empty reply."""

    text: str
    is_fixed: bool = False


@dataclass(frozen=True, slots=True)
class ToolPart:
    call: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Turn:
    """Everything about a turn that is over.

    ``messages`` is exactly what the backend was sent. ``usage`` is the backend's own count, or
    where it gives none the cl100k_base count of the texts.
    """

    app: App
    question: Question
    found: SearchResult
    messages: tuple[Message, ...]
    answer: str
    model: str
    usage: Usage
    search_seconds: float
    answer_seconds: float


Event = StepStarted | AnswerPart | ToolPart | Turn


def run_turn(app: App, question: Question, search: Search, completion: Completion) -> Iterator[Event]:
    """Answer a question; the last event is the :class:`Turn`.

    Raises:
        InvalidRequest: the question has no text; raised at once, not at the first event.
        DatasetNotFound, ModelMismatch, EmbedderUnavailable, StoreUnavailable, CompletionFailed
    """
    if not question.text.strip():
        raise InvalidRequest("the last message has no text to search with", "messages")
    return _run(app, question, search, completion)


def _run(app: App, question: Question, search: Search, completion: Completion) -> Iterator[Event]:
    yield StepStarted("search")
    started = time.perf_counter()
    found = search(SearchRequest(question.text, app.dataset_ids, app.similarity, app.limit))
    searched = time.perf_counter()
    yield StepStarted("answer")
    messages = build_messages(app, found.quotes, question.history, question.message, question.variables)
    answer: list[str] = []
    usage: Usage | None = None
    for piece in _answer(app, question, found, messages, completion):
        if isinstance(piece, Usage):
            usage = piece
        elif isinstance(piece, ToolPart):
            yield piece
        else:
            answer.append(piece.text)
            yield piece
    text = "".join(answer)
    yield Turn(
        app=app,
        question=question,
        found=found,
        messages=messages,
        answer=text,
        model=app.model or completion.model,
        usage=usage or Usage(count_message_tokens(messages), count_tokens(text)),
        search_seconds=searched - started,
        answer_seconds=time.perf_counter() - searched,
    )


def _answer(
    app: App, question: Question, found: SearchResult, messages: tuple[Message, ...], completion: Completion
) -> Iterator[AnswerPart | ToolPart | Usage]:
    if app.empty_reply and not found.quotes:
        yield AnswerPart(app.empty_reply, is_fixed=True)
        yield Usage(0, 0)
        return
    prompt = Prompt(messages, found.quotes, app.model, app.temperature, app.max_tokens, question.options)
    for piece in completion.stream(prompt):
        match piece:
            case TextDelta(text):
                yield AnswerPart(text)
            case ToolDelta(call):
                yield ToolPart(call)
            case Usage():
                yield piece
