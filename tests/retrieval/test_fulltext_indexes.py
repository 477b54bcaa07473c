"""Full-text indexes and store stay in step: when opened, changed, made again, discarded, closed and damaged."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retrieval.errors import DatasetNotFound, StoreUnavailable
from retrieval.fulltext import index as index_module
from retrieval.fulltext import indexes as indexes_module
from retrieval.fulltext.index import FullTextIndex
from retrieval.fulltext.indexes import FullTextIndexes
from retrieval.store import Store, drain
from retrieval.types import Collection, Dataset, IndexDifferences, TextChanges
from tests.contracts.stores import MODEL, Place, embedded
from tests.mongodb import own_database
from tests.retrieval.texts import step

PATIENCE_S = 30.0
"""A thread that has not gone on after this hangs."""


class WatchedStore:
    """A store that says when an index reads texts, before it does. All else is the store's own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.on_texts: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def texts_after(
        self, dataset_id: str, watermark: int, limit: int, edition: int | None = None
    ) -> TextChanges:
        self.on_texts()
        return self._store.texts_after(dataset_id, watermark, limit, edition)


class World:
    """A store with full-text indexes over it, changed as a library does."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.store = WatchedStore(place.open())
        self.dataset: Dataset = self.store.create_dataset("d", MODEL)
        self.collection = self.new_collection("c")
        self.indexes = self.fresh()
        self._texts = 0

    @property
    def real(self) -> Store:
        return self.store._store

    def fresh(self) -> FullTextIndexes:
        """Indexes as they are at the next start."""
        return FullTextIndexes(self.store, self.folder)

    def restart(self) -> None:
        self.indexes.close()
        self.indexes = self.fresh()

    def close(self) -> None:
        self.store.on_texts = lambda: None
        self.indexes.close()
        self.place.close()

    def new_collection(self, name: str) -> Collection:
        return self.real.create_collection(self.dataset.id, name)

    def add(self, count: int, collection: Collection | None = None, text: str = "red fox") -> list[str]:
        """Record ids of passages with that text, and a number that no other has."""
        drafts = []
        for _ in range(count):
            self._texts += 1
            drafts.append(embedded(f"{text} number{self._texts}"))
        stored = self.real.add_records(collection or self.collection, drafts)
        self.indexes.note_change(self.dataset.id)
        return [record.id for record in stored.records]

    def delete(self, record_ids: Sequence[str]) -> None:
        self.real.delete_records(record_ids)
        self.indexes.note_change(self.dataset.id)

    def path(self) -> Path:
        return self.folder / self.dataset.id

    def stored(self) -> dict[int, int]:
        """Collection keys by passage id."""
        added = [changes.added for changes in drain(self.real.changes_after, self.dataset.id, 0)]
        return {
            passage_id: key
            for block in added
            for passage_id, key in zip(block.ids.tolist(), block.collection_keys.tolist(), strict=True)
        }


def passages(index: FullTextIndex) -> dict[int, int]:
    return dict(index.passages())


def assert_in_step(world: World) -> None:
    index = world.indexes.get(world.dataset)
    stored = world.stored()
    assert passages(index) == stored
    assert len(index) == len(stored) == world.real.count_passages(world.dataset.id)
    assert index.watermark <= world.real.last_sequence()
    assert {hit.passage_id for hit in index.search("red", len(stored) + 1)} == set(stored)


@pytest.fixture(params=["sqlite", "mongodb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "sqlite":
        world = World(Place(tmp_path), tmp_path / "fulltext")
        yield world
        world.close()
        return
    with own_database(request.getfixturevalue("mongodb_uri")) as uri:
        world = World(Place(tmp_path, uri), tmp_path / "fulltext")
        yield world
        world.close()


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[World]:
    """On SQLite alone, for what a store has no part in."""
    world = World(Place(tmp_path), tmp_path / "fulltext")
    yield world
    world.close()


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes_module, "STEP", 3)


def folders(world: World) -> list[str]:
    return sorted(folder.name for folder in world.folder.iterdir())


# Catching up


def test_an_index_catches_up_before_it_is_searched(world: World) -> None:
    assert_in_step(world)
    ids = world.add(5)
    assert_in_step(world)
    before = world.indexes.get(world.dataset)
    world.add(2, world.new_collection("other"))
    world.delete(ids[:2])
    assert_in_step(world)
    assert world.indexes.get(world.dataset) is before
    world.restart()
    assert_in_step(world)


def test_it_goes_on_where_it_was(world: World) -> None:
    """What happened while nobody noted it is in after a start, and nothing else is read."""
    ids = world.add(5)
    world.indexes.get(world.dataset)
    world.indexes.close()
    world.real.delete_records(ids[:1])
    world.real.add_records(world.collection, [embedded("red hen")])
    world.indexes = world.fresh()
    reads: list[int] = []
    world.store.on_texts = lambda: reads.append(1)
    assert_in_step(world)
    assert len(reads) == 1
    assert len(world.indexes.get(world.dataset).search("hen", 9)) == 1


@pytest.mark.usefixtures("small_steps")
def test_many_changes_come_in_small_steps(world: World) -> None:
    ids = world.add(10)
    assert_in_step(world)
    world.add(8)
    world.delete(ids[1:9])
    assert_in_step(world)


def test_nothing_is_read_while_nothing_has_changed(lone: World) -> None:
    lone.add(3)
    lone.indexes.get(lone.dataset)
    lone.indexes.settle()
    lone.store.on_texts = lambda: pytest.fail("it was read")
    assert len(lone.indexes.get(lone.dataset)) == 3


def test_in_the_background_it_catches_up_before_anybody_asks(lone: World) -> None:
    lone.add(4)
    lone.indexes.settle()
    assert passages(FullTextIndex(lone.path())) == lone.stored()


def test_a_change_during_a_catch_up_is_in_after_the_next(lone: World) -> None:
    lone.add(3)

    def add_once() -> None:
        lone.store.on_texts = lambda: None
        lone.add(1)

    lone.store.on_texts = add_once
    lone.indexes.get(lone.dataset)
    assert_in_step(lone)


@pytest.mark.usefixtures("small_steps")
def test_a_catch_up_that_is_cut_off_goes_on_there(lone: World, caplog: pytest.LogCaptureFixture) -> None:
    lone.add(10)
    reads = 0

    def fail_at_the_third() -> None:
        nonlocal reads
        reads += 1
        if reads == 3:
            raise KeyboardInterrupt

    lone.store.on_texts = fail_at_the_third
    with pytest.raises(KeyboardInterrupt):
        lone.indexes.get(lone.dataset)
    assert len(FullTextIndex(lone.path())) == 6
    with caplog.at_level(logging.WARNING):
        assert_in_step(lone)
    assert caplog.records == []
    # Six were in: 9, then 10, then how many there are.
    assert reads == 5


def test_searches_of_several_threads_open_it_once(lone: World) -> None:
    lone.add(20)
    barrier = threading.Barrier(6)

    def get() -> FullTextIndex:
        barrier.wait(PATIENCE_S)
        return lone.indexes.get(lone.dataset)

    with ThreadPoolExecutor(6) as pool:
        found = [one.result(PATIENCE_S) for one in [pool.submit(get) for _ in range(6)]]
    assert len({id(one) for one in found}) == 1
    assert_in_step(lone)


def test_adds_and_searches_side_by_side(lone: World) -> None:
    """A search that began after an add finds what was added."""
    problems: list[str] = []
    added: list[str] = []
    is_done = threading.Event()

    def look() -> None:
        while not is_done.is_set():
            expected = len(added)
            found = len(lone.indexes.get(lone.dataset).search("red", 1000))
            if found < expected:
                problems.append(f"{found} of {expected}")

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        added += lone.add(2)
    is_done.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert problems == []
    assert_in_step(lone)


# Making it again


def test_a_rebuild_goes_on_beside_searches_and_changes(world: World) -> None:
    ids = world.add(9)
    before = world.indexes.get(world.dataset)
    steps: list[tuple[int, int]] = []

    def look_on(done: int, total: int) -> None:
        steps.append((done, total))
        assert world.indexes.get(world.dataset) is before
        world.add(1)
        world.delete(ids[len(steps) : len(steps) + 1])
        assert_in_step(world)

    world.indexes.rebuild(world.dataset, look_on)
    assert steps[-1] == (9, 9)
    assert world.indexes.get(world.dataset) is not before
    assert_in_step(world)
    assert folders(world) == [world.dataset.id]
    world.restart()
    assert_in_step(world)


@pytest.mark.usefixtures("small_steps")
def test_the_steps_of_a_rebuild_lead_to_its_end(lone: World) -> None:
    lone.add(7)
    steps: list[tuple[int, int]] = []
    lone.indexes.rebuild(lone.dataset, lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == ((3, 7), (7, 7))


def test_a_rebuild_that_fails_leaves_the_old_index(lone: World) -> None:
    lone.add(5)
    before = lone.indexes.get(lone.dataset)

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lone.indexes.rebuild(lone.dataset, stop)
    assert lone.indexes.get(lone.dataset) is before
    assert folders(lone) == [lone.dataset.id]
    lone.indexes.rebuild(lone.dataset)
    assert_in_step(lone)


def test_a_rebuild_whose_index_cannot_be_put_in_place_is_an_error_and_costs_nothing(
    lone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone.add(5)
    lone.indexes.get(lone.dataset)

    def refuse(*_: object) -> None:
        raise PermissionError("the folder cannot be renamed")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(StoreUnavailable, match="cannot be renamed"):
            lone.indexes.rebuild(lone.dataset)
    assert_in_step(lone)
    assert folders(lone) == [lone.dataset.id]


def test_two_rebuilds_at_once_are_one_after_the_other(lone: World) -> None:
    lone.add(30)
    with ThreadPoolExecutor(3) as pool:
        for rebuilt in [pool.submit(lone.indexes.rebuild, lone.dataset) for _ in range(3)]:
            rebuilt.result(PATIENCE_S)
    assert_in_step(lone)
    assert folders(lone) == [lone.dataset.id]


def test_a_worn_index_is_made_again_in_the_background(lone: World) -> None:
    ids = lone.add(12)
    worn = lone.indexes.get(lone.dataset)
    lone.delete(ids[:1])
    lone.indexes.settle()
    index = lone.indexes.get(lone.dataset)
    assert index is not worn
    assert not index.is_worn
    assert_in_step(lone)
    # Once: the store's list of all that ever went does not wear a new one.
    lone.add(1)
    lone.indexes.settle()
    assert lone.indexes.get(lone.dataset) is index


def test_one_that_was_worn_at_the_last_stop_is_made_again_when_it_is_used(
    lone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = lone.add(12)
    lone.indexes.get(lone.dataset)
    monkeypatch.setattr(index_module, "QUICKLY_MADE", 0)
    monkeypatch.setattr(index_module, "REMOVED_SHARE", 1.0)
    lone.delete(ids[:1])
    lone.indexes.get(lone.dataset)
    lone.restart()
    monkeypatch.undo()
    assert lone.indexes.get(lone.dataset).is_worn
    lone.indexes.settle()
    assert not lone.indexes.get(lone.dataset).is_worn
    assert_in_step(lone)


def test_what_a_crash_left_of_an_unfinished_one_is_removed(lone: World) -> None:
    lone.add(3)
    lone.indexes.get(lone.dataset)
    lone.indexes.close()
    unfinished = lone.folder / f"{lone.dataset.id}.new"
    unfinished.mkdir()
    (unfinished / "meta.json").write_text("half a li")
    lone.indexes = lone.fresh()
    assert folders(lone) == [lone.dataset.id]
    assert_in_step(lone)


# Discarding


def test_a_discarded_index_is_made_again(world: World) -> None:
    world.add(4)
    before = world.indexes.get(world.dataset)
    world.indexes.discard(world.dataset.id)
    assert folders(world) == []
    assert len(before.search("red", 9)) == 4
    assert_in_step(world)


def test_a_deleted_dataset_leaves_nothing_whoever_asks(world: World) -> None:
    world.add(4)
    world.indexes.get(world.dataset)
    world.real.delete_dataset(world.dataset.id)
    world.indexes.discard(world.dataset.id)
    for ask in (world.indexes.get, world.indexes.rebuild):
        with pytest.raises(DatasetNotFound):
            ask(world.dataset)
        assert folders(world) == []
    world.indexes.note_change(world.dataset.id)
    world.indexes.settle()
    assert folders(world) == []


def test_a_dataset_deleted_during_a_catch_up_leaves_nothing(lone: World) -> None:
    lone.add(4)

    def delete() -> None:
        lone.store.on_texts = lambda: None
        lone.real.delete_dataset(lone.dataset.id)

    lone.store.on_texts = delete
    with pytest.raises(DatasetNotFound):
        lone.indexes.get(lone.dataset)
    lone.indexes.discard(lone.dataset.id)
    assert folders(lone) == []


def test_an_index_discarded_during_a_rebuild_does_not_come_back(lone: World) -> None:
    lone.add(4)

    def delete(_done: int, _total: int) -> None:
        lone.real.delete_dataset(lone.dataset.id)
        lone.indexes.discard(lone.dataset.id)

    lone.indexes.rebuild(lone.dataset, delete)
    assert folders(lone) == []


# Closing


def test_closing_ends_a_rebuild_of_another_thread_at_its_next_step(lone: World) -> None:
    lone.add(4)
    before = passages(lone.indexes.get(lone.dataset))
    is_under_way, may_go_on = threading.Event(), threading.Event()

    def wait_once() -> None:
        lone.store.on_texts = lambda: None
        is_under_way.set()
        assert may_go_on.wait(PATIENCE_S)

    lone.indexes.settle()
    lone.store.on_texts = wait_once
    with ThreadPoolExecutor(2) as pool:
        rebuilt = pool.submit(lone.indexes.rebuild, lone.dataset)
        assert is_under_way.wait(PATIENCE_S)
        closed = pool.submit(lone.indexes.close)
        # It waits, so that nobody else owns the directory while its files are written.
        with pytest.raises(TimeoutError):
            closed.result(0.2)
        may_go_on.set()
        closed.result(PATIENCE_S)
        with pytest.raises(StoreUnavailable, match="the library was closed"):
            rebuilt.result(PATIENCE_S)
    assert folders(lone) == [lone.dataset.id]
    assert passages(FullTextIndex(lone.path())) == before


def test_after_closing_nothing_is_caught_up(lone: World) -> None:
    lone.add(4)
    lone.indexes.close()
    with pytest.raises(StoreUnavailable, match="the library was closed"):
        lone.indexes.get(lone.dataset)
    lone.add(1)
    lone.indexes.settle()
    lone.indexes = lone.fresh()
    assert_in_step(lone)


# What cannot be used


def damage(world: World) -> None:
    file = next(file for file in sorted(world.path().iterdir()) if file.suffix == ".idx")
    content = bytearray(file.read_bytes())
    content[len(content) // 4] ^= 1
    file.write_bytes(content)


def test_a_damaged_index_is_made_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.add(4)
    world.indexes.get(world.dataset)
    world.indexes.close()
    damage(world)
    world.indexes = world.fresh()
    with caplog.at_level(logging.WARNING):
        assert_in_step(world)
    (record,) = caplog.records
    assert "is damaged" in record.message
    assert "making it again from the store" in record.message
    assert world.indexes.verify(world.dataset).is_clean


def test_one_of_another_format_is_made_again(
    lone: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone.add(4)
    lone.indexes.get(lone.dataset)
    lone.indexes.close()
    monkeypatch.setattr(index_module, "FORMAT", "newer")
    lone.indexes = lone.fresh()
    with caplog.at_level(logging.WARNING):
        assert_in_step(lone)
    assert "is of the format" in caplog.text


def put(world: World, rows: dict[int, tuple[int, str]], watermark: int) -> None:
    """An index of these passages in the place of the dataset's."""
    world.indexes.close()
    world.indexes = world.fresh()
    world.indexes.discard(world.dataset.id)
    FullTextIndex(world.path()).apply([step(rows, watermark=watermark)])


@pytest.mark.parametrize("ahead", [0, 1000])
def test_one_of_another_store_is_made_again(
    world: World, caplog: pytest.LogCaptureFixture, ahead: int
) -> None:
    """It is further than this store ever was, or has other passages."""
    world.add(4)
    key = world.collection.key
    rows = dict.fromkeys(list(world.stored())[:3], (key, "red stranger"))
    put(world, rows, world.real.last_sequence() + ahead)
    with caplog.at_level(logging.WARNING):
        assert_in_step(world)
    assert "is not of this store" in caplog.text
    assert world.indexes.get(world.dataset).search("stranger", 9) == []


def test_where_nothing_can_be_written_it_says_so(lone: World) -> None:
    lone.add(2)
    lone.folder.mkdir(exist_ok=True)
    lone.path().write_text("a file in the place of the folder")
    with pytest.raises(StoreUnavailable, match="'d' was not made"):
        lone.indexes.get(lone.dataset)
    lone.path().unlink()
    assert_in_step(lone)


# Comparing


def test_verify_finds_nothing_where_nothing_is_wrong(world: World) -> None:
    assert world.indexes.verify(world.dataset) == IndexDifferences()
    ids = world.add(5)
    world.delete(ids[:2])
    assert world.indexes.verify(world.dataset) == IndexDifferences()
    before = world.indexes.get(world.dataset)
    assert world.indexes.get(world.dataset) is before


def test_verify_finds_what_is_missing_surplus_and_misfiled(world: World) -> None:
    """As many as the store has, so that nobody noticed when it was opened."""
    world.add(4)
    key = world.collection.key
    first, second, third, _ = world.stored()
    stranger = world.real.last_sequence()
    world.real.create_collection(world.dataset.id, "takes a number")
    rows = {first: (key, "red"), second: (key + 1, "red"), third: (key, "red"), stranger + 1: (key, "red")}
    put(world, rows, world.real.last_sequence())
    assert world.indexes.verify(world.dataset) == IndexDifferences(missing=1, surplus=1, misfiled=1)
    assert folders(world) == []
    assert_in_step(world)
    assert world.indexes.verify(world.dataset).is_clean


def test_verify_finds_damaged_files_under_an_open_index(lone: World) -> None:
    lone.add(4)
    lone.indexes.get(lone.dataset)
    lone.indexes.settle()
    damage(lone)
    found = lone.indexes.verify(lone.dataset)
    assert found.snapshot.endswith(".idx is damaged")
    assert not found.is_clean
    assert lone.indexes.verify(lone.dataset).is_clean
    assert_in_step(lone)
