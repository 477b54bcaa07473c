"""What every store has to do with a deleted dataset: hide it at once, and remove it step by step."""

from collections.abc import Callable
from typing import Any

import pytest

from retrieval.errors import CollectionNotFound, DatasetNotFound, NameTaken, RecordNotFound
from retrieval.store import Store
from retrieval.types import Collection, Dataset, Page, Record
from tests.contracts.stores import MODEL, Index, Place, embedded


class Scene:
    """A dataset with two collections, a folder and removals."""

    def __init__(self, store: Store, name: str = "gone", records: int = 7) -> None:
        self.dataset: Dataset = store.create_dataset(name, MODEL)
        self.folder = store.create_collection(self.dataset.id, "folder", kind="folder")
        self.collections: list[Collection] = [
            store.create_collection(self.dataset.id, name, parent_id=self.folder.id) for name in "ab"
        ]
        self.drafts = [embedded(f"q{number}", "", *"ij"[: number % 3]) for number in range(records)]
        self.records: list[Record] = []
        for one in self.collections:
            self.records += store.add_records(one, self.drafts).records
        self.passages = list(Index().catch_up(store, self.dataset.id).passages)
        (removed,) = store.add_records(self.collections[0], [embedded("removed")]).records
        store.delete_records([removed.id])


def purge(store: Store, limit: int) -> int:
    """How many steps it took."""
    steps = 1
    while store.purge(limit):
        steps += 1
    return steps


def check_nothing_is_found(store: Store, scene: Scene) -> None:
    dataset_id, (one, _) = scene.dataset.id, scene.collections
    record_ids = [record.id for record in scene.records]
    hashes = [item.draft.content_hash for item in scene.drafts]
    missing: list[tuple[type[Exception], Callable[[], Any]]] = [
        (DatasetNotFound, lambda: store.get_dataset(dataset_id)),
        (DatasetNotFound, lambda: store.update_dataset(dataset_id, name="x")),
        (DatasetNotFound, lambda: store.delete_dataset(dataset_id)),
        (DatasetNotFound, lambda: store.create_collection(dataset_id, "c")),
        (DatasetNotFound, lambda: store.list_collections(dataset_id)),
        (DatasetNotFound, lambda: store.page_collections(dataset_id, None, "", 0, 10)),
        (DatasetNotFound, lambda: store.changes_after(dataset_id, 0, 10)),
        (DatasetNotFound, lambda: store.texts_after(dataset_id, 0, 10)),
        (CollectionNotFound, lambda: store.get_collection(one.id)),
        (CollectionNotFound, lambda: store.update_collection(one.id, name="x")),
        (CollectionNotFound, lambda: store.delete_collection(one.id)),
        (CollectionNotFound, lambda: store.children_of(scene.folder.id)),
        (CollectionNotFound, lambda: store.add_records(one, [embedded("new")])),
        (CollectionNotFound, lambda: store.known_hashes(one.id, hashes)),
        (CollectionNotFound, lambda: store.known_records(one.id)),
        (CollectionNotFound, lambda: store.page_records(one.id, "", 0, 10)),
        (RecordNotFound, lambda: store.get_record(record_ids[0])),
    ]
    for error, call in missing:
        with pytest.raises(error):
            call()
    assert scene.dataset not in store.list_datasets()
    assert store.find_collection(dataset_id, "a") is None
    assert store.forbidden_keys(dataset_id) == frozenset()
    assert store.find_record(one.id, hashes[0]) is None
    assert (store.list_records(one.id), list(store.record_pages(one.id, 2))) == ([], [])
    assert store.records_in(dataset_id, record_ids) == []
    assert (store.sources_of(scene.passages), store.passages_of(record_ids)) == ({}, {})
    assert (store.embeddings_of(record_ids), store.passage_ids_of(record_ids)) == ({}, [])
    assert store.passage_ids_in(one.id) == []
    assert store.count_records_in([one.id]) == {one.id: 0}
    assert (store.count_records(dataset_id), store.count_passages(dataset_id)) == (0, 0)
    last = store.last_sequence()
    assert store.delete_records(record_ids) == []
    assert store.last_sequence() == last


def test_nothing_is_found_from_the_moment_of_the_delete_on(store: Store, place: Place) -> None:
    scene, kept = Scene(store), Scene(store, "kept")
    store.update_collection(scene.collections[0].id, forbid=True)
    store.delete_dataset(scene.dataset.id)
    check_nothing_is_found(store, scene)
    check_nothing_is_found(place.open(), scene)
    while store.purge(2):
        check_nothing_is_found(store, scene)
    check_nothing_is_found(store, scene)
    assert store.list_datasets() == [kept.dataset]
    assert sorted(Index().catch_up(store, kept.dataset.id).passages) == sorted(kept.passages)
    assert store.page_records(kept.collections[0].id, "", 0, 10) == Page(tuple(kept.records[:7]), 7)


def test_the_name_is_free_at_once(store: Store) -> None:
    for _ in range(3):
        store.delete_dataset(Scene(store, "manuals").dataset.id)
        assert store.find_dataset("manuals") is None
    again = Scene(store, "manuals")
    with pytest.raises(NameTaken):
        store.create_dataset("manuals", MODEL)
    assert store.list_datasets() == [again.dataset]
    purge(store, 3)
    assert store.find_dataset("manuals") == again.dataset
    assert store.count_records(again.dataset.id) == 14


@pytest.mark.parametrize("limit", [1, 3, 14, 1000])
def test_a_purge_to_the_end_leaves_the_tables_empty(store: Store, place: Place, limit: int) -> None:
    for name in ("gone", "gone too"):
        store.delete_dataset(Scene(store, name).dataset.id)
    assert sum(place.counts().values()) > 0
    before = place.counts()["records"]
    while store.purge(limit):
        assert before - place.counts()["records"] <= limit
        before = place.counts()["records"]
    assert place.counts() == dict.fromkeys(place.counts(), 0)
    assert not store.purge(limit)


def test_what_is_not_deleted_is_not_purged(store: Store, place: Place) -> None:
    Scene(store)
    before = place.counts()
    assert not store.purge(1000)
    assert place.counts() == before


def test_a_step_of_nothing_tells_whether_something_is_left(store: Store, place: Place) -> None:
    scene = Scene(store)
    assert not store.purge(0)
    store.delete_dataset(scene.dataset.id)
    before = place.counts()
    assert store.purge(0)
    assert place.counts() == before
    purge(store, 1000)
    assert not store.purge(0)


def test_a_store_that_is_opened_again_goes_on(store: Store, place: Place) -> None:
    scene, kept = Scene(store), Scene(store, "kept")
    store.delete_dataset(scene.dataset.id)
    whole = place.counts()["records"]
    for step in range(1, 4):
        reopened = place.open()
        assert (reopened.repair(), reopened.remove_orphans()) == (0, 0)
        assert reopened.purge(2)
        assert place.counts()["records"] == whole - 2 * step
        check_nothing_is_found(reopened, scene)
        reopened.close()
    purge(place.open(), 2)
    assert place.counts()["records"] == len(kept.records)


def test_records_are_added_while_others_are_purged(store: Store) -> None:
    scene, kept = Scene(store), Scene(store, "kept")
    store.delete_dataset(scene.dataset.id)
    index = Index().catch_up(store, kept.dataset.id)
    for number in range(5):
        store.purge(2)
        store.add_records(kept.collections[0], [embedded(f"new {number}", "", "i")])
        index.catch_up(store, kept.dataset.id)
        assert index.passages == Index().catch_up(store, kept.dataset.id).passages
    purge(store, 2)
    assert len(Index().catch_up(store, kept.dataset.id).passages) == len(kept.passages) + 10
    assert store.remove_orphans() == 0
