"""The four shapes of a chat reply: a JSON object or server-sent events, each with or without detail."""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.chat.turn import AnswerPart, Event, StepStarted, ThoughtPart, ToolPart, Turn
from api.errors import body_of
from api.schemas.records import index_items
from retrieval.completion import Usage
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

PassagesOf = Callable[[Turn], Awaitable[Passages]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a reply was asked for.

    Args:
        detail: what each step did.
        citations: the quotes that the answer was given, for clients that do not ask for details.
        usage: a last chunk with the tokens, in a stream.
    """

    detail: bool = False
    citations: bool = False
    usage: bool = False


def completion_object(
    turn: Turn, chat_id: str | None, wanted: Wanted, passages: Passages | None
) -> dict[str, Any]:
    """OpenAI's ``chat.completion``; with ``responseData`` if the passages are given."""
    message: dict[str, Any] = {"role": "assistant", "content": turn.answer}
    if turn.thoughts:
        message["reasoning_content"] = turn.thoughts
    if turn.tool_calls:
        message |= {"content": turn.answer or None, "tool_calls": list(turn.tool_calls)}
    if wanted.citations:
        message["citations"] = citations_of(turn)
    reply: dict[str, Any] = {
        "id": chat_id or new_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": turn.model,
        "choices": [{"message": message, "index": 0, "finish_reason": turn.finish_reason}],
        "usage": usage_object(turn.usage),
    }
    if passages is not None:
        search, chat = search_module(turn), chat_module(turn, passages)
        reply["responseData"] = [
            {"moduleName": OBJECT_NAMES[SEARCH_MODULE], **search},
            {"moduleName": OBJECT_NAMES[CHAT_MODULE], **chat},
        ]
    return reply


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's ``usage``; ``estimated`` is there, and true, if the backend did not count."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    return counts | ({"estimated": True} if usage.is_estimate else {})


def citations_of(turn: Turn) -> list[dict[str, Any]]:
    """The quotes that were in the prompt, in their order: the first is what the model knows as 1."""
    return [_citation(quote) for quote in turn.quotes]


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
        "quoteList": [quote_item(quote, passages.get(quote.record.id, ())) for quote in turn.quotes],
        "completeMessages": [
            {"obj": SPEAKERS[message.role], "value": message.content, **message.extra}
            for message in (*turn.messages, turn.reply)
        ],
    }


def quote_item(quote: Quote, passages: Sequence[Passage]) -> dict[str, Any]:
    """A quote as chat shows it: one score, and the passages it is indexed by."""
    return {"dataset_id": quote.record.dataset_id, **_citation(quote), "indexes": index_items(passages)}


def _citation(quote: Quote) -> dict[str, Any]:
    record = quote.record
    return {
        "datasetId": record.dataset_id,
        "collectionId": record.collection_id,
        "id": record.id,
        "q": record.q,
        "a": record.a,
        "source": quote.collection_name,
        "sourceName": quote.collection_name,
        "sourceId": record.collection_id,
        "score": quote.score,
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

    def __init__(self, chat_id: str | None, model: str, wanted: Wanted) -> None:
        self._id = chat_id or new_id()
        self._created = int(time.time())
        self._model = model
        self._wanted = wanted
        self._role = {"role": "assistant"}

    async def encode(
        self, events: AsyncIterable[Event | QuotebaseError], passages_of: PassagesOf
    ) -> AsyncGenerator[str, None]:
        """The text of the reply, an event a piece."""
        async for event in events:
            match event:
                case StepStarted(step):
                    if self._wanted.detail:
                        yield _sse({"status": "running", "name": STEPS[step]}, "flowNodeStatus")
                case AnswerPart(text, is_fixed):
                    yield self._delta({"content": text}, "fastAnswer" if is_fixed else "answer")
                case ThoughtPart(text):
                    yield self._delta({"reasoning_content": text})
                case ToolPart(call):
                    yield self._delta({"tool_calls": [call]}, "toolCall")
                case Turn():
                    for piece in self._end(event):
                        yield piece
                    if self._wanted.detail:
                        yield _sse(flow_responses(event, await passages_of(event)), "flowResponses")
                case QuotebaseError():
                    yield self._error(event)

    def _end(self, turn: Turn) -> Iterator[str]:
        delta = {"citations": citations_of(turn)} if self._wanted.citations else {}
        yield self._delta(delta, finish_reason=turn.finish_reason)
        if self._wanted.usage:
            yield self._chunk([], usage=usage_object(turn.usage))
        yield _sse("[DONE]", "answer" if self._wanted.detail else None)

    def _delta(self, delta: dict[str, Any], event: str = "answer", finish_reason: str | None = None) -> str:
        # Whose the answer is stands in the first chunk alone, without which OpenAI's JavaScript client refuses it.
        spoken, self._role = self._role | delta, {}
        return self._chunk([{"delta": spoken, "index": 0, "finish_reason": finish_reason}], event)

    def _chunk(self, choices: list[dict[str, Any]], event: str = "answer", **fields: object) -> str:
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": choices,
            **fields,
        }
        return _sse(chunk, event if self._wanted.detail else None)

    def _error(self, error: QuotebaseError) -> str:
        body = body_of(error)
        return _sse(body, "error") if self._wanted.detail else _sse({"error": body["error"]}, None)


def _sse(data: object, event: str | None) -> str:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event}\ndata: {text}\n\n" if event else f"data: {text}\n\n"
