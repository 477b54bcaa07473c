"""When keys were last used: noted in memory by each request, written once a minute."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

from retrieval.errors import StoreUnavailable
from retrieval.store import Store
from retrieval.types import now

logger = logging.getLogger(__name__)

KIND = "key use"

SAVE_S = 60.0
"""Between two writes."""


class KeyUses:
    """Last uses by key id, as ISO 8601. Safe under threads.

    They are documents of their own, so that none of them brings back a key that was revoked meanwhile.

    Args:
        known_ids: the ids of the keys there are; uses of others are not written.
    """

    def __init__(self, store: Store, known_ids: Callable[[], set[str]]) -> None:
        self._store = store
        self._known_ids = known_ids
        self._lock = Lock()
        self._noted: dict[str, str] = {}

    def note(self, key_id: str) -> None:
        """The key is used now; nothing is written."""
        moment = now().isoformat()
        with self._lock:
            self._noted[key_id] = moment

    def last(self) -> dict[str, str]:
        """The last use of each key that was used; of another process's keys, as it last wrote them."""
        stored = {document.id: str(document.body["at"]) for document in self._store.list_documents(KIND)}
        with self._lock:
            return stored | self._noted

    def forget(self, key_id: str) -> None:
        with self._lock:
            self._noted.pop(key_id, None)
        self._store.delete_document(KIND, key_id)

    def save(self) -> None:
        """Write what was noted since the last time. Raises StoreUnavailable, and keeps it for the next."""
        with self._lock:
            noted = dict(self._noted)
        for key_id in noted.keys() & self._known_ids():
            self._store.put_document(KIND, key_id, {"at": noted[key_id]})
        with self._lock:
            self._noted = {key: at for key, at in self._noted.items() if noted.get(key) != at}

    @contextmanager
    def saving(self, every_s: float = SAVE_S) -> Iterator[None]:
        """Write them in the background while the body runs, and at its end."""
        is_over = Event()
        thread = Thread(target=self._save_until, args=(is_over, every_s), name="key uses")
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _save_until(self, is_over: Event, every_s: float) -> None:
        while not is_over.wait(every_s):
            self._try_to_save()
        self._try_to_save()

    def _try_to_save(self) -> None:
        try:
            self.save()
        except StoreUnavailable as error:
            logger.warning("the last uses of keys could not be written: %s", error)
