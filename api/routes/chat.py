"""``POST /api/v1/chat/completions`` and its two sister paths."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.auth import AppKey, ServiceOf
from api.chat.remembered import remembered
from api.chat.shapes import EventStream, Passages, PassagesOf, Wanted, completion_object
from api.chat.streaming import EventStreamResponse, WaitedResponse
from api.chat.turn import Event, Events, Question, Turn, run_turn
from api.schemas.chat import ChatRequest
from retrieval.completion import Message
from retrieval.errors import InvalidRequest, QuotebaseError

router = APIRouter(tags=["chat"])

PATHS = ("/api/v1/chat/completions", "/v1/chat/completions", "/api/chat/completions")

EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}
"""One of a stream: ``data`` is JSON, or ``[DONE]`` at the end."""

SHAPES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "OpenAI's `chat.completion`; with `stream`, its chunks as events; with `detail`, FastGPT's fields too",
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["id", "object", "choices", "usage"]}
            },
            "text/event-stream": {"schema": EVENT},
        },
    }
}


def complete_chat(body: ChatRequest, service: ServiceOf, key: AppKey) -> Response:
    """Answer the last message from the app's datasets."""
    app = service.apps.get(key.app_id)
    for dataset_id in app.dataset_ids:
        service.library.bound_dataset(dataset_id)
    completion = service.backends.named(app.backend)
    chat = service.chats.open(key, body.chat_id) if body.chat_id is not None else None
    question = _question(body, chat.messages(app.history_turns) if chat else None)
    events = run_turn(app, question, service.library.search, completion)
    if chat:
        events = remembered(events, chat, question.message, body.response_chat_item_id)
    wanted = Wanted(body.detail, body.citations or app.citations, body.stream_options.include_usage)

    async def passages_of(turn: Turn) -> Passages:
        record_ids = [quote.record.id for quote in turn.quotes]
        return await run_in_threadpool(service.library.store.passages_of, record_ids)

    if body.stream:
        stream = EventStream(body.chat_id, app.model or completion.model, wanted)
        return EventStreamResponse(stream.encode(_ending_in_error(events), passages_of))
    return WaitedResponse(_object(events, body.chat_id, wanted, passages_of))


for path in PATHS:
    router.add_api_route(path, complete_chat, methods=["POST"], response_model=None, responses=SHAPES)


async def _object(
    events: Events, chat_id: str | None, wanted: Wanted, passages_of: PassagesOf
) -> dict[str, Any]:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Turn):
                return completion_object(
                    event, chat_id, wanted, await passages_of(event) if wanted.detail else None
                )
    raise AssertionError("a turn ends with itself, or with an error")


def _question(body: ChatRequest, past: Sequence[Message] | None) -> Question:
    """``past`` is a stored chat, without which the messages are the whole conversation."""
    messages = [message.to_message() for message in body.messages]
    if messages[-1].role not in ("user", "tool"):
        raise InvalidRequest(
            f"the last message is of {messages[-1].role}: it must be the user's question", "messages"
        )
    variables = {name: _as_text(value) for name, value in body.variables.items()}
    return Question(messages[-1], tuple(messages[:-1] if past is None else past), variables, body.options)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def _ending_in_error(events: Events) -> AsyncGenerator[Event | QuotebaseError, None]:
    async with aclosing(events):
        try:
            async for event in events:
                yield event
        except QuotebaseError as error:
            yield error
