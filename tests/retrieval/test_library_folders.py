"""The library with folders, forbidden collections, changed records and deleted datasets."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from retrieval import cleaning
from retrieval.errors import (
    CollectionNotFound,
    DatasetNotFound,
    InvalidRequest,
    ModelMismatch,
    RecordNotFound,
    StoreUnavailable,
)
from retrieval.library import Library, lock_directory
from retrieval.store.sqlite import SqliteStore
from retrieval.types import AddResult, Collection, Dataset, Embeddings, RecordDraft, SearchRequest
from tests.contracts.stores import Place
from tests.doubles import DialEmbedder, HashEmbedder

TABLES = ("datasets", "collections", "records", "passages", "removals")


def found(library: Library, dataset: Dataset, text: str = "what?", similarity: float = 0.0) -> list[str]:
    request = SearchRequest(text, [dataset.id], similarity, limit=20_000)
    return [quote.record.q for quote in library.search(request).quotes]


def fill(library: Library, collection: Collection, *texts: str) -> tuple[str, ...]:
    return library.add_records(collection, [RecordDraft(text) for text in texts]).added


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """One in which every passage scores 0 at least."""
    with Library.open(tmp_path / "library", DialEmbedder()) as opened:
        yield opened


@pytest.fixture
def dataset(library: Library) -> Dataset:
    return library.create_dataset("manuals")


@pytest.fixture
def collection(library: Library, dataset: Dataset) -> Collection:
    return library.store.create_collection(dataset.id, "c")


class TestFolders:
    def test_datasets_lie_in_folders(self, library: Library) -> None:
        folder = library.create_dataset("Projects", is_folder=True, avatar="/a.png")
        dataset = library.create_dataset("faq", "intro", parent_id=folder.id)
        assert (folder.is_folder, folder.avatar, dataset.parent_id) == (True, "/a.png", folder.id)
        assert library.store.list_datasets() == [dataset]
        with pytest.raises(InvalidRequest, match="not empty"):
            library.delete_dataset(folder.id)
        library.delete_dataset(dataset.id)
        library.delete_dataset(folder.id)
        assert library.store.list_folders() == []

    def test_a_folder_is_not_searched_or_filled(self, library: Library, dataset: Dataset) -> None:
        folder = library.create_dataset("Projects", is_folder=True)
        inside = library.store.create_collection(dataset.id, "folder", kind="folder")
        with pytest.raises(InvalidRequest, match="'Projects' is a folder of datasets"):
            found(library, folder)
        with pytest.raises(InvalidRequest, match="'folder' is a folder and has no records"):
            library.add_records(inside, [RecordDraft("q")])
        assert library.verify().passages == {"manuals": 0}

    def test_a_collection_for_a_file_is_none_of_the_folders(self, library: Library, dataset: Dataset) -> None:
        folder = library.store.create_collection(dataset.id, "faq.csv", kind="folder")
        made = library.ensure_collection(dataset.id, "faq.csv")
        assert (made.kind, made.id != folder.id) == ("file", True)
        assert library.ensure_collection(dataset.id, "faq.csv") == made


class Tree:
    """outer / (a, inner / b), and c beside them, with a record each."""

    def __init__(self, library: Library, dataset: Dataset) -> None:
        create = library.store.create_collection
        self.outer = create(dataset.id, "outer", kind="folder")
        self.inner = create(dataset.id, "inner", parent_id=self.outer.id, kind="folder")
        self.a = create(dataset.id, "a", parent_id=self.outer.id)
        self.b = create(dataset.id, "b", parent_id=self.inner.id)
        self.c = create(dataset.id, "c")
        for one in (self.a, self.b, self.c):
            fill(library, one, one.name)


class TestTree:
    def test_a_folder_is_deleted_with_all_below(self, library: Library, dataset: Dataset) -> None:
        tree = Tree(library, dataset)
        assert sorted(found(library, dataset)) == ["a", "b", "c"]
        library.delete_collection(tree.inner.id)
        assert sorted(found(library, dataset)) == ["a", "c"]
        library.delete_collection(tree.outer.id)
        assert found(library, dataset) == ["c"]
        assert library.store.list_collections(dataset.id) == [tree.c]
        assert library.verify().is_clean
        with pytest.raises(CollectionNotFound):
            library.delete_collection(tree.a.id)

    def test_a_folder_is_forbidden_with_all_below(self, library: Library, dataset: Dataset) -> None:
        tree = Tree(library, dataset)
        library.set_forbid(tree.inner.id, True)
        assert sorted(found(library, dataset)) == ["a", "c"]
        library.set_forbid(tree.outer.id, True)
        assert found(library, dataset) == ["c"]
        library.set_forbid(tree.c.id, True)
        assert found(library, dataset) == []
        library.set_forbid(tree.outer.id, False)
        assert sorted(found(library, dataset)) == ["a", "b"]
        with pytest.raises(CollectionNotFound):
            library.set_forbid("0" * 24, True)


class TestUpdateRecord:
    def test_keeps_its_id_and_is_found_by_what_it_says_now(self, tmp_path: Path) -> None:
        with Library.open(tmp_path, DialEmbedder()) as library:
            dataset = library.create_dataset("d")
            collection = library.store.create_collection(dataset.id, "c")
            draft = RecordDraft("old @0.25", chunk_index=7, metadata={"row": 3})
            (record_id,) = library.add_records(collection, [draft]).added
            assert found(library, dataset, similarity=0.5) == []
            result = library.update_record(record_id, q="new @0.75")
            assert (result.updated, result.added, result.embedded) == ((record_id,), (), 1)
            assert found(library, dataset, similarity=0.75) == ["new @0.75"]
            record = library.store.get_record(record_id)
            assert (record.q, record.chunk_index, record.metadata) == ("new @0.75", 7, {"row": 3})
            assert library.store.count_records(dataset.id) == 1
            assert library.verify().is_clean

    def test_reads_only_texts_that_it_did_not_have(self, library: Library, collection: Collection) -> None:
        (record_id,) = library.add_records(collection, [RecordDraft("q", "a", ("i", "j"))]).added
        before = library.store.passages_of([record_id])[record_id]
        assert library.update_record(record_id, a="b").embedded == 1
        assert [one.text for one in library.store.passages_of([record_id])[record_id]] == ["q\nb", "i", "j"]
        assert library.update_record(record_id, indexes=["j", "k"]).embedded == 1
        after = library.store.passages_of([record_id])[record_id]
        assert [one.text for one in after] == ["q\nb", "j", "k"]
        assert min(one.id for one in after) > max(one.id for one in before)
        assert library.update_record(record_id, indexes=[]).embedded == 0
        assert library.store.get_record(record_id).text == "q\nb"
        assert library.update_record(record_id, a="").embedded == 1
        assert [one.text for one in library.store.passages_of([record_id])[record_id]] == ["q"]

    def test_windows_of_a_long_text_are_put_together_again(
        self, library: Library, collection: Collection
    ) -> None:
        sentences = range(library.embedder.max_tokens)
        long = "".join(f"Sentence {number} is here. " for number in sentences).strip()
        draft = RecordDraft("q", "a", (long, "short"), title="title", key="k")
        (record_id,) = library.add_records(collection, [draft]).added
        assert len(library.store.passages_of([record_id])[record_id]) > 3
        assert library.update_record(record_id, q="q") == AddResult(unchanged=1)
        library.update_record(record_id, q="q2")
        record = library.store.get_record(record_id)
        expected = RecordDraft("q2", "a", (long, "short"), title="title", key="k")
        assert library.store.find_record(collection.id, expected.content_hash) == record

    def test_nothing_new_changes_nothing(self, library: Library, collection: Collection) -> None:
        (record_id,) = library.add_records(collection, [RecordDraft("q", "a", ("i",))]).added
        last = library.store.last_sequence()
        for _ in range(2):
            assert library.update_record(record_id) == AddResult(unchanged=1)
            assert library.update_record(record_id, q="q", a="a", indexes=["i "]) == AddResult(unchanged=1)
        assert library.store.last_sequence() == last

    def test_what_another_record_says_is_refused(self, library: Library, collection: Collection) -> None:
        first, second = fill(library, collection, "first", "second")
        with pytest.raises(InvalidRequest, match=f"the record {first} of this collection says the same"):
            library.update_record(second, q="first")
        assert library.store.get_record(second).q == "second"
        other = library.store.create_collection(collection.dataset_id, "other")
        (elsewhere,) = fill(library, other, "third")
        assert library.update_record(elsewhere, q="first").updated == (elsewhere,)

    def test_unknown_and_empty(self, library: Library, collection: Collection) -> None:
        (record_id,) = fill(library, collection, "q")
        with pytest.raises(RecordNotFound):
            library.update_record("0" * 24, q="x")
        with pytest.raises(InvalidRequest, match="needs a q or an a"):
            library.update_record(record_id, q=" ")
        assert library.store.get_record(record_id).q == "q"

    def test_of_another_model(self, tmp_path: Path) -> None:
        with Library.open(tmp_path, HashEmbedder(64)) as library:
            dataset = library.create_dataset("d")
            (record_id,) = fill(library, library.ensure_collection(dataset.id, "c"), "q")
        with Library.open(tmp_path, HashEmbedder(32)) as library, pytest.raises(ModelMismatch):
            library.update_record(record_id, q="x")

    @pytest.mark.parametrize("change", ["delete", "change", "twin"])
    def test_what_happens_while_the_model_reads_is_not_undone(self, tmp_path: Path, change: str) -> None:
        embedder = InterruptedEmbedder()
        with Library.open(tmp_path, embedder) as library:
            dataset = library.create_dataset("d")
            collection = library.ensure_collection(dataset.id, "c")
            (record_id,) = library.add_records(collection, [RecordDraft("q", "a")]).added
            if change == "delete":
                embedder.meanwhile = lambda: library.delete_records(dataset.id, [record_id])
                with pytest.raises(RecordNotFound):
                    library.update_record(record_id, q="q2")
                assert library.store.count_records(dataset.id) == 0
            elif change == "change":
                embedder.meanwhile = lambda: library.update_record(record_id, a="a2")
                library.update_record(record_id, q="q2")
                assert library.store.get_record(record_id).text == "q2\na2"
            else:
                embedder.meanwhile = lambda: library.add_records(collection, [RecordDraft("q2", "a")])
                with pytest.raises(InvalidRequest, match="says the same already"):
                    library.update_record(record_id, q="q2")
                assert library.store.get_record(record_id).q == "q"
            assert library.verify().is_clean


class InterruptedEmbedder(HashEmbedder):
    """One during whose reading something else happens, once."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        return super().embed_passages(texts)


class WatchedStore(SqliteStore):
    """A store that counts the steps of purges, and can hold them up or fail them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.steps = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.was_asked = threading.Event()
        self.is_cut_off = False

    def purge(self, limit: int) -> bool:
        if limit:
            self.was_asked.set()
            self.may_go_on.wait(30)
            self.steps += 1
            if self.is_cut_off:
                raise StoreUnavailable("the database is gone")
        return super().purge(limit)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "STEP", 10)


def open_watched(tmp_path: Path) -> tuple[Library, WatchedStore]:
    store = WatchedStore(tmp_path / "quotebase.sqlite")
    return Library(tmp_path, store, HashEmbedder(), lock_directory(tmp_path)), store


class TestCleaning:
    def test_settling_waits_until_a_deleted_dataset_is_gone(self, tmp_path: Path) -> None:
        place = Place(tmp_path)
        with Library.open(tmp_path, DialEmbedder()) as library:
            dataset = library.create_dataset("gone")
            kept = library.create_dataset("kept")
            for one in (dataset, kept):
                fill(library, library.ensure_collection(one.id, "c"), *map(str, range(55)))
            library.delete_dataset(dataset.id)
            with pytest.raises(DatasetNotFound):
                found(library, dataset)
            assert library.create_dataset("gone").id != dataset.id
            library.settle()
            assert [place.counts()[table] for table in TABLES] == [2, 1, 55, 55, 0]
            assert len(found(library, kept)) == 55
            assert library.verify().is_clean

    def test_writers_go_on_between_the_steps(self, tmp_path: Path) -> None:
        library, store = open_watched(tmp_path)
        with library:
            dataset, kept = library.create_dataset("gone"), library.create_dataset("kept")
            fill(library, library.ensure_collection(dataset.id, "c"), *map(str, range(55)))
            collection = library.ensure_collection(kept.id, "c")
            store.may_go_on.clear()
            library.delete_dataset(dataset.id)
            assert store.was_asked.wait(30)
            assert len(fill(library, collection, "written meanwhile")) == 1
            store.may_go_on.set()
            library.settle()
            # Six of records, one of the collection, one of the dataset itself.
            assert store.steps == 8

    def test_closing_ends_it_and_opening_goes_on(self, tmp_path: Path) -> None:
        place = Place(tmp_path)
        library, store = open_watched(tmp_path)
        with library:
            dataset = library.create_dataset("gone")
            fill(library, library.ensure_collection(dataset.id, "c"), *map(str, range(55)))
            store.may_go_on.clear()
            library.delete_dataset(dataset.id)
            assert store.was_asked.wait(30)
            closing = threading.Thread(target=library.close)
            closing.start()
            store.may_go_on.set()
            closing.join(30)
            assert not closing.is_alive()
        assert store.steps == 1
        assert place.counts()["records"] == 45
        with Library.open(tmp_path, HashEmbedder()) as library:
            library.settle()
            assert place.counts() == dict.fromkeys(TABLES, 0)

    def test_nothing_to_clean_starts_no_thread(self, library: Library) -> None:
        folder = library.create_dataset("folder", is_folder=True)
        library.delete_dataset(folder.id)
        assert "quotebase-cleaning" not in [thread.name for thread in threading.enumerate()]

    def test_a_store_that_fails_is_left_for_later(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        place = Place(tmp_path)
        library, store = open_watched(tmp_path)
        with library:
            first = library.create_dataset("first")
            fill(library, library.ensure_collection(first.id, "c"), *map(str, range(15)))
            store.is_cut_off = True
            library.delete_dataset(first.id)
            library.settle()
            assert "left behind stays until the next start: the database is gone" in caplog.text
            assert place.counts()["records"] == 15
            store.is_cut_off = False
            library.delete_dataset(library.create_dataset("second").id)
            library.settle()
            assert place.counts() == dict.fromkeys(TABLES, 0)
