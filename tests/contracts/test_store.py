"""What every store has to do, on SQLite and on MongoDB over the wire."""

import itertools
import secrets
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.errors import CollectionNotFound, DatasetNotFound, NameTaken, RecordNotFound
from retrieval.store import KnownRecord, Store, drain
from retrieval.types import (
    Collection,
    Dataset,
    Document,
    EmbeddedDraft,
    ModelBinding,
    Passage,
    PassageDraft,
    RecordDraft,
    now,
)
from tests.contracts.stores import DIM, MODEL, Index, Place, embedded, embedding_of, embeddings_of, rows_of

UNKNOWN = "0" * 24

ODD_TEXTS = (
    "a\0b",
    "\0",
    'it\'s "quoted" `twice`',
    "back\\slash \\0 \\u0000",
    "line one\nline two\r\n\ttabbed\u2028separated",
    "emoji 🧑‍🚀 and 𝔣𝔯𝔞𝔨𝔱𝔲𝔯",
    "中文问题",
    "e\u0301 is not \u00e9",
    "\u00e9",
    "$set",
    "{\"$gt\": ''}",
    "[1, 2]",
    "null",
    "12345",
    "65f0c0ffee65f0c0ffee65f0",
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    "2024-01-01 export.csv",
    "' OR 1=1 --",
    "%_*?",
    " ",
    "x" * 100_000,
)

ODD_NAMES = tuple(text for text in ODD_TEXTS if "\0" not in text)


@pytest.fixture
def dataset(store: Store) -> Dataset:
    return store.create_dataset("manuals", MODEL)


@pytest.fixture
def collection(store: Store, dataset: Dataset) -> Collection:
    return store.create_collection(dataset.id, "printer.csv")


class TestDatasets:
    def test_is_read_as_it_was_created(self, store: Store) -> None:
        before = now()
        model = ModelBinding("org/model é", 384, "0123456789abcdef")
        dataset = store.create_dataset("it's\n中文", model, intro="in\0tro")
        assert (dataset.name, dataset.model, dataset.intro) == ("it's\n中文", model, "in\0tro")
        assert len(dataset.id) == 24
        assert before <= dataset.created_at == dataset.updated_at <= now()
        assert store.get_dataset(dataset.id) == dataset
        assert store.get_dataset(dataset.id).created_at.utcoffset() == timedelta(0)
        assert store.find_dataset("it's\n中文") == dataset

    def test_are_listed_oldest_first(self, store: Store) -> None:
        datasets = [store.create_dataset(name, MODEL) for name in ("c", "a", "b", "A")]
        assert store.list_datasets() == datasets
        store.delete_dataset(datasets[1].id)
        again = store.create_dataset("a", MODEL)
        assert store.list_datasets() == [datasets[0], datasets[2], datasets[3], again]

    def test_names_are_unique(self, store: Store) -> None:
        first = store.create_dataset("manuals", MODEL)
        with pytest.raises(NameTaken) as raised:
            store.create_dataset("manuals", replace(MODEL, dim=8))
        assert raised.value.message == "there is a dataset named 'manuals' already: choose another name"
        assert store.list_datasets() == [first]

    def test_any_name_is_found_exactly(self, store: Store) -> None:
        datasets = {
            name: store.create_dataset(name, MODEL) for text in ODD_NAMES for name in (f"{text}x", text)
        }
        assert {name: store.find_dataset(name) for name in datasets} == datasets
        for name in ODD_NAMES:
            with pytest.raises(NameTaken):
                store.create_dataset(name, MODEL)
        assert store.list_datasets() == list(datasets.values())

    def test_unknown(self, store: Store) -> None:
        assert store.list_datasets() == []
        assert store.find_dataset("manuals") is None
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.get_dataset(UNKNOWN)
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.delete_dataset(UNKNOWN)

    def test_delete_takes_everything_in_it_and_nothing_else(self, store: Store) -> None:
        gone, kept = store.create_dataset("gone", MODEL), store.create_dataset("kept", MODEL)
        collections = [store.create_collection(dataset.id, "c") for dataset in (gone, kept)]
        records = [
            store.add_records(collection, [embedded("q", "a", "i")]).records[0] for collection in collections
        ]
        store.delete_records([store.add_records(collections[0], [embedded("removed")]).records[0].id])
        store.delete_dataset(gone.id)

        assert store.list_datasets() == [kept]
        assert store.find_dataset("gone") is None
        for unknown in (store.get_dataset, store.delete_dataset, store.list_collections):
            with pytest.raises(DatasetNotFound):
                unknown(gone.id)
        with pytest.raises(DatasetNotFound):
            store.changes_after(gone.id, 0, 10)
        with pytest.raises(CollectionNotFound):
            store.get_collection(collections[0].id)
        with pytest.raises(RecordNotFound):
            store.get_record(records[0].id)
        assert (store.count_records(gone.id), store.count_passages(gone.id)) == (0, 0)
        assert (store.count_records(kept.id), store.count_passages(kept.id)) == (1, 2)
        assert store.get_record(records[1].id) == records[1]
        assert store.passage_ids_in(collections[0].id) == []
        assert store.create_dataset("gone", MODEL) == store.list_datasets()[1]


class TestCollections:
    def test_is_read_as_it_was_created(self, store: Store, dataset: Dataset) -> None:
        before = now()
        collection = store.create_collection(dataset.id, "a\0b 'c'", ["tag", "zwei 2", "tag"])
        assert (collection.dataset_id, collection.name) == (dataset.id, "a\0b 'c'")
        assert (collection.tags, collection.forbid) == (("tag", "zwei 2", "tag"), False)
        assert before <= collection.created_at == collection.updated_at <= now()
        assert store.get_collection(collection.id) == collection
        assert store.list_collections(dataset.id) == [collection]

    def test_are_listed_oldest_first_and_may_share_a_name(self, store: Store, dataset: Dataset) -> None:
        other = store.create_dataset("other", MODEL)
        names = ("c", "a", "b", "a")
        collections = [store.create_collection(dataset.id, name) for name in names]
        elsewhere = store.create_collection(other.id, "b")
        assert store.list_collections(dataset.id) == collections
        assert store.list_collections(other.id) == [elsewhere]
        assert store.find_collection(dataset.id, "a") == collections[1]
        assert store.find_collection(other.id, "b") == elsewhere
        assert store.find_collection(other.id, "a") is None
        keys = [collection.key for collection in (*collections, elsewhere)]
        assert keys == [1, 2, 3, 4, 5]

    def test_any_name_is_found_exactly(self, store: Store, dataset: Dataset) -> None:
        names = [name for text in ODD_NAMES for name in (f"{text}x", text)]
        collections = {name: store.create_collection(dataset.id, name) for name in names}
        assert {name: store.find_collection(dataset.id, name) for name in names} == collections

    def test_unknown(self, store: Store, dataset: Dataset) -> None:
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.create_collection(UNKNOWN, "c")
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.list_collections(UNKNOWN)
        for unknown in (store.get_collection, store.delete_collection):
            with pytest.raises(CollectionNotFound, match=UNKNOWN):
                unknown(UNKNOWN)
        with pytest.raises(CollectionNotFound, match=UNKNOWN):
            store.known_hashes(UNKNOWN, [b"x" * 16])
        assert store.list_collections(dataset.id) == []
        assert store.find_collection(UNKNOWN, "c") is None
        assert store.passage_ids_in(UNKNOWN) == []
        assert store.list_records(UNKNOWN) == []

    def test_delete_takes_its_records_and_no_others(self, store: Store, dataset: Dataset) -> None:
        gone, kept = (store.create_collection(dataset.id, name) for name in ("gone", "kept"))
        lost = store.add_records(gone, [embedded("a", "", "i"), embedded("b")])
        stays = store.add_records(kept, [embedded("a"), embedded("c")])
        store.delete_collection(gone.id)

        with pytest.raises(CollectionNotFound):
            store.get_collection(gone.id)
        with pytest.raises(CollectionNotFound):
            store.delete_collection(gone.id)
        with pytest.raises(CollectionNotFound):
            store.add_records(gone, [embedded("z")])
        with pytest.raises(RecordNotFound):
            store.get_record(lost.records[0].id)
        assert store.list_collections(dataset.id) == [kept]
        assert store.list_records(kept.id) == list(stays.records)
        assert (store.count_records(dataset.id), store.count_passages(dataset.id)) == (2, 2)
        assert store.sources_of(lost.passages.ids.tolist()) == {}
        changes = store.changes_after(dataset.id, int(stays.passages.ids[-1]), 10)
        assert changes.removed.tolist() == lost.passages.ids.tolist()

    def test_one_without_records_is_deleted(self, store: Store, collection: Collection) -> None:
        store.delete_collection(collection.id)
        assert store.list_collections(collection.dataset_id) == []
        assert store.last_sequence() == collection.key

    def test_keys_of_the_forbidden(self, place: Place, store: Store, dataset: Dataset) -> None:
        other = store.create_dataset("other", MODEL)
        a, b, c = (store.create_collection(dataset.id, name) for name in "abc")
        elsewhere = store.create_collection(other.id, "a")
        assert store.forbidden_keys(dataset.id) == frozenset()
        place.forbid(a.id)
        place.forbid(c.id)
        assert store.forbidden_keys(dataset.id) == {a.key, c.key}
        assert isinstance(store.forbidden_keys(dataset.id), frozenset)
        assert store.forbidden_keys(other.id) == store.forbidden_keys(UNKNOWN) == frozenset()
        assert store.list_collections(dataset.id) == [replace(a, forbid=True), b, replace(c, forbid=True)]
        place.forbid(elsewhere.id)
        assert store.forbidden_keys(other.id) == {elsewhere.key}
        assert store.forbidden_keys(dataset.id) == {a.key, c.key}
        place.forbid(a.id, is_forbidden=False)
        assert store.forbidden_keys(dataset.id) == {c.key}
        store.delete_collection(c.id)
        assert store.forbidden_keys(dataset.id) == frozenset()
        store.delete_dataset(other.id)
        assert store.forbidden_keys(other.id) == frozenset()

    def test_the_forbidden_are_so_for_every_owner(
        self, place: Place, store: Store, collection: Collection
    ) -> None:
        place.forbid(collection.id)
        store.close()
        assert place.open().forbidden_keys(collection.dataset_id) == {collection.key}


class TestAdding:
    def test_returns_what_is_stored(self, store: Store, collection: Collection) -> None:
        before = now()
        drafts = [
            embedded("q1", "a1", "i1", "i2", chunk_index=3, tokens=11),
            embedded("q2", tokens=5),
            embedded("q3", "a3", "q3\na3", "i1", "i1"),
        ]
        stored = store.add_records(collection, drafts)

        assert [(r.q, r.a, r.chunk_index, r.tokens) for r in stored.records] == [
            ("q1", "a1", 3, 11),
            ("q2", "", 0, 5),
            ("q3", "a3", 0, 7),
        ]
        for record in stored.records:
            assert (record.dataset_id, record.collection_id) == (collection.dataset_id, collection.id)
            assert before <= record.updated_at <= now()
            assert store.get_record(record.id) == record
        assert store.list_records(collection.id) == list(stored.records)
        # The collection took number 1.
        assert stored.passages.ids.tolist() == [2, 3, 4, 5, 6, 7]
        assert stored.passages.collection_keys.tolist() == [collection.key] * 6
        assert stored.passages.embeddings.dtype == np.float16
        texts = ["q1\na1", "i1", "i2", "q2", "q3\na3", "i1"]
        assert stored.passages.embeddings.tobytes() == b"".join(map(embedding_of, texts))
        first, second, third = (record.id for record in stored.records)
        assert store.passages_of([first, second, third]) == {
            first: (Passage(2, "q1\na1", True), Passage(3, "i1", False), Passage(4, "i2", False)),
            second: (Passage(5, "q2", True),),
            third: (Passage(6, "q3\na3", True), Passage(7, "i1", False)),
        }
        assert rows_of(store.changes_after(collection.dataset_id, 0, 100).added) == rows_of(stored.passages)
        assert store.last_sequence() == 7

    def test_keeps_any_text(self, store: Store, collection: Collection) -> None:
        drafts = [
            d for text in ODD_TEXTS for d in (embedded(text), embedded("q", text), embedded("q", "a", text))
        ]
        stored = store.add_records(collection, drafts)
        assert len(stored.records) == len(drafts)
        assert store.list_records(collection.id) == list(stored.records)
        passages = store.passages_of([record.id for record in stored.records])
        for record, item in zip(stored.records, drafts, strict=True):
            assert (record.q, record.a) == (item.draft.q, item.draft.a)
            assert tuple(passage.text for passage in passages[record.id]) == item.draft.texts
        again = store.add_records(collection, drafts)
        assert (again.records, len(again.passages)) == ((), 0)

    def test_each_content_once_in_order(self, store: Store, collection: Collection) -> None:
        drafts = [embedded(q) for q in ("b", "a", "b", "c", "a")]
        stored = store.add_records(collection, drafts)
        assert [record.q for record in stored.records] == ["b", "a", "c"]
        assert stored.passages.ids.tolist() == [2, 3, 4]
        more = store.add_records(collection, [embedded(q) for q in ("d", "c", "e", "d", "b")])
        assert [record.q for record in more.records] == ["d", "e"]
        assert more.passages.ids.tolist() == [5, 6]
        assert [record.q for record in store.list_records(collection.id)] == ["b", "a", "c", "d", "e"]

    def test_repeats_do_not_shift_passages_and_embeddings(self, store: Store, collection: Collection) -> None:
        """Records come in the order in which their contents were first met, each with its own passages."""
        a, b, c = embedded("a", "", "a1", "a2"), embedded("b"), embedded("c", "", "a1")
        stored = store.add_records(collection, [b, a, b, a, c, b, c])
        assert [record.q for record in stored.records] == ["b", "a", "c"]
        assert stored.passages.ids.tolist() == [2, 3, 4, 5, 6, 7]
        texts = ["b", "a", "a1", "a2", "c", "a1"]
        assert stored.passages.embeddings.tobytes() == b"".join(map(embedding_of, texts))
        passages = store.passages_of([record.id for record in stored.records])
        assert [[(one.id, one.text) for one in passages[record.id]] for record in stored.records] == [
            [(2, "b")],
            [(3, "a"), (4, "a1"), (5, "a2")],
            [(6, "c"), (7, "a1")],
        ]
        d = embedded("d", "", "d1")
        more = store.add_records(collection, [c, d, a, d, embedded("e"), d])
        assert [record.q for record in more.records] == ["d", "e"]
        assert more.passages.ids.tolist() == [8, 9, 10]
        assert more.passages.embeddings.tobytes() == b"".join(map(embedding_of, ["d", "d1", "e"]))
        changes = store.changes_after(collection.dataset_id, 0, 100)
        assert rows_of(changes.added) == rows_of(stored.passages) | rows_of(more.passages)

    def test_of_equal_contents_the_first_counts(self, store: Store, collection: Collection) -> None:
        stored = store.add_records(collection, [embedded("q", chunk_index=5), embedded("q", chunk_index=6)])
        store.add_records(collection, [embedded("q", chunk_index=7)])
        assert [record.chunk_index for record in store.list_records(collection.id)] == [5]
        assert store.list_records(collection.id) == list(stored.records)

    def test_content_is_q_a_and_indexes(self, store: Store, collection: Collection) -> None:
        drafts = [
            embedded("q"),
            embedded("q", "a"),
            embedded("q", "a", "i"),
            embedded("q", "", "i"),
            embedded("q\na"),
        ]
        assert len(store.add_records(collection, drafts).records) == 5

    def test_another_collection_has_its_own(self, store: Store, dataset: Dataset) -> None:
        for name in ("one", "two"):
            assert (
                len(store.add_records(store.create_collection(dataset.id, name), [embedded("q")]).records)
                == 1
            )
        assert store.count_records(dataset.id) == 2

    def test_nothing(self, store: Store, collection: Collection) -> None:
        stored = store.add_records(collection, [])
        assert (stored.records, stored.passages.ids.tolist()) == ((), [])
        known = [embedded("q")]
        store.add_records(collection, known)
        stored = store.add_records(collection, known)
        assert stored.records == ()
        assert stored.passages.embeddings.shape == (0, DIM)
        assert store.last_sequence() == 2

    def test_more_than_one_query_or_insert_takes(self, store: Store, collection: Collection) -> None:
        drafts = [embedded(f"q{n}") for n in range(1100)]
        stored = store.add_records(collection, drafts)
        passage_ids = list(range(2, 1102))
        assert stored.passages.ids.tolist() == store.passage_ids_in(collection.id) == passage_ids
        assert store.list_records(collection.id, limit=2000) == list(stored.records)
        assert store.sources_of(passage_ids) == {
            passage_id: (record, collection.name)
            for passage_id, record in zip(passage_ids, stored.records, strict=True)
        }
        assert Index().catch_up(store, collection.dataset_id).passages == rows_of(stored.passages)

        hashes = [item.draft.content_hash for item in drafts]
        unknown = [RecordDraft(f"r{n}").content_hash for n in range(1100)]
        assert store.known_hashes(collection.id, [*unknown, *hashes]) == set(hashes)
        assert store.known_hashes(collection.id, set(unknown)) == set()

        assert store.delete_records([record.id for record in stored.records[:1050]]) == passage_ids[:1050]
        assert store.list_records(collection.id) == list(stored.records[1050:])
        assert store.known_hashes(collection.id, hashes) == set(hashes[1050:])

    def test_a_draft_that_cannot_be_stored_leaves_nothing(self, store: Store, collection: Collection) -> None:
        broken = replace(embedded("q", "a", "i"), embeddings=embedded("q").embeddings)
        with pytest.raises(ValueError, match="zip"):
            store.add_records(collection, [embedded("a"), broken, embedded("b")])
        assert store.list_records(collection.id) == []
        assert (store.count_passages(collection.dataset_id), store.repair()) == (0, 0)
        assert [r.q for r in store.add_records(collection, [embedded("a")]).records] == ["a"]

    def test_passage_ids_are_never_reused(self, store: Store, collection: Collection) -> None:
        seen: list[int] = []
        for _ in range(3):
            stored = store.add_records(collection, [embedded("q", "", "i"), embedded("r")])
            assert stored.passages.ids.tolist() > seen[-1:]
            seen += stored.passages.ids.tolist()
            store.delete_records([record.id for record in stored.records])
        other = store.create_collection(collection.dataset_id, "other")
        seen += store.add_records(other, [embedded("q")]).passages.ids.tolist()
        store.delete_collection(other.id)
        fresh = store.create_dataset("fresh", MODEL)
        seen += store.add_records(
            store.create_collection(fresh.id, "c"), [embedded("q")]
        ).passages.ids.tolist()
        assert seen == sorted(set(seen))

    def test_from_eight_threads(self, store: Store, collection: Collection) -> None:
        def add(worker: int) -> None:
            for batch in range(5):
                own = [embedded(f"own {worker} {batch} {n}", "", "i") for n in range(4)]
                store.add_records(collection, [*own, embedded(f"shared {batch}")])

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(add, range(8)))
        records = store.list_records(collection.id)
        own = {f"own {worker} {batch} {n}" for worker in range(8) for batch in range(5) for n in range(4)}
        assert sorted(record.q for record in records) == sorted(
            own | {f"shared {batch}" for batch in range(5)}
        )
        passage_ids = [p.id for ps in store.passages_of([r.id for r in records]).values() for p in ps]
        assert len(set(passage_ids)) == len(passage_ids) == 2 * 160 + 5
        assert set(Index().catch_up(store, collection.dataset_id, 7).passages) == set(passage_ids)


class TestReading:
    def test_known_hashes(self, store: Store, dataset: Dataset) -> None:
        one, two = (store.create_collection(dataset.id, name) for name in ("one", "two"))
        drafts = [embedded("a"), embedded("b", "", "i")]
        store.add_records(one, drafts)
        a, b = (item.draft.content_hash for item in drafts)
        c = RecordDraft("b").content_hash
        assert store.known_hashes(one.id, [c, b, a, b]) == {a, b}
        assert store.known_hashes(one.id, {c}) == set()
        assert store.known_hashes(one.id, []) == set()
        assert store.known_hashes(two.id, [a, b, c]) == set()

    def test_records_in_pages(self, store: Store, dataset: Dataset) -> None:
        one, two = (store.create_collection(dataset.id, name) for name in ("one", "two"))
        for n in range(11):
            store.add_records(one, [embedded(f"q{n}")])
            store.add_records(two, [embedded(f"q{n}")])
        pages = [[record.q for record in page] for page in store.record_pages(one.id, 4)]
        assert pages == [["q0", "q1", "q2", "q3"], ["q4", "q5", "q6", "q7"], ["q8", "q9", "q10"]]
        assert [len(page) for page in store.record_pages(one.id, 11)] == [11]
        assert [record.q for record in store.list_records(one.id, limit=2)] == ["q0", "q1"]
        assert store.list_records(one.id, limit=0) == []
        assert list(store.record_pages(UNKNOWN, 4)) == []

    def test_pages_of_records_that_change_meanwhile(self, store: Store, collection: Collection) -> None:
        stored = store.add_records(collection, [embedded(f"q{n}") for n in range(12)]).records
        pages = store.record_pages(collection.id, 4)
        assert next(pages) == list(stored[:4])
        # The last of the page, one before it, one after it.
        store.delete_records([stored[n].id for n in (3, 0, 5)])
        assert next(pages) == [stored[n] for n in (4, 6, 7, 8)]
        store.delete_records([record.id for record in stored[:9]])
        replacing = replace(embedded("q10 again"), record_id=stored[10].id)
        store.add_records(collection, [embedded("new"), replacing])
        assert [[record.q for record in page] for page in pages] == [["q9", "q11", "new", "q10 again"]]

    def test_pages_end_when_all_that_was_read_is_gone(self, store: Store, collection: Collection) -> None:
        stored = store.add_records(collection, [embedded(f"q{n}") for n in range(4)]).records
        pages = store.record_pages(collection.id, 2)
        assert next(pages) + next(pages) == list(stored)
        store.delete_records([record.id for record in stored])
        assert list(pages) == []

    def test_what_is_kept_with_a_record_comes_back(self, store: Store, collection: Collection) -> None:
        draft = RecordDraft("q", "a", ("i",), 3, "k", "Guide", {"tags": ["x", "y"], "page": 7})
        passages = (
            PassageDraft("Guide\nq", True),
            PassageDraft("Guide\na", True, 2),
            PassageDraft("Guide\ni", False),
        )
        embeddings = embeddings_of([passage.text for passage in passages])
        stored = store.add_records(collection, [EmbeddedDraft(draft, 5, passages, embeddings)])
        (record,) = store.list_records(collection.id)
        assert (record,) == stored.records
        assert (record.key, record.title, record.metadata, record.tokens) == ("k", "Guide", draft.metadata, 5)
        found = store.passages_of([record.id])[record.id]
        assert [(one.text, one.is_default, one.start) for one in found] == [
            (one.text, one.is_default, one.start) for one in passages
        ]
        known = KnownRecord(record.id, "k", draft.content_hash, draft.metadata)
        assert store.known_records(collection.id) == [known]
        rows = store.embeddings_of([record.id, UNKNOWN])
        assert {text: row.tobytes() for text, row in rows.items()} == {
            passage.text: row.tobytes() for passage, row in zip(passages, embeddings, strict=True)
        }

    def test_records_are_known_by_their_keys(self, store: Store, dataset: Dataset) -> None:
        one, two = store.create_collection(dataset.id, "one"), store.create_collection(dataset.id, "two")
        keys = ["k", "", "2026-01-01", "k", "k\0k"]
        drafts = [
            replace(embedded(f"q{n}"), draft=RecordDraft(f"q{n}", key=key)) for n, key in enumerate(keys)
        ]
        stored = store.add_records(one, drafts)
        store.add_records(two, drafts[:1])
        ids = [record.id for record in stored.records]
        assert [known.id for known in store.known_records(one.id)] == ids
        assert [known.id for known in store.known_records(one.id, ["k", "no", "k"])] == [ids[0], ids[3]]
        assert [known.id for known in store.known_records(one.id, ["2026-01-01"])] == [ids[2]]
        assert [known.id for known in store.known_records(one.id, ["k\0k"])] == [ids[4]]
        assert store.known_records(one.id, []) == []
        with pytest.raises(CollectionNotFound):
            store.known_records(UNKNOWN)

    def test_records_are_exchanged_in_one_step(self, store: Store, dataset: Dataset) -> None:
        one, two = store.create_collection(dataset.id, "one"), store.create_collection(dataset.id, "two")
        stored = store.add_records(one, [embedded(q, "", "i") for q in "abc"])
        (other,) = store.add_records(two, [embedded("o")]).records
        a, b, c = stored.records
        index = Index().catch_up(store, dataset.id)
        # What a record that goes says is not there any more, even for a draft of the same step.
        changed = [
            replace(embedded("a", "2"), record_id=a.id),
            embedded("b", "", "i"),
            embedded("c", "", "i"),
        ]
        result = store.add_records(one, changed, gone=[b.id, other.id, UNKNOWN])
        assert [record.q for record in result.records] == ["a", "b"]
        assert result.records[0].id == a.id
        assert result.records[1].id != b.id
        assert sorted(result.removed.tolist()) == stored.passages.ids[:4].tolist()
        assert sorted(record.id for record in store.list_records(one.id)) == sorted(
            [a.id, c.id, result.records[1].id]
        )
        assert store.get_record(a.id).a == "2"
        assert store.list_records(two.id) == [other]
        assert store.sources_of(stored.passages.ids[:4].tolist()) == {}
        assert index.catch_up(store, dataset.id).passages == Index().catch_up(store, dataset.id).passages
        assert sorted(index.passages) == sorted(
            [*store.passage_ids_in(one.id), *store.passage_ids_in(two.id)]
        )
        only_gone = store.add_records(one, [], gone=[c.id])
        assert (only_gone.records, len(only_gone.passages)) == ((), 0)
        assert only_gone.removed.tolist() == stored.passages.ids[4:].tolist()

    def test_sources_of_leaves_out_what_is_gone(self, store: Store, dataset: Dataset) -> None:
        one, two = store.create_collection(dataset.id, "one"), store.create_collection(dataset.id, "two")
        stored = store.add_records(one, [embedded(q, "", "i") for q in "abc"])
        (a, a2, b, _, c, c2), (first, second, third) = stored.passages.ids.tolist(), stored.records
        other = store.add_records(two, [embedded("a")])
        (d,), (fourth,) = other.passages.ids.tolist(), other.records
        assert store.sources_of([c2, a, d, a2, 99, 0, -1]) == {
            a: (first, "one"),
            a2: (first, "one"),
            c2: (third, "one"),
            d: (fourth, "two"),
        }
        store.delete_records([third.id])
        assert store.sources_of([a, b, c, c2, c2]) == {a: (first, "one"), b: (second, "one")}
        assert store.sources_of([]) == {}
        store.delete_collection(one.id)
        assert store.sources_of([a, b, d]) == {d: (fourth, "two")}

    def test_passages_of_leaves_out_what_is_gone(self, store: Store, collection: Collection) -> None:
        stored = store.add_records(collection, [embedded(q, "", "i") for q in "ab"])
        first, second = (record.id for record in stored.records)
        store.delete_records([first])
        assert store.passages_of([first, second, UNKNOWN, second]) == {
            second: (Passage(4, "b", True), Passage(5, "i", False))
        }
        assert store.passages_of([]) == {}

    def test_passage_ids(self, store: Store, dataset: Dataset) -> None:
        one, two = (store.create_collection(dataset.id, name) for name in ("one", "two"))
        first = store.add_records(one, [embedded("a", "", "i"), embedded("b")])
        other = store.add_records(two, [embedded("a")])
        second = store.add_records(one, [embedded("c")])
        records = [*second.records, *first.records]
        assert store.passage_ids_of([record.id for record in records] + [UNKNOWN]) == [3, 4, 5, 7]
        assert store.passage_ids_of([]) == []
        assert store.passage_ids_in(one.id) == [3, 4, 5, 7]
        assert store.passage_ids_in(two.id) == other.passages.ids.tolist() == [6]

    def test_counts(self, store: Store, dataset: Dataset) -> None:
        one, two = (store.create_collection(dataset.id, name) for name in ("one", "two"))
        other = store.create_collection(store.create_dataset("other", MODEL).id, "c")
        stored = store.add_records(one, [embedded("a", "", "i", "j"), embedded("b")])
        store.add_records(two, [embedded("a")])
        store.add_records(other, [embedded("a", "", "i")])
        assert (store.count_records(dataset.id), store.count_passages(dataset.id)) == (3, 5)
        store.delete_records([stored.records[0].id])
        assert (store.count_records(dataset.id), store.count_passages(dataset.id)) == (2, 2)
        assert (store.count_records(UNKNOWN), store.count_passages(UNKNOWN)) == (0, 0)

    def test_records_in_a_dataset(self, store: Store, dataset: Dataset) -> None:
        one, two = (store.create_collection(dataset.id, name) for name in ("one", "two"))
        other = store.create_dataset("other", MODEL)
        elsewhere = store.create_collection(other.id, "c")
        a, b = (record.id for record in store.add_records(one, [embedded("a"), embedded("b")]).records)
        (c,) = (record.id for record in store.add_records(two, [embedded("a")]).records)
        (d,) = (record.id for record in store.add_records(elsewhere, [embedded("a")]).records)
        assert sorted(store.records_in(dataset.id, [d, c, UNKNOWN, a])) == sorted([a, c])
        assert sorted(store.records_in(dataset.id, [b, a, b, b, a])) == sorted([a, b])
        assert store.records_in(dataset.id, {c}) == [c]
        assert store.records_in(other.id, [a, b, c, d]) == [d]
        assert store.records_in(dataset.id, [d]) == store.records_in(dataset.id, []) == []
        assert store.records_in(UNKNOWN, [a, d]) == []
        store.delete_records([a])
        store.delete_collection(two.id)
        assert store.records_in(dataset.id, [a, b, c, d]) == [b]

    def test_records_in_a_dataset_by_more_ids_than_one_query_takes(
        self, store: Store, collection: Collection
    ) -> None:
        ids = [r.id for r in store.add_records(collection, [embedded(f"q{n}") for n in range(1100)]).records]
        unknown = [f"{number:024x}" for number in range(1, 1100)]
        assert sorted(store.records_in(collection.dataset_id, [*unknown, *ids, *ids[:5]])) == sorted(ids)

    def test_unknown_record(self, store: Store) -> None:
        with pytest.raises(RecordNotFound, match=UNKNOWN):
            store.get_record(UNKNOWN)


class TestDeletingRecords:
    def test_returns_the_passages_and_leaves_the_rest(self, store: Store, collection: Collection) -> None:
        stored = store.add_records(collection, [embedded(q, "", "i") for q in "abc"])
        first, second, third = stored.records
        assert store.delete_records([third.id, UNKNOWN, first.id, third.id]) == [2, 3, 6, 7]
        assert store.list_records(collection.id) == [second]
        assert store.passage_ids_in(collection.id) == [4, 5]
        with pytest.raises(RecordNotFound):
            store.get_record(first.id)
        assert store.changes_after(collection.dataset_id, 7, 10).removed.tolist() == [2, 3, 6, 7]
        assert store.last_sequence() == 11

    def test_nothing(self, store: Store, collection: Collection) -> None:
        record = store.add_records(collection, [embedded("a")]).records[0]
        assert store.delete_records([]) == []
        assert store.delete_records([UNKNOWN]) == []
        assert store.delete_records([record.id]) == [2]
        assert store.delete_records([record.id]) == []
        assert store.last_sequence() == 3

    def test_of_several_datasets(self, store: Store) -> None:
        datasets = [store.create_dataset(name, MODEL) for name in ("one", "two")]
        stored = [
            store.add_records(store.create_collection(dataset.id, "c"), [embedded("a"), embedded("b")])
            for dataset in datasets
        ]
        assert store.delete_records([batch.records[0].id for batch in stored]) == [2, 5]
        for dataset, passage_id in zip(datasets, (2, 5), strict=True):
            assert store.changes_after(dataset.id, 0, 10).removed.tolist() == [passage_id]

    def test_what_was_deleted_can_be_added_again(self, store: Store, collection: Collection) -> None:
        drafts = [embedded("a"), embedded("b")]
        first = store.add_records(collection, drafts)
        store.delete_records([first.records[0].id])
        assert store.known_hashes(collection.id, [item.draft.content_hash for item in drafts]) == {
            drafts[1].draft.content_hash
        }
        again = store.add_records(collection, drafts)
        assert [record.q for record in again.records] == ["a"]
        assert [record.q for record in store.list_records(collection.id)] == ["b", "a"]


class TestChanges:
    def test_steps_over_interleaved_datasets(self, store: Store) -> None:
        """Every limit, from every watermark, leads to what is there."""
        datasets = [store.create_dataset(name, MODEL) for name in ("one", "two")]
        collections = [store.create_collection(dataset.id, name) for name in "cd" for dataset in datasets]
        snapshots: list[list[Index]] = [[Index() for _ in datasets]]
        added: list[str] = []
        for turn in range(9):
            collection = collections[turn % 4]
            stored = store.add_records(
                collection, [embedded(f"{turn}{n}", "", "i") for n in range(turn % 3 + 1)]
            )
            added += [record.id for record in stored.records]
            if turn % 2:
                store.delete_records(added[turn : turn + 3 : 2])
            snapshots.append([Index().catch_up(store, dataset.id) for dataset in datasets])
        store.delete_collection(collections[0].id)

        for place, dataset in enumerate(datasets):
            expected = Index().catch_up(store, dataset.id)
            assert len(expected.passages) == store.count_passages(dataset.id)
            assert sorted(expected.passages) == sorted(
                i for c in store.list_collections(dataset.id) for i in store.passage_ids_in(c.id)
            )
            for limit, (at, indexes) in itertools.product((1, 2, 3, 5, 100), enumerate(snapshots)):
                index = deepcopy(indexes[place]).catch_up(store, dataset.id, limit)
                assert index.passages == expected.passages, (limit, at)
                assert index.watermark == expected.watermark

    def test_a_full_step_ends_at_its_last_number(self, store: Store, collection: Collection) -> None:
        stored = store.add_records(collection, [embedded(q) for q in "abcd"])
        store.delete_records([stored.records[1].id])
        store.add_records(collection, [embedded("e")])
        steps, watermark = [], 0
        while True:
            changes = store.changes_after(collection.dataset_id, watermark, 2)
            watermark = changes.watermark
            steps.append((changes.added.ids.tolist(), changes.removed.tolist(), watermark, changes.is_last))
            if changes.is_last:
                break
        # 2 to 5 were added, 3 was removed by number 6, 7 was added.
        assert steps == [([2, 4], [], 4, False), ([5, 7], [3], 7, False), ([], [], 7, True)]

    def test_nothing_new(self, store: Store, collection: Collection) -> None:
        changes = store.changes_after(collection.dataset_id, 0, 10)
        assert (len(changes.added), len(changes.removed)) == (0, 0)
        assert (changes.watermark, changes.is_last) == (0, True)
        assert changes.added.embeddings.shape == (0, DIM)
        store.add_records(collection, [embedded("a")])
        changes = store.changes_after(collection.dataset_id, 2, 10)
        assert (len(changes.added), changes.watermark, changes.is_last) == (0, 2, True)

    def test_texts_go_with_the_same_numbers(self, store: Store, collection: Collection) -> None:
        drafts = [embedded(text) for text in ODD_TEXTS]
        stored = store.add_records(collection, [*drafts, embedded("gone")])
        store.delete_records([stored.records[-1].id])
        texts: dict[int, tuple[int, str]] = {}
        for changes in drain(store.texts_after, collection.dataset_id, 0, 3):
            numbers = store.changes_after(collection.dataset_id, 0, 1000)
            rows = zip(
                changes.added.ids.tolist(),
                changes.added.collection_keys.tolist(),
                changes.added.texts,
                strict=True,
            )
            texts |= {passage_id: (key, text) for passage_id, key, text in rows}
        assert list(texts) == numbers.added.ids.tolist()
        assert list(texts.values()) == [(collection.key, text) for text in ODD_TEXTS]
        assert (changes.removed.tolist(), changes.watermark) == (numbers.removed.tolist(), numbers.watermark)

    def test_unknown_dataset(self, store: Store) -> None:
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.changes_after(UNKNOWN, 0, 10)
        with pytest.raises(DatasetNotFound, match=UNKNOWN):
            store.texts_after(UNKNOWN, 0, 10)

    def test_last_sequence_rises_with_every_change(self, store: Store) -> None:
        assert store.last_sequence() == 0
        dataset = store.create_dataset("d", MODEL)
        collection = store.create_collection(dataset.id, "c")
        seen = [store.last_sequence()]
        stored = store.add_records(collection, [embedded("a"), embedded("b", "", "i")])
        seen.append(store.last_sequence())
        store.delete_records([stored.records[1].id])
        seen.append(store.last_sequence())
        store.delete_collection(collection.id)
        seen.append(store.last_sequence())
        store.delete_dataset(dataset.id)
        seen.append(store.last_sequence())
        assert seen == [1, 4, 6, 7, 7]


class TestDocuments:
    def test_put_find_delete(self, store: Store) -> None:
        body = {
            "name": "n\0 'x' 🧑‍🚀",
            "$dollar.dot": [1, None, True, {"": 2**70}],
            "float": 0.1,
            "nested": {"a.b": []},
        }
        document = store.put_document("app", "app-1", body)
        assert document == Document("app", "app-1", "", document.seq, body)
        assert store.find_document("app", "app-1") == document
        assert store.find_document("key", "app-1") is None
        assert store.find_document("app", "app-2") is None
        assert store.delete_document("app", "app-1") is True
        assert store.delete_document("app", "app-1") is False
        assert store.find_document("app", "app-1") is None
        assert store.list_documents("app") == []

    def test_replacing_keeps_its_place(self, store: Store) -> None:
        first = store.put_document("app", "one", {"v": 1}, group="g")
        second = store.put_document("app", "two", {"v": 1}, group="g")
        assert second.seq > first.seq
        replaced = store.put_document("app", "one", {"w": 2}, group="h")
        assert replaced == Document("app", "one", "h", first.seq, {"w": 2})
        assert store.list_documents("app") == [replaced, second]
        assert store.list_documents("app", "g") == [second]
        assert store.list_documents("app", "h") == [replaced]

    def test_are_listed_by_kind_and_group_oldest_first(self, store: Store) -> None:
        chats = [store.put_document("chat", f"c{n}", {"n": n}, group="ab"[n % 2]) for n in range(6)]
        app = store.put_document("app", "c0", {}, group="a")
        assert store.list_documents("chat") == chats
        assert store.list_documents("app") == [app]
        assert store.list_documents("chat", "a") == chats[0::2]
        assert store.list_documents("chat", "") == []
        assert store.list_documents("chat", "b", newest=2) == [chats[3], chats[5]]
        assert store.list_documents("chat", newest=4) == chats[2:]
        assert store.list_documents("chat", newest=99) == chats
        assert store.list_documents("chat", newest=0) == []
        assert store.list_documents("turn") == []

    def test_any_group_is_found_exactly(self, store: Store) -> None:
        documents = {name: store.put_document("chat", name, {}, group=name) for name in ODD_NAMES}
        for name, document in documents.items():
            assert store.list_documents("chat", name) == [document]

    def test_any_id_is_found_exactly(self, store: Store) -> None:
        names = [name for text in ODD_TEXTS for name in (f"{text}x", text)]
        documents = {name: store.put_document("chat", name, {"n": name}) for name in names}
        assert {name: store.find_document("chat", name) for name in names} == documents
        for name in ODD_TEXTS:
            assert store.delete_document("chat", name) is True
        assert store.list_documents("chat") == [documents[f"{name}x"] for name in ODD_TEXTS]

    def test_an_id_that_was_deleted_is_new_again(self, store: Store) -> None:
        first = store.put_document("app", "one", {})
        second = store.put_document("app", "two", {})
        store.delete_document("app", "two")
        store.delete_document("app", "one")
        again = store.put_document("app", "one", {})
        assert first.seq < second.seq < again.seq

    def test_from_eight_threads(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as threads:
            put = list(threads.map(lambda n: store.put_document("chat", f"{n % 20}", {"n": n}), range(80)))
        listed = store.list_documents("chat")
        assert sorted(document.id for document in listed) == sorted(f"{n}" for n in range(20))
        assert {(d.id, d.seq) for d in put} == {(d.id, d.seq) for d in listed}


class TestLife:
    def test_everything_is_there_after_reopening(self, place: Place) -> None:
        store = place.open()
        dataset = store.create_dataset("manuals", MODEL, "intro")
        collection = store.create_collection(dataset.id, "c", ["t"])
        stored = store.add_records(collection, [embedded(q, "a", "i") for q in "abc"])
        store.delete_records([stored.records[1].id])
        document = store.put_document("app", "one", {"a": 1}, "g")
        index = Index().catch_up(store, dataset.id)
        store.close()

        store = place.open()
        assert store.repair() == 0
        assert store.list_datasets() == [dataset]
        assert store.list_collections(dataset.id) == [collection]
        assert store.list_records(collection.id) == [stored.records[0], stored.records[2]]
        assert store.list_documents("app") == [document]
        assert Index().catch_up(store, dataset.id).passages == index.passages
        assert store.last_sequence() == 9
        assert store.add_records(collection, [embedded("d")]).passages.ids.tolist() == [10]
        assert store.create_collection(dataset.id, "d").key == 11
        assert store.put_document("app", "two", {}).seq > document.seq

    def test_a_sound_store_needs_no_mending(self, store: Store, collection: Collection) -> None:
        stored = store.add_records(collection, [embedded(f"q{n}", "", "i") for n in range(60)])
        store.delete_records([record.id for record in stored.records[::2]])
        assert (store.repair(), store.remove_orphans()) == (0, 0)
        assert store.list_records(collection.id) == list(stored.records[1::2])
        assert store.count_passages(collection.dataset_id) == 60


class Model:
    """A dataset as a dict: record id → (place of its collection, q, passage ids)."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.dataset = store.create_dataset(secrets.token_hex(8), MODEL)
        self.collections = [store.create_collection(self.dataset.id, name) for name in "ab"]
        self.records: dict[str, tuple[int, str, list[int]]] = {}
        self.ever: list[str] = []
        self.index = Index()

    def add(self, place: int, qs: list[str]) -> None:
        known = {q for at, q, _ in self.records.values() if at == place}
        fresh = [q for q in dict.fromkeys(qs) if q not in known]
        stored = self.store.add_records(
            self.collections[place], [embedded(q, "", *"xyz"[: ord(q) % 3]) for q in qs]
        )
        assert [record.q for record in stored.records] == fresh
        passages = iter(stored.passages.ids.tolist())
        for record in stored.records:
            ids = list(itertools.islice(passages, 1 + ord(record.q) % 3))
            self.records[record.id] = (place, record.q, ids)
            self.ever.append(record.id)
        assert list(passages) == []

    def delete(self, places: list[int]) -> None:
        ids = [self.ever[place] for place in places if place < len(self.ever)]
        gone = [self.records.pop(record_id) for record_id in dict.fromkeys(ids) if record_id in self.records]
        assert self.store.delete_records(ids) == sorted(i for _, _, passages in gone for i in passages)

    def clear(self, place: int) -> None:
        self.store.delete_collection(self.collections[place].id)
        self.collections[place] = self.store.create_collection(self.dataset.id, "again")
        self.records = {key: record for key, record in self.records.items() if record[0] != place}

    def catch_up(self, limit: int) -> None:
        self.index.catch_up(self.store, self.dataset.id, limit)
        expected = {
            i: (self.collections[at].key, q, n)
            for at, q, ids in self.records.values()
            for n, i in enumerate(ids)
        }
        assert self.index.passages == {
            i: (key, embedding_of((q, *"xyz")[n])) for i, (key, q, n) in expected.items()
        }

    def check(self) -> None:
        for place, collection in enumerate(self.collections):
            expected = {key: record for key, record in self.records.items() if record[0] == place}
            assert [r.id for r in self.store.list_records(collection.id)] == list(expected)
            assert self.store.passage_ids_of(list(expected)) == self.store.passage_ids_in(collection.id)
            assert self.store.passage_ids_in(collection.id) == [
                i for _, _, ids in expected.values() for i in ids
            ]
        assert self.store.count_records(self.dataset.id) == len(self.records)


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 1), st.lists(st.sampled_from("abcdefgh\0"), max_size=6)),
    st.tuples(st.just("delete"), st.lists(st.integers(0, 20), max_size=4)),
    st.tuples(st.just("clear"), st.integers(0, 1)),
    st.tuples(st.just("catch_up"), st.integers(1, 4)),
)


@given(steps=st.lists(STEPS, min_size=4, max_size=15))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_adds_and_deletes(store: Store, steps: list[tuple[str, *tuple[object, ...]]]) -> None:
    model = Model(store)
    for name, *values in steps:
        getattr(model, name)(*values)
    model.check()
    model.catch_up(3)
    assert Index().catch_up(store, model.dataset.id).passages == model.index.passages
