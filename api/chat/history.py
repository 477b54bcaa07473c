"""Chat turns by ``chatId``: of one app, one key and one chat, oldest first."""

import json
from typing import Any

from api.keys import Key
from retrieval.completion import Message
from retrieval.errors import InvalidChatId
from retrieval.store import Store
from retrieval.types import new_id, now

KIND = "turn"

MAX_CHAT_ID = 250
"""A chatId is shorter than this."""

HISTORY_TURNS = 6
"""Turns of the past that a question is asked after."""


class Chat:
    """One conversation."""

    def __init__(self, store: Store, key: Key, chat_id: str) -> None:
        if not chat_id or len(chat_id) >= MAX_CHAT_ID:
            raise InvalidChatId(
                f"chatId has {len(chat_id)} characters: it must have from 1 to {MAX_CHAT_ID - 1}; leave it out to send "
                "the whole conversation in messages",
                "chatId",
            )
        self._store = store
        self._group = f"{key.app_id}/{key.id}/{chat_id}"

    def messages(self) -> tuple[Message, ...]:
        """The latest turns, as messages."""
        turns = self._store.list_documents(KIND, self._group, newest=HISTORY_TURNS)
        return tuple(message for turn in turns for message in _messages_of(turn.body))

    def append(self, question: Message, answer: str, item_id: str | None, is_complete: bool) -> None:
        """Store a turn; one that broke off keeps what was answered so far, and says so."""
        body = {
            "question": question.content,
            "answer": answer,
            "time": now().isoformat(),
            "complete": is_complete,
        }
        # Both may have any character in them: JSON keeps apart what a separator would not.
        document_id = json.dumps([self._group, item_id or new_id()], ensure_ascii=False)
        self._store.put_document(KIND, document_id, body, group=self._group)


def _messages_of(turn: Any) -> tuple[Message, Message]:
    return Message("user", turn["question"]), Message("assistant", turn["answer"])
