"""``POST /api/v1/chat/completions`` and its two sister paths."""

import json
from collections.abc import Generator, Iterator
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.apps import App
from api.auth import AppKey, ServiceOf
from api.chat.history import Chat
from api.chat.shapes import EventStream, Passages, completion_object
from api.chat.turn import AnswerPart, Event, Question, Turn, run_turn
from api.schemas.chat import ChatRequest
from api.wiring import Service
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

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventStreamResponse(StreamingResponse):
    """Closes the generator also when the client hangs up.

    Starlette leaves that to the garbage collector, and until it comes the backend goes on talking.
    """

    def __init__(self, pieces: Generator[str, None, None]) -> None:
        super().__init__(pieces, media_type="text/event-stream", headers=STREAM_HEADERS)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await run_in_threadpool(self._pieces.close)


def complete_chat(body: ChatRequest, service: ServiceOf, key: AppKey) -> Response:
    """Answer the last message from the app's datasets."""
    app = service.apps.get(key.app_id)
    for dataset_id in app.dataset_ids:
        service.library.bound_dataset(dataset_id)
    chat = service.chats.open(key, body.chat_id) if body.chat_id is not None else None
    question = _question(body, chat)
    events = _remembered(_turn(app, question, service), chat, question.message, body.response_chat_item_id)
    if not body.stream:
        return JSONResponse(_last(events, body, service))
    stream = EventStream(body.chat_id, app.model or service.completion.model, body.detail)
    return EventStreamResponse(
        stream.encode(_ending_in_error(events), lambda turn: _passages(service, turn)),
    )


for path in PATHS:
    router.add_api_route(path, complete_chat, methods=["POST"], response_model=None, responses=SHAPES)


def _question(body: ChatRequest, chat: Chat | None) -> Question:
    messages = [message.to_message() for message in body.messages]
    if messages[-1].role not in ("user", "tool"):
        raise InvalidRequest(
            f"the last message is of {messages[-1].role}: it must be the user's question", "messages"
        )
    variables = {name: _as_text(value) for name, value in body.variables.items()}
    history = chat.messages() if chat else tuple(messages[:-1])
    return Question(messages[-1], history, variables, body.options)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _turn(app: App, question: Question, service: Service) -> Iterator[Event]:
    return run_turn(app, question, service.library.search, service.completion)


def _remembered(
    events: Iterator[Event], chat: Chat | None, question: Message, item_id: str | None
) -> Iterator[Event]:
    """The same events; the turn is stored before its last one goes out, also when it breaks off."""
    if chat is None:
        yield from events
        return
    answer: list[str] = []
    is_complete = False
    try:
        for event in events:
            if isinstance(event, AnswerPart):
                answer.append(event.text)
            if isinstance(event, Turn):
                is_complete = True
                chat.append(question, event.answer, item_id, is_complete)
            yield event
    finally:
        if not is_complete and answer:
            chat.append(question, "".join(answer), item_id, is_complete)


def _last(events: Iterator[Event], body: ChatRequest, service: Service) -> dict[str, Any]:
    *_, turn = events
    assert isinstance(turn, Turn)  # noqa: S101 - run_turn ends with it or raises
    passages = _passages(service, turn) if body.detail else None
    return completion_object(turn, body.chat_id, passages)


def _ending_in_error(events: Iterator[Event]) -> Iterator[Event | QuotebaseError]:
    try:
        yield from events
    except QuotebaseError as error:
        yield error


def _passages(service: Service, turn: Turn) -> Passages:
    return service.library.store.passages_of([quote.record.id for quote in turn.found.quotes])
