"""What is left when the line to MongoDB is cut at any write, and what becomes of it."""

import itertools
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pymongo
import pytest
from pymongo.database import Database

from retrieval.errors import DatasetNotFound, RecordNotFound, StoreUnavailable
from retrieval.store import Store, mongo
from retrieval.store.mongo import MongoStore
from retrieval.types import Collection, Dataset
from tests.contracts.cutting_proxy import CuttingProxy, When
from tests.contracts.stores import MODEL, Index, embedded
from tests.mongodb import own_database

Doc = dict[str, Any]


@pytest.fixture
def uri(mongodb_uri: str) -> Iterator[str]:
    with own_database(mongodb_uri) as uri:
        yield uri


@pytest.fixture
def database(uri: str) -> Iterator[Database[Doc]]:
    with pymongo.MongoClient[Doc](uri) as client:
        yield client.get_default_database()


@pytest.fixture
def store(uri: str) -> Iterator[MongoStore]:
    """Straight to the server, to look at what the other one left."""
    store = MongoStore(uri)
    yield store
    store.close()


@pytest.fixture
def proxy(uri: str) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(uri)
    yield proxy
    proxy.close()


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of records takes several inserts and deletes; the driver looks again for a server at once."""
    monkeypatch.setattr(mongo, "MAX_ITEMS", 2)
    monkeypatch.setattr(pymongo.common, "MIN_HEARTBEAT_INTERVAL", 0.01)


@dataclass
class Scene:
    """A dataset with two collections, some of whose records are gone already, and an index on it."""

    dataset: Dataset
    target: Collection
    bystander: Collection
    record_ids: list[str]
    index: Index


def set_scene(store: Store, name: str) -> Scene:
    dataset = store.create_dataset(name, MODEL)
    target, bystander = (store.create_collection(dataset.id, f"{name} {side}") for side in "ab")
    stored = store.add_records(target, [embedded(q, "", *"ij"[: n % 3]) for n, q in enumerate("abcd")])
    other = store.add_records(bystander, [embedded("a", "", "i"), embedded("b")])
    store.delete_records([stored.records[1].id, other.records[1].id])
    index = Index().catch_up(store, dataset.id)
    return Scene(dataset, target, bystander, [r.id for r in stored.records], index)


Operation = Callable[[Store, Scene], object]


def add(store: Store, scene: Scene) -> None:
    store.add_records(
        scene.target, [embedded(f"new {n}", "", *"ij"[: n % 3]) for n in range(5)] + [embedded("a")]
    )


def delete_records(store: Store, scene: Scene) -> None:
    store.delete_records(scene.record_ids[:3])


def delete_collection(store: Store, scene: Scene) -> None:
    store.delete_collection(scene.target.id)


OPERATIONS = [add, delete_records, delete_collection]


def contents(store: Store, scene: Scene) -> object:
    """All there is of the dataset, without the ids that differ from scene to scene."""
    try:
        collections = store.list_collections(scene.dataset.id)
    except DatasetNotFound:
        return "no dataset", store.count_records(scene.dataset.id), store.count_passages(scene.dataset.id)
    counts = store.count_records(scene.dataset.id), store.count_passages(scene.dataset.id)
    return counts, [(c.name[-1], records_in(store, c)) for c in collections]


def records_in(store: Store, collection: Collection) -> list[tuple[str, list[str]]]:
    records = store.list_records(collection.id)
    passages = store.passages_of([record.id for record in records])
    return [(record.q, [passage.text for passage in passages[record.id]]) for record in records]


def check_indexes(store: Store, scene: Scene) -> None:
    """One that starts anew and one from before the crash come to what the store has."""
    with suppress(DatasetNotFound):
        ids = [i for c in store.list_collections(scene.dataset.id) for i in store.passage_ids_in(c.id)]
        for limit in (2, 100):
            anew = Index().catch_up(store, scene.dataset.id, limit)
            going_on = deepcopy(scene.index).catch_up(store, scene.dataset.id, limit)
            assert sorted(anew.passages) == sorted(ids)
            assert going_on.passages == anew.passages


def check_life_goes_on(store: Store, scene: Scene) -> None:
    with suppress(DatasetNotFound):
        collection = store.create_collection(scene.dataset.id, "later")
        stored = store.add_records(collection, [embedded("later", "", "i")])
        store.delete_records([stored.records[0].id])
        check_indexes(store, scene)
        store.delete_collection(collection.id)


def before_and_after(store: Store, operation: Operation) -> tuple[object, object]:
    scene = set_scene(store, "measure")
    before = contents(store, scene)
    operation(store, scene)
    return before, contents(store, scene)


ANNOUNCED = 3
"""The write that announces a delete, or is its first: numbers are taken by those before."""

NEVER = 1_000_000


@pytest.mark.parametrize("operation", OPERATIONS)
def test_cut_at_every_write_then_repaired(
    store: MongoStore, proxy: CuttingProxy, database: Database[Doc], operation: Operation
) -> None:
    before, after = before_and_after(store, operation)
    writes = writes_of(proxy, store, operation)
    seen = []
    # That the server has a write and the client does not know is as if it were cut before the next.
    cuts: list[tuple[int, When]] = [(write, "before") for write in range(1, writes + 1)]
    for cut in (*cuts, (writes, "after"), (ANNOUNCED, "after")):
        scene = set_scene(store, f"cut {cut}")
        assert fails_when_cut(proxy, *cut, on(scene, operation))
        intents = database["intents"].count_documents({})
        assert store.repair() == intents
        assert contents(store, scene) in (before, after)
        is_new = contents(store, scene) == after
        # Announced, a delete is certain; an add is certain when its announcement is gone.
        assert not intents or is_new == (operation is not add)
        seen.append(is_new)
        check_indexes(store, scene)
        assert (store.repair(), store.remove_orphans()) == (0, 0)
    check_life_goes_on(store, scene)
    *early, last, announced = seen
    assert early == sorted(early)
    assert (early[0], announced, last) == (False, operation is not add, True)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_repair_cut_at_every_write_then_repeated(
    store: MongoStore, proxy: CuttingProxy, database: Database[Doc], operation: Operation
) -> None:
    before, after = before_and_after(store, operation)
    # Of an add all is written but its end, of a delete only its beginning.
    cut: tuple[int, When] = (
        (writes_of(proxy, store, operation), "before") if operation is add else (ANNOUNCED, "after")
    )
    for write in itertools.count(1):
        scene = set_scene(store, f"cut {write}")
        assert fails_when_cut(proxy, *cut, on(scene, operation))
        assert database["intents"].count_documents({}) == 1
        is_done = not fails_when_cut(proxy, write, "before", lambda store: store.repair())
        assert store.repair() == (0 if is_done else 1)
        assert contents(store, scene) == (before if operation is add else after)
        check_indexes(store, scene)
        assert (store.repair(), store.remove_orphans()) == (0, 0)
        if is_done:
            break
    assert write == proxy.writes + 1 > 3


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_line_that_breaks_once_leaves_nothing_half_done(
    store: MongoStore, proxy: CuttingProxy, database: Database[Doc], operation: Operation
) -> None:
    before, after = before_and_after(store, operation)
    survivor = MongoStore(proxy.uri)
    for write in itertools.count(1):
        scene = set_scene(store, f"cut {write}")
        proxy.cut(write, "before", for_good=False)
        is_done = not fails(survivor, operation, scene)
        proxy.mend()
        assert database["intents"].count_documents({}) == 0
        assert contents(survivor, scene) in (
            (after,) if is_done else (before,) if operation is add else (before, after)
        )
        check_indexes(survivor, scene)
        if is_done:
            break
    check_life_goes_on(survivor, scene)
    survivor.close()
    assert write > 6


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_comes_back_finds_the_rest_done(
    store: MongoStore, proxy: CuttingProxy, database: Database[Doc], operation: Operation
) -> None:
    """By the next thing that the same object does, be it a read that an index catches up with."""
    before, after = before_and_after(store, operation)
    survivor = MongoStore(proxy.uri)
    scene = set_scene(survivor, "scene")
    proxy.cut(5, "after")
    with pytest.raises(StoreUnavailable):
        operation(survivor, scene)
    with pytest.raises(StoreUnavailable):
        survivor.create_dataset("in vain", MODEL)
    proxy.mend()
    assert database["intents"].count_documents({}) == 1
    with suppress(DatasetNotFound):
        survivor.changes_after(scene.dataset.id, 0, 10)
    assert database["intents"].count_documents({}) == 0
    assert contents(survivor, scene) == (before if operation is add else after)
    check_indexes(survivor, scene)
    check_life_goes_on(survivor, scene)
    survivor.close()


def exchange(store: Store, scene: Scene) -> None:
    """One record for another of its id, one for none, new ones, and one that says what there is."""
    first, _, third, _ = scene.record_ids
    changed = replace(embedded("changed", "", "i", "j"), record_id=first)
    drafts = [changed, *(embedded(f"new {n}", "", *"ij"[: n % 3]) for n in range(4)), embedded("d")]
    store.add_records(scene.target, drafts, [third])


def test_an_exchange_cut_at_every_write_is_done_or_undone(
    store: MongoStore, proxy: CuttingProxy, database: Database[Doc]
) -> None:
    before, after = before_and_after(store, exchange)
    assert before != after
    seen = []
    for write in range(1, writes_of(proxy, store, exchange) + 1):
        scene = set_scene(store, f"cut {write}")
        assert fails_when_cut(proxy, write, "before", on(scene, exchange))
        store.repair()
        assert contents(store, scene) in (before, after)
        seen.append(contents(store, scene) == after)
        assert database["pending"].count_documents({}) == 0
        check_indexes(store, scene)
        assert (store.repair(), store.remove_orphans()) == (0, 0)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (False, True)
    check_life_goes_on(store, scene)


def test_carrying_on_an_exchange_cut_at_every_write(
    store: MongoStore, proxy: CuttingProxy, database: Database[Doc]
) -> None:
    _, after = before_and_after(store, exchange)
    announced = 1 + next(
        write
        for write in itertools.count(1)
        if fails_when_cut(proxy, write, "before", on(scene := set_scene(store, f"look {write}"), exchange))
        and (store.repair(), contents(store, scene))[1] == after
    )
    for write in itertools.count(1):
        scene = set_scene(store, f"cut {write}")
        assert fails_when_cut(proxy, announced, "before", on(scene, exchange))
        is_done = not fails_when_cut(proxy, write, "before", lambda store: store.repair())
        store.repair()
        assert contents(store, scene) == after
        assert database["pending"].count_documents({}) == 0
        check_indexes(store, scene)
        assert (store.repair(), store.remove_orphans()) == (0, 0)
        if is_done:
            break
    assert write > 6


TABLES = ("collections", "records", "passages", "removals")
"""Where documents of a dataset are."""


def counts_of(database: Database[Doc], query: Doc) -> list[int]:
    return [database[table].count_documents(query) for table in (*TABLES, "intents")]


@pytest.mark.parametrize(("when", "is_there"), [("before", True), ("after", False)])
def test_a_dataset_is_deleted_by_one_write(
    store: MongoStore, proxy: CuttingProxy, when: When, is_there: bool
) -> None:
    scene = set_scene(store, f"cut {when}")
    assert fails_when_cut(proxy, 1, when, lambda store: store.delete_dataset(scene.dataset.id))
    assert (store.repair(), store.remove_orphans()) == (0, 0)
    assert (scene.dataset in store.list_datasets()) == is_there
    assert store.count_records(scene.dataset.id) == (4 if is_there else 0)


def test_a_purge_cut_at_every_write_goes_on(
    store: MongoStore, proxy: CuttingProxy, database: Database[Doc]
) -> None:
    kept = set_scene(store, "kept")
    counts = counts_of(database, {})
    for write in itertools.count(1):
        scene = set_scene(store, f"cut {write}")
        store.delete_dataset(scene.dataset.id)
        is_done = not fails_when_cut(proxy, write, "before", purge)
        assert store.repair() <= 1
        assert store.remove_orphans() == 0
        for record_id in scene.record_ids:
            with pytest.raises(RecordNotFound):
                store.get_record(record_id)
        purge(store)
        assert counts_of(database, {}) == counts
        if is_done:
            break
    assert write == proxy.writes + 1 > 10
    check_indexes(store, kept)
    check_life_goes_on(store, kept)


def purge(store: Store) -> None:
    while store.purge(2):
        pass


def test_what_a_version_before_had_begun_to_delete_is_deleted(
    store: MongoStore, database: Database[Doc]
) -> None:
    scene, other = (set_scene(store, name) for name in ("gone", "kept"))
    counts = counts_of(database, {"dataset": other.dataset.id})
    database["intents"].insert_one(
        {"_id": "0" * 24, "no": 1, "kind": "delete dataset", "dataset": scene.dataset.id}
    )
    database["datasets"].delete_one({"_id": scene.dataset.id})
    assert store.repair() == 1
    assert counts_of(database, {}) == counts


def test_documents_of_the_version_before_have_defaults(store: MongoStore, database: Database[Doc]) -> None:
    """Datasets and collections from before there were folders."""
    scene = set_scene(store, "old")
    database["datasets"].update_many({}, {"$unset": {"parent_id": "", "is_folder": "", "avatar": ""}})
    database["collections"].update_many({}, {"$unset": {"parent_id": "", "kind": "", "metadata": ""}})
    assert store.list_datasets() == [scene.dataset]
    assert store.page_collections(scene.dataset.id, "", "", 0, 9).items == (scene.bystander, scene.target)
    assert store.find_collection(scene.dataset.id, scene.target.name) == scene.target


def test_a_database_of_the_version_before_is_brought_up(
    uri: str, store: MongoStore, database: Database[Doc]
) -> None:
    database["counters"].update_one({"_id": "schema_version"}, {"$set": {"last": 1}})
    MongoStore(uri).close()
    assert database["counters"].find_one({"_id": "schema_version"}) == {"_id": "schema_version", "last": 3}


def test_orphans_are_removed_and_indexes_told(store: MongoStore, database: Database[Doc]) -> None:
    scene = set_scene(store, "scene")
    first, _, third, fourth = scene.record_ids
    passages = store.passage_ids_of([first, third, fourth])
    database["records"].delete_one({"_id": third})
    database["passages"].delete_many({"record": fourth})
    lost = len(store.passage_ids_of([third]))
    assert lost > 1

    assert store.remove_orphans() == lost + 1
    assert store.remove_orphans() == 0
    assert [record.id for record in store.list_records(scene.target.id)] == [first]
    assert store.passage_ids_of(scene.record_ids) == passages[:1]
    going_on = scene.index.catch_up(store, scene.dataset.id)
    # Nobody can tell the index of passages that went without a trace.
    assert set(going_on.passages) - set(passages[1 + lost :]) == set(
        Index().catch_up(store, scene.dataset.id).passages
    )


class TestOpening:
    def test_no_server(self) -> None:
        with pytest.raises(StoreUnavailable) as raised:
            MongoStore("mongodb://someone:s3cret@127.0.0.1:1/quotebase?serverSelectionTimeoutMS=50")
        assert raised.value.message.startswith("MongoDB at 127.0.0.1:1 cannot be used (127.0.0.1:1: ")
        assert raised.value.message.endswith("): start MongoDB or correct QUOTEBASE_MONGODB_URI")
        assert "Topology" not in raised.value.message
        check_is_discreet(raised.value)

    @pytest.mark.parametrize(
        "uri",
        [
            "mongodb://someone:s3cret/@127.0.0.1:27017/",
            "mongodb://someone:s3cret:27017@127.0.0.1",
            "mongodb://127.0.0.1:s3cret",
            "someone:s3cret@127.0.0.1",
            "mongodb://someone:s3cret@127.0.0.1/a b",
        ],
    )
    def test_broken_uri(self, uri: str) -> None:
        with pytest.raises(StoreUnavailable, match="QUOTEBASE_MONGODB_URI") as raised:
            MongoStore(uri)
        check_is_discreet(raised.value)

    def test_newer_version(self, uri: str, store: MongoStore, database: Database[Doc]) -> None:
        database["counters"].update_one({"_id": "schema_version"}, {"$set": {"last": 4}})
        with pytest.raises(StoreUnavailable, match="is of schema version 4 and this program knows 3"):
            MongoStore(uri)

    def test_a_failing_call_names_the_address(self, uri: str, proxy: CuttingProxy) -> None:
        store = MongoStore(proxy.uri)
        scene = set_scene(store, "scene")
        proxy.cut(1, "before")
        with pytest.raises(StoreUnavailable, match=r"^MongoDB at 127\.0\.0\.1:"):
            store.create_dataset("new", MODEL)
        for read in (store.list_datasets, lambda: store.get_record(scene.record_ids[0]), store.last_sequence):
            with pytest.raises(StoreUnavailable, match=r"^MongoDB at 127\.0\.0\.1:"):
                read()
        store.close()


def check_is_discreet(error: StoreUnavailable) -> None:
    told = "".join(traceback.format_exception(error, limit=0))
    assert "s3cret" not in told
    assert "someone" not in told


def on(scene: Scene, operation: Operation) -> Callable[[Store], object]:
    return lambda store: operation(store, scene)


def fails_when_cut(proxy: CuttingProxy, write: int, when: When, action: Callable[[Store], object]) -> bool:
    """Whether it does, in a process of its own that then ends."""
    store = MongoStore(proxy.uri)
    proxy.cut(write, when)
    try:
        action(store)
    except StoreUnavailable:
        return True
    finally:
        store.close()
        proxy.mend()
    return False


def fails(store: Store, operation: Operation, scene: Scene) -> bool:
    try:
        operation(store, scene)
    except StoreUnavailable:
        return True
    return False


def writes_of(proxy: CuttingProxy, store: Store, operation: Operation) -> int:
    """How many there are."""
    scene = set_scene(store, "count")
    assert not fails_when_cut(proxy, NEVER, "before", on(scene, operation))
    assert proxy.writes > 5
    return proxy.writes
