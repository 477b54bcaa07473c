"""Two editions of a dataset, on SQLite and on MongoDB over the wire, and what is left of them by a cut line."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pymongo
import pytest

from retrieval.errors import DatasetNotFound, InvalidRequest, StoreUnavailable
from retrieval.store import Store, drain, mongo, sqlite_editions
from retrieval.store.editions import Remade
from retrieval.store.mongo import MongoStore
from retrieval.types import Collection, Dataset, ModelBinding, PassageDraft
from tests.contracts.cutting_proxy import CuttingProxy
from tests.contracts.stores import MODEL, Index, Place, embedded, embeddings_of
from tests.mongodb import own_database

OTHER = ModelBinding("test/other", 4, "0" * 16)


@pytest.fixture(params=["sqlite", "mongodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        place = Place(tmp_path)
        yield place.open()
        place.close()
        return
    with own_database(request.getfixturevalue("mongodb_uri")) as uri:
        place = Place(tmp_path, uri)
        yield place.open()
        place.close()


@pytest.fixture
def dataset(store: Store) -> Dataset:
    return store.create_dataset("manuals", MODEL)


@pytest.fixture
def collection(store: Store, dataset: Dataset) -> Collection:
    return store.create_collection(dataset.id, "printer.csv")


def remade(witness: int, *texts: str) -> Remade:
    passages = tuple(PassageDraft(text, place == 0) for place, text in enumerate(texts))
    return Remade(witness, passages, embeddings_of(texts))


def texts_in(store: Store, dataset: Dataset) -> list[str]:
    """Of the edition that it says."""
    return [text for one in drain(store.texts_after, dataset, 0) for text in one.added.texts]


def filled(store: Store, collection: Collection) -> list[str]:
    """Records a and b, and a third that the other edition lacks; their ids."""
    stored = store.add_records(collection, [embedded("a", "", "i"), embedded("b"), embedded("c")])
    first, _, second, _ = stored.passages.ids.tolist()
    store.begin_edition(collection.dataset_id, OTHER)
    assert (
        store.add_to_edition(collection.dataset_id, [remade(first, "A", "I", "J"), remade(second, "B")]) == 4
    )
    return [record.id for record in stored.records]


def test_what_is_in_the_other_edition_is_not_seen(
    store: Store, dataset: Dataset, collection: Collection
) -> None:
    ids = filled(store, collection)
    assert store.get_dataset(dataset.id) == dataset
    assert (store.count_records(dataset.id), store.count_passages(dataset.id)) == (3, 4)
    assert texts_in(store, dataset) == ["a", "i", "b", "c"]
    passages = store.passages_of(ids)
    assert [[one.text for one in passages[record_id]] for record_id in ids] == [["a", "i"], ["b"], ["c"]]
    assert store.embeddings_of(ids).keys() == {"a", "i", "b", "c"}
    assert store.passage_ids_of(ids) == store.passage_ids_in(collection.id)
    assert len(store.passage_ids_of(ids)) == 4
    assert store.records_in_edition(dataset.id, ids) == set(ids[:2])
    other = store.find_edition(dataset.id)
    assert other
    assert (other.model, other.is_former) == (OTHER, False)
    assert store.count_passages(dataset.id, other.number) == 4


def test_an_exchange_shows_the_other_edition_and_another_shows_the_first_again(
    store: Store, dataset: Dataset, collection: Collection
) -> None:
    ids = filled(store, collection)
    changed = store.exchange_editions(dataset.id)
    assert changed == store.get_dataset(dataset.id)
    assert (changed.model, changed.index_name) == (OTHER, f"{dataset.id}-{changed.edition}")
    assert texts_in(store, changed) == ["A", "I", "J", "B"]
    assert texts_in(store, dataset) == ["a", "i", "b", "c"]
    assert [one.text for one in store.passages_of(ids)[ids[0]]] == ["A", "I", "J"]
    former = store.find_edition(dataset.id)
    assert former
    assert (former.number, former.model, former.is_former) == (0, MODEL, True)
    store.add_records(collection, [embedded("d")])
    assert texts_in(store, changed) == ["A", "I", "J", "B", "d"]
    back = store.exchange_editions(dataset.id)
    assert (back.model, back.edition) == (MODEL, 0)
    assert texts_in(store, back) == ["a", "i", "b", "c"]


def test_records_take_the_passages_of_both_editions_with_them(
    store: Store, dataset: Dataset, collection: Collection
) -> None:
    ids = filled(store, collection)
    upcoming = store.exchange_editions(dataset.id)
    former = Index()
    for changes in drain(store.changes_after, dataset, 0):
        former.apply(changes)
    searched = Index().catch_up(store, dataset.id)
    store.delete_records([ids[0]])
    assert (texts_in(store, upcoming), texts_in(store, dataset)) == (["B"], ["b", "c"])
    for changes in drain(store.changes_after, dataset, former.watermark):
        former.apply(changes)
    searched.catch_up(store, dataset.id)
    assert (len(former.passages), len(searched.passages)) == (2, 1)
    store.delete_collection(collection.id)
    assert (texts_in(store, upcoming), texts_in(store, dataset)) == ([], [])
    store.delete_dataset(dataset.id)
    with pytest.raises(DatasetNotFound):
        store.find_edition(dataset.id)


def test_a_record_that_was_replaced_meanwhile_gets_no_passages_of_its_old_content(
    store: Store, dataset: Dataset, collection: Collection
) -> None:
    stored = store.add_records(collection, [embedded("a"), embedded("b")])
    witnesses = stored.passages.ids.tolist()
    store.begin_edition(dataset.id, OTHER)
    store.delete_records([stored.records[0].id])
    assert store.add_to_edition(dataset.id, [remade(witnesses[0], "A"), remade(witnesses[1], "B")]) == 1
    assert store.records_in_edition(dataset.id, [one.id for one in stored.records]) == {stored.records[1].id}
    assert store.add_to_edition(dataset.id, [remade(witnesses[0], "A")]) == 0


def test_a_discarded_edition_leaves_nothing(
    store: Store, dataset: Dataset, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_editions, "STEP", 3)
    filled(store, collection)
    upcoming = store.exchange_editions(dataset.id)
    store.discard_edition(dataset.id)
    assert store.find_edition(dataset.id) is None
    assert (texts_in(store, dataset), texts_in(store, upcoming)) == ([], ["A", "I", "J", "B"])
    store.discard_edition(dataset.id)
    again = store.begin_edition(dataset.id, MODEL)
    assert again.number > upcoming.edition


def test_there_is_one_other_edition_at_most(store: Store, dataset: Dataset) -> None:
    actions: list[Callable[[], object]] = [
        lambda: store.exchange_editions(dataset.id),
        lambda: store.add_to_edition(dataset.id, []),
        lambda: store.records_in_edition(dataset.id, []),
    ]
    for action in actions:
        with pytest.raises(InvalidRequest, match="no other edition"):
            action()
    store.begin_edition(dataset.id, OTHER)
    with pytest.raises(InvalidRequest, match="another edition already"):
        store.begin_edition(dataset.id, OTHER)


def test_a_mongodb_from_before_editions_has_the_first_one(mongodb_uri: str) -> None:
    with own_database(mongodb_uri) as uri:
        store = MongoStore(uri)
        dataset = store.create_dataset("old", MODEL)
        collection = store.create_collection(dataset.id, "c")
        record = store.add_records(collection, [embedded("a", "", "i")]).records[0]
        with pymongo.MongoClient[dict[str, Any]](uri) as client:
            database = client.get_default_database()
            database["passages"].update_many({}, {"$unset": {"edition": ""}})
            database["counters"].update_one({"_id": "schema_version"}, {"$set": {"last": 1}})
            laid_down = [{"_id": n, "table": "passages", "doc": {"_id": n}} for n in ("x", "y")]
            database["pending"].insert_many(laid_down)
            store.close()
            store = MongoStore(uri)
            assert [one["doc"] for one in database["pending"].find()] == [
                {"_id": n, "edition": 0} for n in ("x", "y")
            ]
            assert database["counters"].find_one({"_id": "schema_version"})["last"] == mongo.SCHEMA_VERSION
        assert texts_in(store, dataset) == ["a", "i"]
        assert store.count_passages(dataset.id) == len(store.passage_ids_of([record.id])) == 2
        store.close()


Operation = Callable[[Store, Collection, Sequence[int]], object]


def fill(store: Store, collection: Collection, witnesses: Sequence[int]) -> None:
    store.add_to_edition(
        collection.dataset_id, [remade(witness, f"new {witness}", "x") for witness in witnesses]
    )


def exchange(store: Store, collection: Collection, _: Sequence[int]) -> None:
    store.exchange_editions(collection.dataset_id)


def contents(store: Store, dataset: Dataset) -> tuple[str, int, int]:
    now, other = store.get_dataset(dataset.id), store.find_edition(dataset.id)
    assert other
    assert now.model.name != other.model.name
    counts = [store.count_passages(dataset.id, number) for number in sorted((now.edition, other.number))]
    return (now.model.name, counts[0], counts[1])


@pytest.mark.parametrize(("operation", "after"), [(fill, (MODEL.name, 3, 6)), (exchange, (OTHER.name, 3, 0))])
def test_a_line_cut_at_every_write_leaves_the_old_or_the_new(
    mongodb_uri: str, monkeypatch: pytest.MonkeyPatch, operation: Operation, after: tuple[str, int, int]
) -> None:
    monkeypatch.setattr(mongo, "MAX_ITEMS", 2)
    monkeypatch.setattr(pymongo.common, "MIN_HEARTBEAT_INTERVAL", 0.01)
    outcomes = []
    with own_database(mongodb_uri) as uri:
        store, proxy = MongoStore(uri), CuttingProxy(uri)
        for write in range(1, 20):
            dataset = store.create_dataset(f"cut {write}", MODEL)
            collection = store.create_collection(dataset.id, "c")
            stored = store.add_records(collection, [embedded("a"), embedded("b"), embedded("c")])
            store.begin_edition(dataset.id, OTHER)
            cut = MongoStore(proxy.uri)
            proxy.cut(write, "before")
            is_cut = False
            try:
                operation(cut, collection, stored.passages.ids.tolist())
            except StoreUnavailable:
                is_cut = True
            finally:
                cut.close()
                proxy.mend()
            store.repair()
            outcomes.append(contents(store, dataset))
            assert outcomes[-1] in ((MODEL.name, 3, 0), after)
            if not is_cut:
                break
        proxy.close()
        store.close()
    assert not is_cut
    assert outcomes[0] == (MODEL.name, 3, 0)
    assert outcomes[-1] == after
