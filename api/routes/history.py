"""Chats that were stored: ``/api/core/chat/…``. An app key has its own; an admin key may look at an app's."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.auth import AppKey, ChatKey, ServiceOf, require_app
from api.chat.history import Chat, Place
from api.keys import Key
from api.schemas import envelope
from api.schemas.history import (
    SOURCE,
    ChatInit,
    HistoryList,
    HistoryUpdate,
    ItemDelete,
    OfApp,
    OfChat,
    RecordList,
    UserFeedback,
    chat_start,
    history_item,
    turn_items,
)
from api.schemas.paging import page_of
from api.wiring import Service
from retrieval.types import new_id

router = APIRouter(prefix="/api/core/chat", tags=["chat histories"])

Envelope = dict[str, Any]


@router.post("/getHistories")
@router.post("/history/getHistories")
def list_histories(body: HistoryList, service: ServiceOf, key: ChatKey) -> Envelope:
    """A page of chats: those at the top first, then the latest."""
    app_id = _app_id(service, key, body.app_id)
    abouts = service.chats.list(app_id, _own(key)) if body.source == SOURCE else []
    page = abouts[body.start : body.start + body.page_size]
    return envelope(page_of([history_item(app_id, about) for about in page], len(abouts)))


@router.get("/getHistories")
@router.get("/history/getHistories")
def list_histories_by_query(
    query: Annotated[HistoryList, Query()], service: ServiceOf, key: ChatKey
) -> Envelope:
    """The same."""
    return list_histories(query, service, key)


@router.post("/getPaginationRecords")
def list_records(body: RecordList, service: ServiceOf, key: ChatKey) -> Envelope:
    """A page of questions and answers, counted from the latest, the oldest of the page first; none of a new chat."""
    app_id = _app_id(service, key, body.app_id)
    chat = _chat_meant(service, key, app_id, body.chat_id, body.key_id)
    items, total = _items(chat, body.start, body.page_size)
    return envelope(page_of(items, total))


@router.get("/getPaginationRecords")
def list_records_by_query(
    query: Annotated[RecordList, Query()], service: ServiceOf, key: ChatKey
) -> Envelope:
    """The same."""
    return list_records(query, service, key)


@router.post("/init")
def start_chat(body: ChatInit, service: ServiceOf, key: ChatKey) -> Envelope:
    """The app, and the title of a chat; it need not be there yet."""
    app = service.apps.get(_app_id(service, key, body.app_id))
    chat_id = body.chat_id or new_id()
    about = _chat_meant(service, key, app.id, chat_id, body.key_id).find_about()
    return envelope(chat_start(app, app.model or service.backends.named(app.backend).model, chat_id, about))


@router.get("/init")
def start_chat_by_query(query: Annotated[ChatInit, Query()], service: ServiceOf, key: ChatKey) -> Envelope:
    """The same."""
    return start_chat(query, service, key)


@router.post("/updateHistory")
@router.put("/updateHistory")
@router.post("/history/updateHistory")
@router.put("/history/updateHistory")
def update_history(body: HistoryUpdate, service: ServiceOf, key: AppKey) -> Envelope:
    """Rename a chat, or keep it at the top."""
    _own_chat(service, key, body).update(body.title, body.custom_title, body.top)
    return envelope(None)


@router.post("/delHistory")
@router.post("/history/delHistory")
def delete_history(body: OfChat, service: ServiceOf, key: AppKey) -> Envelope:
    """Delete a chat with all its turns."""
    _own_chat(service, key, body).delete()
    return envelope(None)


@router.delete("/delHistory")
@router.delete("/history/delHistory")
def delete_history_by_query(query: Annotated[OfChat, Query()], service: ServiceOf, key: AppKey) -> Envelope:
    """The same."""
    return delete_history(query, service, key)


@router.post("/clearHistories")
@router.post("/history/clearHistories")
def clear_histories(service: ServiceOf, key: AppKey, body: OfApp | None = None) -> Envelope:
    """Delete all chats of the key."""
    require_app(key, body.app_id if body else "")
    service.chats.clear(key)
    return envelope(None)


@router.delete("/clearHistories")
@router.delete("/history/clearHistories")
def clear_histories_by_query(query: Annotated[OfApp, Query()], service: ServiceOf, key: AppKey) -> Envelope:
    """The same."""
    return clear_histories(service, key, query)


@router.post("/item/delete")
def delete_item(body: ItemDelete, service: ServiceOf, key: AppKey) -> Envelope:
    """Delete a question with its answer, by the ``dataId`` of either as ``contentId``."""
    _own_chat(service, key, body).delete_item(body.content_id)
    return envelope(None)


@router.delete("/item/delete")
def delete_item_by_query(query: Annotated[ItemDelete, Query()], service: ServiceOf, key: AppKey) -> Envelope:
    """The same."""
    return delete_item(query, service, key)


@router.post("/feedback/updateUserFeedback")
def update_user_feedback(body: UserFeedback, service: ServiceOf, key: AppKey) -> Envelope:
    """What the user says of an answer; what is left out is taken back."""
    _own_chat(service, key, body).rate(body.data_id, body.given)
    return envelope(None)


def _app_id(service: Service, key: Key, app_id: str) -> str:
    """Raises Forbidden, InvalidRequest; AppNotFound for an admin key."""
    require_app(key, app_id)
    return key.app_id or service.apps.get(app_id).id


def _own(key: Key) -> str:
    """The id of an app key, which has chats of its own; an admin key looks at everybody's."""
    return key.id if key.kind == "app" else ""


def _own_chat(service: Service, key: Key, body: OfChat) -> Chat:
    require_app(key, body.app_id)
    return service.chats.open(key, body.chat_id)


def _chat_meant(service: Service, key: Key, app_id: str, chat_id: str, key_id: str) -> Chat:
    """An app key's own, whatever ``key_id`` says; else the first in the app's list that it may be."""
    whose = _own(key) or key_id
    if not whose:
        same = [about.key_id for about in service.chats.list(app_id) if about.chat_id == chat_id]
        whose = next(iter(same), "")
    return service.chats.at(Place(app_id, whose, chat_id))


def _items(chat: Chat, offset: int, limit: int) -> tuple[list[dict[str, Any]], int]:
    """A turn is two items, and a page may begin and end within one."""
    first = offset // 2
    page = chat.page_turns(first, (offset + limit + 1) // 2 - first)
    newest_first = [item for turn in page.items for item in reversed(turn_items(turn))]
    skipped = offset - 2 * first
    return newest_first[skipped : skipped + limit][::-1], 2 * page.total
