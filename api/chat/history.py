"""A chat by ``chatId``: a small document about it, and its turns, oldest first."""

import json
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import Any

from api.apps import KIND as APP_KIND
from api.schemas import wire_time
from retrieval.completion import Content, Message, text_of
from retrieval.errors import ChatItemNotFound, ChatNotFound, InvalidChatId
from retrieval.store import Store
from retrieval.types import Document, Page, new_id, now

KIND = "turn"
ABOUT_KIND = "chat"

MAX_CHAT_ID = 250
"""A chatId is shorter than this."""

TITLE_LENGTH = 20
"""Characters of the first question that are a chat's title."""

QUESTION_SUFFIX = ":question"
"""What the dataId of a question has more than that of its answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose a chat is: keys of one app have chats of their own."""

    app_id: str
    key_id: str
    chat_id: str

    @property
    def group(self) -> str:
        """Of the turns. Both ids before it are hexadecimal, so a slash in the last one does no harm."""
        return f"{self.app_id}/{self.key_id}/{self.chat_id}"


@dataclass(frozen=True, slots=True)
class About:
    """What a list of chats says of one. Times are as on the wire, where later ones sort after earlier ones."""

    key_id: str
    chat_id: str
    title: str
    updated_at: str
    created_at: str
    custom_title: str = ""
    top: bool = False


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A question with its answer. ``feedback`` has FastGPT's names."""

    id: str
    seq: int
    question: Content
    answer: str
    time: str
    is_complete: bool
    feedback: dict[str, str]


class Chat:
    """One conversation. What changes it waits for ``lock``, which all threads that have this chat share."""

    def __init__(self, store: Store, place: Place, lock: Lock) -> None:
        check_chat_id(place.chat_id)
        self._store = store
        self._place = place
        self._group = place.group
        self._lock = lock

    def messages(self, turns: int) -> tuple[Message, ...]:
        """The latest ``turns``, as messages."""
        if not turns:
            return ()
        latest = self._store.page_documents(KIND, self._group, 0, turns, newest_first=True).items
        return tuple(message for turn in reversed(latest) for message in _messages_of(turn.body))

    def append(self, question: Message, answer: Message, item_id: str | None, is_complete: bool) -> None:
        """Store a turn; one that broke off keeps what was answered so far, and says so.

        Nothing is stored if the app was deleted while it answered.
        """
        time = now()
        body: dict[str, object] = {
            "question": question.content,
            "answer": answer.content,
            "time": time.isoformat(),
            "complete": is_complete,
        }
        # Of the most there is nothing more to tell.
        if question.role != "user" or question.extra:
            body["asked_as"] = {"role": question.role, **question.extra}
        if answer.extra:
            body["answered_with"] = dict(answer.extra)
        with self._lock:
            if self._store.find_document(APP_KIND, self._place.app_id) is None:
                return
            # The chat first: a turn of no chat could not be found to be deleted.
            self._note_turn(text_of(question.content), wire_time(time))
            self._store.put_document(KIND, self._turn_id(item_id or new_id()), body, group=self._group)

    def find_about(self) -> About | None:
        """Nothing before the first turn."""
        document = self._store.find_document(ABOUT_KIND, self._group)
        return about_of(document) if document else None

    def about(self) -> About:
        """Raises ChatNotFound."""
        about = self.find_about()
        if about is None:
            raise ChatNotFound(
                f"there is no chat {self._place.chat_id!r} of this key: see its chats with /api/core/chat/getHistories"
            )
        return about

    def page_turns(self, offset: int, limit: int) -> Page[PastTurn]:
        """Newest first."""
        page = self._store.page_documents(KIND, self._group, offset, limit, newest_first=True)
        return Page(tuple(map(_past_turn, page.items)), page.total)

    def update(self, title: str | None, custom_title: str | None, top: bool | None) -> None:
        """Change what is not ``None``; it is the latest chat then. Raises ChatNotFound."""
        given = {"title": title, "custom_title": custom_title, "top": top}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        with self._lock:
            self._put_about(replace(self.about(), **changes, updated_at=wire_time(now())))

    def delete(self) -> None:
        """With its turns. Raises ChatNotFound."""
        with self._lock:
            self.about()
            # The chat last: one that is half deleted can be deleted again.
            self._store.delete_documents(KIND, self._group)
            self._store.delete_document(ABOUT_KIND, self._group)

    def delete_item(self, data_id: str) -> None:
        """The question and the answer, of which ``data_id`` names either. Raises ChatNotFound, ChatItemNotFound."""
        with self._lock:
            self._store.delete_document(KIND, self._turn(data_id).id)

    def rate(self, data_id: str, feedback: dict[str, str]) -> None:
        """Let a turn have this feedback and no other. Raises ChatNotFound, ChatItemNotFound."""
        with self._lock:
            turn = self._turn(data_id)
            self._store.put_document(KIND, turn.id, {**turn.body, "feedback": feedback}, group=self._group)

    def _note_turn(self, question: str, time: str) -> None:
        known = self.find_about()
        title = question.strip()[:TITLE_LENGTH]
        new = About(self._place.key_id, self._place.chat_id, title, updated_at=time, created_at=time)
        self._put_about(replace(known, updated_at=time) if known else new)

    def _put_about(self, about: About) -> None:
        self._store.put_document(ABOUT_KIND, self._group, asdict(about), group=self._place.app_id)

    def _turn(self, data_id: str) -> Document:
        self.about()
        for item_id in (data_id, data_id.removesuffix(QUESTION_SUFFIX)):
            document = self._store.find_document(KIND, self._turn_id(item_id))
            if document:
                return document
        raise ChatItemNotFound(
            f"the chat {self._place.chat_id!r} has no item {data_id!r}: "
            "see their dataId with /api/core/chat/getPaginationRecords"
        )

    def _turn_id(self, item_id: str) -> str:
        # Both may have any character in them: JSON keeps apart what a separator would not.
        return json.dumps([self._group, item_id], ensure_ascii=False)


def check_chat_id(chat_id: str) -> None:
    """Raises InvalidChatId."""
    if not chat_id or len(chat_id) >= MAX_CHAT_ID:
        raise InvalidChatId(
            f"chatId has {len(chat_id)} characters: it must have from 1 to {MAX_CHAT_ID - 1}; leave it out to send "
            "the whole conversation in messages",
            "chatId",
        )


def about_of(document: Document) -> About:
    body: Any = document.body
    return About(**body)


def _past_turn(document: Document) -> PastTurn:
    body: Any = document.body
    return PastTurn(
        json.loads(document.id)[1],
        document.seq,
        body["question"],
        body["answer"],
        body["time"],
        body["complete"],
        body.get("feedback", {}),
    )


def _messages_of(turn: Any) -> tuple[Message, Message]:
    asked = {"role": "user", **turn.get("asked_as", {})}
    question = Message(asked.pop("role"), turn["question"], asked)
    return question, Message("assistant", turn["answer"], turn.get("answered_with", {}))
