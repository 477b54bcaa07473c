"""All chats of a store: whose they are, their order, and one lock for each."""

from collections.abc import Iterable
from contextlib import suppress
from threading import Lock

from api.chat.history import ABOUT_KIND, About, Chat, Place, about_of
from api.keys import Key
from retrieval.errors import ChatNotFound
from retrieval.store import Store

LOCAL = "local"
"""Stands for a key where the command line asks."""

LOCKS = 256
"""A chat always has the same one of them; two chats that share one wait for each other, a few milliseconds."""


class Chats:
    """One process owns the data directory, so that its locks are enough."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks = tuple(Lock() for _ in range(LOCKS))

    def open(self, key: Key, chat_id: str) -> Chat:
        """A chat of an app key, which may be new. Raises InvalidChatId."""
        return self.at(Place(key.app_id, key.id, chat_id))

    def at(self, place: Place) -> Chat:
        """Raises InvalidChatId."""
        return Chat(self._store, place, self._locks[hash(place) % LOCKS])

    def list(self, app_id: str, key_id: str = "") -> list[About]:
        """Of an app, or of one of its keys: those at the top first, then the latest; no turn is read."""
        abouts = [about_of(document) for document in self._store.list_documents(ABOUT_KIND, app_id)]
        own = [about for about in reversed(abouts) if key_id in ("", about.key_id)]
        return sorted(own, key=lambda about: (about.top, about.updated_at), reverse=True)

    def clear(self, key: Key) -> None:
        """Delete all chats of an app key."""
        self._delete(key.app_id, self.list(key.app_id, key.id))

    def clear_app(self, app_id: str) -> None:
        """Delete all chats of an app, whatever key they are of."""
        self._delete(app_id, self.list(app_id))

    def _delete(self, app_id: str, abouts: Iterable[About]) -> None:
        for about in abouts:
            # Another request may have been quicker.
            with suppress(ChatNotFound):
                self.at(Place(app_id, about.key_id, about.chat_id)).delete()
