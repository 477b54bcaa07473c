"""Searches beside changes: what goes is not quoted, and what is exchanged is found all old or all new."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from retrieval.additions import Replacement, join
from retrieval.errors import DatasetNotFound, QuotebaseError
from retrieval.library import Library, lock_directory
from retrieval.store.sqlite import SqliteStore
from retrieval.types import MAX_LIMIT, Collection, Record, RecordDraft, SearchMode, SearchRequest
from tests.doubles import HashEmbedder
from tests.retrieval.searching import DialReranker, add, ask, ids_of, new_collection, questions_of
from tests.retrieval.test_search import MODES


class MeanwhileStore(SqliteStore):
    """Somebody changes something just before, or just after, a search reads of the store what it found."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.before_reading: Callable[[], object] | None = None
        self.after_reading: Callable[[], object] | None = None

    def sources_of(self, passage_ids: Sequence[int]) -> dict[int, tuple[Record, str]]:
        self._call("before_reading")
        sources = super().sources_of(passage_ids)
        self._call("after_reading")
        return sources

    def _call(self, name: str) -> None:
        """Once."""
        meanwhile: Callable[[], object] | None = getattr(self, name)
        setattr(self, name, None)
        if meanwhile:
            meanwhile()


@pytest.fixture
def store(tmp_path: Path) -> MeanwhileStore:
    return MeanwhileStore(tmp_path / "quotebase.sqlite")


@pytest.fixture
def library(tmp_path: Path, store: MeanwhileStore) -> Iterator[Library]:
    lock = lock_directory(tmp_path)
    with Library(tmp_path, store, HashEmbedder(), lock, reranker=DialReranker()) as library:
        yield library


def versions(version: int, count: int = 20) -> list[RecordDraft]:
    """Every other record is cold, in the next version it is the others: who took the colder would mix the two."""
    return [
        RecordDraft(
            f"kettle {n}",
            f"version {version}",
            (f"{('a cold', 'warm')[(n + version) % 2]} kettle",),
            key=str(n),
        )
        for n in range(count)
    ]


def upsert(library: Library, collection: Collection, drafts: Sequence[RecordDraft]) -> None:
    plan = library.plan(collection, drafts, by_key=True)
    library.commit(collection, library.embed(plan, library.bound_dataset(collection.dataset_id)))


def replace(library: Library, collection: Collection, drafts: Sequence[RecordDraft]) -> None:
    """As an import in the mode of that name does: records go, and others come."""
    replacement = Replacement(library.store.known_records(collection.id), library.store.passages_of)
    dataset = library.bound_dataset(collection.dataset_id)
    plan = replacement.plan([RecordDraft(one.q, one.a, one.indexes) for one in drafts])
    prepared = library.embed(replacement.find_alike(library.cut(plan, dataset)), dataset)
    library.commit(collection, join([prepared], replacement.gone))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rerank", [False, True])
def test_a_record_that_goes_meanwhile_is_not_quoted(
    library: Library, store: MeanwhileStore, mode: SearchMode, rerank: bool
) -> None:
    collection = new_collection(library)
    gone, *kept = add(library, collection, "kettle", "kettle too", "another kettle")
    store.before_reading = lambda: library.delete_records(collection.dataset_id, [gone])
    result = ask(library, collection, mode=mode, rerank=rerank, explain=True)
    assert store.before_reading is None
    assert set(ids_of(result)) == set(kept)
    assert result.explanation
    assert {one.quote.record.id for one in result.explanation.decisions} == set(kept)


@pytest.mark.parametrize("mode", MODES)
def test_a_collection_that_goes_meanwhile_is_not_quoted(
    library: Library, store: MeanwhileStore, mode: SearchMode
) -> None:
    collection = new_collection(library)
    gone = library.store.create_collection(collection.dataset_id, "gone")
    add(library, gone, *(f"kettle {n}" for n in range(40)))
    kept = add(library, collection, "one more kettle")
    store.before_reading = lambda: library.delete_collection(gone.id)
    assert ids_of(ask(library, collection, mode=mode)) == kept


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("moment", ["before_reading", "after_reading"])
@pytest.mark.parametrize("exchange", [upsert, replace])
def test_an_exchange_amid_a_search_is_not_half_seen(
    library: Library,
    store: MeanwhileStore,
    mode: SearchMode,
    moment: str,
    exchange: Callable[[Library, Collection, Sequence[RecordDraft]], None],
) -> None:
    collection = new_collection(library)
    exchange(library, collection, versions(1))
    ask(library, collection, mode=mode)
    setattr(store, moment, lambda: exchange(library, collection, versions(2)))
    result = ask(library, collection, text="a cold kettle", mode=mode)
    assert getattr(store, moment) is None
    assert {quote.record.a for quote in result.quotes} in ({"version 1"}, {"version 2"})
    assert len(result.quotes) == 20
    again = ask(library, collection, text="a cold kettle", mode=mode)
    assert {quote.record.a for quote in again.quotes} == {"version 2"}


@pytest.mark.parametrize("mode", ["fullTextRecall", "mixedRecall"])
@pytest.mark.parametrize("exchange", [upsert, replace])
def test_searches_beside_exchanges_find_the_old_or_the_new(
    library: Library,
    mode: SearchMode,
    exchange: Callable[[Library, Collection, Sequence[RecordDraft]], None],
) -> None:
    collection = new_collection(library)
    exchange(library, collection, versions(0))
    request = SearchRequest("kettle version", (collection.dataset_id,), 0.0, MAX_LIMIT, mode=mode)
    seen: list[list[str]] = []
    is_over = threading.Event()
    has_searched = threading.Semaphore(0)

    def search() -> None:
        while not is_over.is_set():
            seen.append([quote.record.a for quote in library.search(request).quotes])
            has_searched.release()

    searching = [threading.Thread(target=search) for _ in range(3)]
    for thread in searching:
        thread.start()
    for version in range(1, 8):
        exchange(library, collection, versions(version))
        has_searched.acquire(timeout=60)
    is_over.set()
    for thread in searching:
        thread.join()
    assert {len(answers) for answers in seen} == {20}
    assert {len(set(answers)) for answers in seen} == {1}
    assert len({answers[0] for answers in seen}) > 1


@pytest.mark.parametrize("mode", MODES)
def test_what_was_added_is_found_by_the_next_search(library: Library, mode: SearchMode) -> None:
    """And what was deleted is not, whatever the background has done about it yet."""
    collection = new_collection(library)
    for number in range(12):
        (record_id,) = add(library, collection, f"kettle {number}")
        assert ids_of(ask(library, collection, text=f"kettle {number}", mode=mode))[0] == record_id
        if number % 3 == 0:
            library.delete_records(collection.dataset_id, [record_id])
            assert f"kettle {number}" not in questions_of(ask(library, collection, mode=mode))


def test_datasets_that_go_while_they_are_searched_are_not_found(library: Library, tmp_path: Path) -> None:
    problems: list[BaseException] = []

    def search_until_gone(collection: Collection, mode: SearchMode) -> None:
        try:
            while True:
                ask(library, collection, mode=mode)
        except DatasetNotFound:
            return
        except (QuotebaseError, OSError, ValueError) as error:
            problems.append(error)

    for number in range(12):
        collection = new_collection(library, f"d{number}")
        add(library, collection, *(f"kettle {n}" for n in range(20)))
        modes: tuple[SearchMode, ...] = ("fullTextRecall", "mixedRecall", "mixedRecall")
        threads = [threading.Thread(target=search_until_gone, args=(collection, mode)) for mode in modes]
        for thread in threads:
            thread.start()
        library.delete_dataset(collection.dataset_id)
        for thread in threads:
            thread.join()
    assert problems == []
    folders = [folder for name in ("indexes", "fulltext") for folder in (tmp_path / name).glob("*")]
    assert folders == []
