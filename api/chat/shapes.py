"""The four shapes of a chat reply: a JSON object or server-sent events, each with or without detail."""

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from api.chat.turn import AnswerPart, Event, StepStarted, ToolPart, Turn
from api.errors import body_of
from api.schemas.records import index_items
from retrieval.completion import Message
from retrieval.errors import QuotebaseError
from retrieval.tokens import count_tokens
from retrieval.types import Passage, Quote, new_id

SEARCH_MODULE = "datasetSearchNode"
CHAT_MODULE = "chatNode"

OBJECT_NAMES = {SEARCH_MODULE: "Dataset Search", CHAT_MODULE: "AI Chat"}
STREAM_NAMES = {SEARCH_MODULE: "知识库搜索", CHAT_MODULE: "AI 对话"}
"""What the steps are called: the two forms of the API differ."""

STEPS = {"search": STREAM_NAMES[SEARCH_MODULE], "answer": STREAM_NAMES[CHAT_MODULE]}

SPEAKERS = {"system": "System", "user": "Human", "assistant": "AI", "tool": "Tool"}

Passages = Mapping[str, Sequence[Passage]]
"""The passages of each quoted record, by record id."""

PassagesOf = Callable[[Turn], Passages]


def completion_object(turn: Turn, chat_id: str | None, passages: Passages | None) -> dict[str, Any]:
    """OpenAI's ``chat.completion``; with ``responseData`` if the passages are given."""
    usage = turn.usage
    reply: dict[str, Any] = {
        "id": chat_id or new_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": turn.model,
        "choices": [
            {"message": {"role": "assistant", "content": turn.answer}, "index": 0, "finish_reason": "stop"}
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }
    if passages is not None:
        search, chat = search_module(turn), chat_module(turn, passages)
        reply["responseData"] = [
            {"moduleName": OBJECT_NAMES[SEARCH_MODULE], **search},
            {"moduleName": OBJECT_NAMES[CHAT_MODULE], **chat},
        ]
    return reply


def search_module(turn: Turn) -> dict[str, Any]:
    """What the search step did."""
    found = turn.found
    tokens = count_tokens(turn.question.text)
    return {
        "moduleType": SEARCH_MODULE,
        "price": tokens * turn.app.search_price / 1000,
        "model": found.model.name,
        "tokens": tokens,
        "similarity": found.similarity,
        "limit": found.request.limit,
        "searchMode": found.request.mode,
        "runningTime": round(turn.search_seconds, 3),
    }


def chat_module(turn: Turn, passages: Passages) -> dict[str, Any]:
    """What the answering step did."""
    tokens = turn.usage.prompt_tokens + turn.usage.completion_tokens
    return {
        "moduleType": CHAT_MODULE,
        "price": tokens * turn.app.chat_price / 1000,
        "model": turn.model,
        "tokens": tokens,
        "question": turn.question.text,
        "answer": turn.answer,
        "maxToken": turn.app.max_tokens,
        "runningTime": round(turn.answer_seconds, 3),
        "quoteList": [quote_item(quote, passages.get(quote.record.id, ())) for quote in turn.found.quotes],
        "completeMessages": [
            {"obj": SPEAKERS[message.role], "value": message.content}
            for message in (*turn.messages, Message("assistant", turn.answer))
        ],
    }


def quote_item(quote: Quote, passages: Sequence[Passage]) -> dict[str, Any]:
    """A quote as chat shows it: one score, and the passages it is indexed by."""
    record = quote.record
    return {
        "dataset_id": record.dataset_id,
        "datasetId": record.dataset_id,
        "collectionId": record.collection_id,
        "id": record.id,
        "q": record.q,
        "a": record.a,
        "source": quote.collection_name,
        "sourceName": quote.collection_name,
        "sourceId": record.collection_id,
        "score": quote.score,
        "indexes": index_items(passages),
    }


def flow_responses(turn: Turn, passages: Passages) -> list[dict[str, Any]]:
    """The modules as the stream has them: the same fields, the stream's own first and in its order."""
    search, chat = search_module(turn), chat_module(turn, passages)
    return [
        _ordered(
            {"moduleName": STREAM_NAMES[SEARCH_MODULE], **search}, "moduleName", "moduleType", "runningTime"
        ),
        _ordered(
            {"moduleName": STREAM_NAMES[CHAT_MODULE], **chat},
            "question",
            "quoteList",
            "moduleName",
            "moduleType",
            "runningTime",
        ),
    ]


def _ordered(fields: dict[str, Any], *first: str) -> dict[str, Any]:
    return {name: fields[name] for name in (*first, *(name for name in fields if name not in first))}


class EventStream:
    """Server-sent events of one reply: OpenAI's chunks alone, or with ``detail`` FastGPT's events.

    An error after the stream has begun goes out as an event and ends it.
    """

    def __init__(self, chat_id: str | None, model: str, detail: bool) -> None:
        self._id = chat_id or new_id()
        self._created = int(time.time())
        self._model = model
        self._detail = detail

    def encode(
        self, events: Iterable[Event | QuotebaseError], passages_of: PassagesOf
    ) -> Generator[str, None, None]:
        """The text of the reply, an event a piece."""
        for event in events:
            match event:
                case StepStarted(step):
                    if self._detail:
                        yield _sse({"status": "running", "name": STEPS[step]}, "flowNodeStatus")
                case AnswerPart(text, is_fixed):
                    yield self._chunk({"content": text}, "fastAnswer" if is_fixed else "answer")
                case ToolPart(call):
                    yield self._chunk({"tool_calls": [call]}, "toolCall")
                case Turn():
                    yield from self._end(event, passages_of)
                case QuotebaseError():
                    yield self._error(event)

    def _end(self, turn: Turn, passages_of: PassagesOf) -> Iterator[str]:
        yield self._chunk({}, "answer", "stop")
        yield _sse("[DONE]", "answer" if self._detail else None)
        if self._detail:
            yield _sse(flow_responses(turn, passages_of(turn)), "flowResponses")

    def _chunk(self, delta: dict[str, Any], event: str, finish_reason: str | None = None) -> str:
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [{"delta": delta, "index": 0, "finish_reason": finish_reason}],
        }
        return _sse(chunk, event if self._detail else None)

    def _error(self, error: QuotebaseError) -> str:
        body = body_of(error)
        return _sse(body, "error") if self._detail else _sse({"error": body["error"]}, None)


def _sse(data: object, event: str | None) -> str:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event}\ndata: {text}\n\n" if event else f"data: {text}\n\n"
