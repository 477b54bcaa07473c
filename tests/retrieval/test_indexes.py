"""Indexes and store stay in step, also when a search loads an index in the midst of a change."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval.indexes import Indexes
from retrieval.store import Store, Stored, drain
from retrieval.store.sqlite import SqliteStore
from retrieval.types import Collection, Dataset, EmbeddedDraft, ModelBinding, RecordDraft
from retrieval.vectors.flat import FlatIndex

MODEL = ModelBinding("m", 4, "f")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = SqliteStore(tmp_path / "quotebase.sqlite")
    yield store
    store.close()


@pytest.fixture
def collection(store: Store) -> Collection:
    return store.create_collection(store.create_dataset("d", MODEL).id, "c")


@pytest.fixture
def dataset(store: Store, collection: Collection) -> Dataset:
    return store.get_dataset(collection.dataset_id)


@pytest.fixture
def indexes(store: Store, tmp_path: Path) -> Indexes:
    return Indexes(store, tmp_path / "indexes")


def add(store: Store, collection: Collection, *texts: str) -> Stored:
    return store.add_records(
        collection,
        [EmbeddedDraft(RecordDraft(text), 1, np.full((1, 4), 0.5, dtype=np.float16)) for text in texts],
    )


def ids_in(indexes: Indexes, dataset: Dataset) -> list[int]:
    ids: list[int] = indexes.get(dataset).contents().added.ids.tolist()
    return ids


def test_an_index_is_made_from_the_store(
    indexes: Indexes, store: Store, dataset: Dataset, collection: Collection
) -> None:
    stored = add(store, collection, "a", "b")
    assert ids_in(indexes, dataset) == stored.passages.ids.tolist()
    assert indexes.get(dataset) is indexes.get(dataset)


def test_published_passages_are_in_once_whoever_was_first(
    indexes: Indexes, store: Store, dataset: Dataset, collection: Collection
) -> None:
    """Between storing and publishing, a search may load the index, with what is about to be published."""
    first = add(store, collection, "a", "b")
    assert ids_in(indexes, dataset) == first.passages.ids.tolist()
    indexes.publish(dataset, first.passages)
    second = add(store, collection, "c")
    indexes.publish(dataset, second.passages)
    indexes.publish(dataset, add(store, collection).passages)
    assert ids_in(indexes, dataset) == [*first.passages.ids, *second.passages.ids]
    assert not indexes.rebuild_if_wrong(dataset)


def test_an_index_loaded_while_passages_are_deleted_does_not_have_them(
    indexes: Indexes, store: Store, dataset: Dataset, collection: Collection
) -> None:
    stored = add(store, collection, "a", "b", "c")
    gone = [stored.records[1].id]
    with indexes.removing(dataset.id, store.passage_ids_of(gone)):
        assert len(ids_in(indexes, dataset)) == 3
        store.delete_records(gone)
    assert ids_in(indexes, dataset) == [stored.passages.ids[0], stored.passages.ids[2]]
    assert not indexes.rebuild_if_wrong(dataset)


def test_passages_leave_the_index_before_the_store(
    indexes: Indexes, store: Store, dataset: Dataset, collection: Collection
) -> None:
    stored = add(store, collection, "a", "b")
    assert len(ids_in(indexes, dataset)) == 2
    with indexes.removing(dataset.id, [int(stored.passages.ids[0])]):
        assert ids_in(indexes, dataset) == [stored.passages.ids[1]]
        assert store.count_passages(dataset.id) == 2
        store.delete_records([stored.records[0].id])
    assert not indexes.rebuild_if_wrong(dataset)


def test_passages_that_could_not_be_deleted_are_back(
    indexes: Indexes, store: Store, dataset: Dataset, collection: Collection
) -> None:
    stored = add(store, collection, "a", "b")
    ids_in(indexes, dataset)

    def delete_and_fail() -> None:
        with indexes.removing(dataset.id, stored.passages.ids.tolist()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delete_and_fail()
    assert ids_in(indexes, dataset) == stored.passages.ids.tolist()


def test_a_saved_index_catches_up_with_the_store(
    store: Store, tmp_path: Path, dataset: Dataset, collection: Collection
) -> None:
    stored = add(store, collection, "a", "b", "c")
    saved = Indexes(store, tmp_path / "indexes")
    ids_in(saved, dataset)
    saved.save()
    store.delete_records([stored.records[0].id])
    more = add(store, collection, "d", "a")
    fresh = Indexes(store, tmp_path / "indexes")
    assert ids_in(fresh, dataset) == [*stored.passages.ids[1:], *more.passages.ids]
    assert not fresh.rebuild_if_wrong(dataset)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 100])
def test_catching_up_in_steps_of_any_size(
    store: Store, dataset: Dataset, collection: Collection, limit: int
) -> None:
    """From each point of a history of additions and removals, to the same end."""
    copies: list[FlatIndex] = []
    alive: dict[int, str] = {}
    for turn in range(6):
        stored = add(store, collection, *(f"{turn} {number}" for number in range(turn + 1)))
        alive |= zip(stored.passages.ids.tolist(), (record.id for record in stored.records), strict=True)
        gone = sorted(alive)[turn % 2 : turn : 2]
        store.delete_records([alive.pop(passage_id) for passage_id in gone])
        copies.append(FlatIndex(4))
        for index in copies:
            for changes in drain(store, dataset.id, index.watermark, limit):
                index.apply(changes)
                assert max(len(changes.added), len(changes.removed)) <= limit
            assert index.contents().added.ids.tolist() == sorted(alive)
            assert index.watermark == store.last_sequence()


def test_only_what_has_changed_is_saved(
    indexes: Indexes, store: Store, tmp_path: Path, dataset: Dataset, collection: Collection
) -> None:
    indexes.save()
    assert not (tmp_path / "indexes").exists()
    indexes.publish(dataset, add(store, collection, "a").passages)
    indexes.get(dataset)
    indexes.save()
    path = tmp_path / "indexes" / f"{dataset.id}.npz"
    saved_at = path.stat().st_mtime_ns
    indexes.save()
    assert path.stat().st_mtime_ns == saved_at
    indexes.publish(dataset, add(store, collection, "b").passages)
    indexes.save()
    assert path.stat().st_mtime_ns > saved_at


def test_a_discarded_index_is_made_again(
    indexes: Indexes, store: Store, tmp_path: Path, dataset: Dataset, collection: Collection
) -> None:
    stored = add(store, collection, "a")
    before = indexes.get(dataset)
    indexes.save()
    indexes.discard(dataset.id)
    assert list((tmp_path / "indexes").iterdir()) == []
    assert indexes.get(dataset) is not before
    assert ids_in(indexes, dataset) == stored.passages.ids.tolist()
    indexes.discard("no such dataset")
