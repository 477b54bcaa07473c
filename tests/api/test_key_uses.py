"""When keys were last used, and when that is written."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from api.key_uses import KIND, KeyUses
from api.keys import Keys
from api.settings import Settings
from api.wiring import open_documents, open_service
from retrieval.errors import StoreUnavailable
from retrieval.library import Library
from retrieval.store import Store
from retrieval.types import Document
from tests.openai_server import OpenAIServer


def test_a_stop_writes_the_last_uses_for_the_next_start(tmp_path: Path, endpoint: OpenAIServer) -> None:
    settings = Settings(
        data_dir=tmp_path / "data", embedding_base_url=endpoint.url, embedding_model="scripted"
    )
    with open_service(settings) as service:
        key, _ = service.keys.create("admin")
        unused, _ = service.keys.create("admin")
        service.keys.uses.note(key.id)
        noted = service.keys.uses.last()
        assert service.library.store.list_documents(KIND) == []

    with open_documents(settings) as store:
        assert Keys(store).uses.last() == noted
    assert noted.keys() == {key.id}
    assert unused.id not in noted


class CountingStore:
    """A store's documents of uses, with the writes counted; ``broken`` refuses them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.written: list[str] = []
        self.broken = False

    def put_document(self, kind: str, document_id: str, body: Any, group: str = "") -> Document:
        if self.broken:
            raise StoreUnavailable("the disk is full")
        self.written.append(document_id)
        return self._store.put_document(kind, document_id, body, group)

    def list_documents(self, kind: str) -> list[Document]:
        return self._store.list_documents(kind)


@pytest.fixture
def counting(library: Library) -> CountingStore:
    return CountingStore(library.store)


@pytest.fixture
def uses(counting: CountingStore) -> KeyUses:
    """Of the keys ``a`` and ``b``."""
    return KeyUses(counting, lambda: {"a", "b"})  # type: ignore[arg-type]


def test_many_uses_are_one_write_a_key(uses: KeyUses, counting: CountingStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(uses.note, ["a", "b"] * 200))
    assert counting.written == []

    uses.save()
    uses.save()

    assert sorted(counting.written) == ["a", "b"]


def test_uses_are_written_in_the_background(uses: KeyUses, counting: CountingStore) -> None:
    with uses.saving(every_s=0.01):
        uses.note("a")
        until = time.monotonic() + 10
        while not counting.written and time.monotonic() < until:
            time.sleep(0.005)
        assert counting.written == ["a"]
        uses.note("b")
    assert sorted(counting.written) == ["a", "b"]
    assert "key uses" not in [thread.name for thread in threading.enumerate()]


def test_a_use_of_a_key_that_is_gone_is_not_written(uses: KeyUses, counting: CountingStore) -> None:
    uses.note("revoked beside the server")

    uses.save()

    assert counting.written == []
    assert uses.last() == {}


def test_a_use_that_could_not_be_written_is_kept(
    uses: KeyUses, counting: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    uses.note("a")
    noted = uses.last()
    counting.broken = True
    with uses.saving():
        pass
    assert "the last uses of keys could not be written: the disk is full" in caplog.text
    assert uses.last() == noted

    counting.broken = False
    uses.save()

    assert counting.written == ["a"]
    assert uses.last() == noted
