"""Indexes and store stay in step.

Loaded, changed, folded, read in, discarded, unloaded, saved and damaged.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retrieval.indexes import Indexes
from retrieval.passages import whole_passages
from retrieval.store import Stored, drain
from retrieval.store.sqlite import SqliteStore
from retrieval.types import (
    Changes,
    Collection,
    Dataset,
    EmbeddedDraft,
    Embeddings,
    Hit,
    IndexDifferences,
    ModelBinding,
    PassageBlock,
    RecordDraft,
    StoredEmbeddings,
)
from retrieval.vectors.asked import Asked
from retrieval.vectors.calibration import ENOUGH
from retrieval.vectors.codes import Codes
from retrieval.vectors.index import DEFAULT_FOLDS, FoldPolicy, VectorIndex
from retrieval.vectors.snapshot import MANIFEST, save_snapshot
from tests.oracle import assert_as_near, nearest

DIM = 8
MODEL = ModelBinding("m", DIM, "f")

SMALL = FoldPolicy(exact_limit=20, flat_share=1 / 16, removed_share=1 / 10)
"""More than 20 passages become a graph; 5 new or 5 removed ones are worth a fold."""

FOLDS = "quotebase-folding"
"""The thread that folds."""

PATIENCE_S = 20.0
"""A thread that has not gone on after this hangs."""

AT_ONCE = 20_000
"""Changes that an index takes in one step."""


class WatchedStore(SqliteStore):
    """Says when an index reads changes or counts, before and after."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.on_changes: Callable[[str], None] = lambda moment: None
        self.on_count: Callable[[], None] = lambda: None

    def changes_after(
        self, dataset_id: str, watermark: int, limit: int, edition: int | None = None
    ) -> Changes:
        # One passage at a time is a look at a sample, and no catching up.
        if limit == 1:
            return super().changes_after(dataset_id, watermark, limit, edition)
        self.on_changes("before")
        changes = super().changes_after(dataset_id, watermark, limit, edition)
        self.on_changes("after")
        return changes

    def count_passages(self, dataset_id: str, edition: int | None = None) -> int:
        self.on_count()
        return super().count_passages(dataset_id, edition)


class World:
    """A store with indexes over it, changed as a library does."""

    def __init__(self, folder: Path, policy: FoldPolicy, memory: int | None = None) -> None:
        self.folder = folder
        self.policy = policy
        self.memory = memory
        self.store = WatchedStore(folder / "quotebase.sqlite")
        self.writing = threading.RLock()
        self.pool = ThreadPoolExecutor(4)
        self.actions: list[Future[None]] = []
        self._texts = 0
        self._random = np.random.default_rng(11)
        self.indexes = self.fresh()

    def fresh(self) -> Indexes:
        """Indexes as they are at the next start."""
        return Indexes(self.store, self.folder / "indexes", self.writing, self.memory, self.policy)

    def restart(self) -> None:
        self.indexes.close()
        self.indexes = self.fresh()

    def close(self) -> None:
        self.store.on_changes = lambda moment: None
        self.indexes.close()
        self.pool.shutdown()
        self.store.close()

    def dataset(self, name: str = "d") -> tuple[Dataset, Collection]:
        dataset = self.store.create_dataset(name, MODEL)
        return dataset, self.store.create_collection(dataset.id, "c")

    def drafts(self, count: int) -> list[EmbeddedDraft]:
        rows = self._random.normal(size=(count, DIM))
        rows[::7] = 1
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        self._texts += count
        return [
            EmbeddedDraft(draft, 1, whole_passages(draft), row[np.newaxis].astype(np.float16))
            for place, row in enumerate(rows)
            for draft in [RecordDraft(f"{self._texts} {place}")]
        ]

    def add(self, collection: Collection, count: int) -> Stored:
        with self.writing:
            stored = self.store.add_records(collection, self.drafts(count))
            self.indexes.publish(
                self.store.get_dataset(collection.dataset_id), stored.passages, stored.removed
            )
        return stored

    def delete(self, dataset: Dataset, record_ids: Sequence[str]) -> None:
        with (
            self.writing,
            self.indexes.removing(dataset.id, self.store.passage_ids_of(record_ids)),
        ):
            self.store.delete_records(record_ids)

    def verify(self, dataset: Dataset) -> IndexDifferences:
        with self.writing:
            return self.indexes.verify(dataset)

    def discard(self, dataset: Dataset) -> None:
        with self.writing:
            self.indexes.discard(dataset.id)

    def beside(self, action: Callable[[], object]) -> None:
        """Do it in another thread, and wait for it; if it has to wait for the writer's lock, go on."""
        is_under_way = threading.Event()

        def act() -> None:
            try:
                if self.writing.acquire(blocking=False):
                    try:
                        action()
                    finally:
                        self.writing.release()
                else:
                    is_under_way.set()
                    with self.writing:
                        action()
            finally:
                is_under_way.set()

        self.actions.append(self.pool.submit(act))
        assert is_under_way.wait(PATIENCE_S)

    def at_step(self, number: int, moment: str, thread: str, action: Callable[[], object]) -> None:
        """Do it beside, before or after the ``number``-th catch-up of a thread.

        Of a fold these are: of the copy, of the sealed copy, and once more with all locks held.
        """
        steps = 0

        def act(now: str) -> None:
            nonlocal steps
            if threading.current_thread().name == thread and now == moment:
                steps += 1
                if steps == number:
                    self.beside(action)

        self.store.on_changes = act

    def await_actions(self, count: int = 1) -> None:
        """All have come to pass, and without an error."""
        assert len(self.actions) == count
        for action in self.actions:
            action.result(PATIENCE_S)

    def settle(self) -> None:
        settled = self.pool.submit(self.indexes.settle)
        settled.result(PATIENCE_S)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, SMALL)
    yield world
    world.close()


@pytest.fixture
def collection(world: World) -> Collection:
    return world.dataset()[1]


@pytest.fixture
def dataset(world: World, collection: Collection) -> Dataset:
    return world.store.get_dataset(collection.dataset_id)


def ids_in(index: VectorIndex) -> list[int]:
    return [passage_id for block in index.blocks() for passage_id in block.ids.tolist()]


def stored_block(world: World, dataset: Dataset) -> PassageBlock:
    (changes,) = drain(world.store.changes_after, dataset.id, 0)
    return changes.added


def assert_in_step(world: World, dataset: Dataset) -> list[list[Hit]]:
    """The index has what the store has, bit by bit, and finds it. Returns what some queries find."""
    stored = stored_block(world, dataset)
    index = world.indexes.get(dataset)
    assert len(index) == len(stored) == world.store.count_passages(dataset.id)
    held = index.find(stored.ids)
    np.testing.assert_array_equal(held.ids, stored.ids)
    np.testing.assert_array_equal(held.collection_keys, stored.collection_keys)
    np.testing.assert_array_equal(held.embeddings.view(np.uint16), stored.embeddings.view(np.uint16))
    hits = []
    for query in np.eye(DIM, dtype=np.float32)[:3]:
        everything = nearest(stored.ids, stored.embeddings, query, len(stored))
        (found,) = index.search(query[np.newaxis], 10)
        assert_as_near(found, everything, 10)
        hits.append(found)
    return hits


def folder_of(world: World, dataset: Dataset) -> Path:
    return world.folder / "indexes" / dataset.id


# Loading


def test_an_index_is_made_from_the_store(world: World, dataset: Dataset, collection: Collection) -> None:
    stored = world.add(collection, 12)
    assert ids_in(world.indexes.get(dataset)) == stored.passages.ids.tolist()
    assert world.indexes.get(dataset) is world.indexes.get(dataset)
    assert_in_step(world, dataset)


def test_an_index_of_nothing(world: World, dataset: Dataset) -> None:
    assert len(world.indexes.get(dataset)) == 0
    assert world.verify(dataset).is_clean


def test_a_saved_index_catches_up_with_the_store(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    stored = world.add(collection, 12)
    world.indexes.get(dataset)
    world.indexes.close()
    world.store.delete_records([stored.records[0].id, stored.records[7].id])
    more = world.store.add_records(collection, world.drafts(4))
    world.indexes = world.fresh()
    index = world.indexes.get(dataset)
    expected = [*np.delete(stored.passages.ids, [0, 7]).tolist(), *more.passages.ids.tolist()]
    assert ids_in(index) == expected
    assert (len(index.sealed), len(index.flat)) == (10, 4)
    assert_in_step(world, dataset)


def test_a_folded_index_catches_up_with_the_store(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    stored = world.add(collection, 60)
    world.indexes.get(dataset)
    world.settle()
    world.indexes.close()
    world.store.delete_records([record.id for record in stored.records[10:13]])
    world.store.add_records(collection, world.drafts(2))
    world.indexes = world.fresh()
    index = world.indexes.get(dataset)
    assert (index.has_graph, len(index.sealed), len(index.flat)) == (True, 57, 2)
    assert_in_step(world, dataset)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 100])
def test_catching_up_in_steps_of_any_size(
    world: World, dataset: Dataset, collection: Collection, limit: int
) -> None:
    """From each point of a history of additions and removals, to the same end."""
    copies: list[VectorIndex] = []
    alive: dict[int, str] = {}
    for turn in range(6):
        stored = world.add(collection, turn + 1)
        alive |= zip(stored.passages.ids.tolist(), (record.id for record in stored.records), strict=True)
        gone = sorted(alive)[turn % 2 : turn : 2]
        world.store.delete_records([alive.pop(passage_id) for passage_id in gone])
        copies.append(VectorIndex(DIM, DEFAULT_FOLDS))
        for index in copies:
            for changes in drain(world.store.changes_after, dataset.id, index.watermark, limit):
                index.apply(changes)
                assert max(len(changes.added), len(changes.removed)) <= limit
            assert ids_in(index) == sorted(alive)
            assert index.watermark == world.store.last_sequence()


def test_an_add_between_loading_and_counting_does_not_cost_the_snapshot(
    world: World, dataset: Dataset, collection: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    world.add(collection, 12)
    world.indexes.get(dataset)
    world.restart()
    files = sorted(folder_of(world, dataset).iterdir())
    counts = 0

    def add_before_the_first_counts() -> None:
        nonlocal counts
        counts += 1
        if counts <= 2:
            world.beside(lambda: world.store.add_records(collection, world.drafts(1)))

    world.store.on_count = add_before_the_first_counts
    with caplog.at_level(logging.WARNING):
        index = world.indexes.get(dataset)
    world.store.on_count = lambda: None
    world.await_actions(2)
    assert caplog.records == []
    assert (len(index.sealed), len(index.flat)) == (12, 2)
    assert sorted(folder_of(world, dataset).iterdir()) == files
    assert_in_step(world, dataset)


def test_a_snapshot_that_lacks_passages_is_made_again(
    world: World, dataset: Dataset, collection: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    block = world.add(collection, 12).passages
    tamper(world, dataset, take(block, np.arange(11)))
    with caplog.at_level(logging.WARNING):
        assert_in_step(world, dataset)
    assert "does not fit the store" in caplog.text


def take(block: PassageBlock, rows: Sequence[int] | np.ndarray) -> PassageBlock:
    return PassageBlock(block.ids[rows], block.collection_keys[rows], block.embeddings[rows])


def tamper(world: World, dataset: Dataset, block: PassageBlock) -> None:
    """A whole snapshot of these passages, as if they were those of the store."""
    index = VectorIndex(DIM, DEFAULT_FOLDS)
    index.apply(Changes(block, np.empty(0, dtype=np.int64), world.store.last_sequence(), is_last=True))
    save_snapshot(*index.exact_part(), MODEL, folder_of(world, dataset))


# Changes


def test_published_passages_are_in_once_whoever_was_first(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    """Between storing and publishing, a search may load the index, with what is about to be published."""
    first = world.store.add_records(collection, world.drafts(2))
    assert ids_in(world.indexes.get(dataset)) == first.passages.ids.tolist()
    world.indexes.publish(dataset, first.passages, first.removed)
    second = world.add(collection, 1)
    world.add(collection, 0)
    assert ids_in(world.indexes.get(dataset)) == [*first.passages.ids, *second.passages.ids]
    assert_in_step(world, dataset)


def test_an_index_loaded_while_passages_are_deleted_does_not_have_them(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    stored = world.add(collection, 3)
    gone = [stored.records[1].id]
    with world.indexes.removing(dataset.id, world.store.passage_ids_of(gone)):
        assert len(world.indexes.get(dataset)) == 3
        world.store.delete_records(gone)
    assert ids_in(world.indexes.get(dataset)) == [stored.passages.ids[0], stored.passages.ids[2]]
    assert_in_step(world, dataset)


def test_passages_leave_the_index_before_the_store(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    stored = world.add(collection, 2)
    assert len(world.indexes.get(dataset)) == 2
    with world.indexes.removing(dataset.id, [int(stored.passages.ids[0])]):
        assert ids_in(world.indexes.get(dataset)) == [stored.passages.ids[1]]
        assert world.store.count_passages(dataset.id) == 2
        world.store.delete_records([stored.records[0].id])
    assert_in_step(world, dataset)


def test_passages_that_could_not_be_deleted_are_back(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    stored = world.add(collection, 2)
    world.indexes.get(dataset)

    def delete_and_fail() -> None:
        with world.indexes.removing(dataset.id, stored.passages.ids.tolist()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delete_and_fail()
    assert ids_in(world.indexes.get(dataset)) == stored.passages.ids.tolist()


def test_only_what_has_changed_is_saved(world: World, dataset: Dataset, collection: Collection) -> None:
    world.indexes.close()
    assert not (world.folder / "indexes").exists()
    world.indexes = world.fresh()
    world.add(collection, 1)
    world.indexes.get(dataset)
    world.restart()
    files = sorted(folder_of(world, dataset).iterdir())
    assert len(files) == 3
    world.indexes.get(dataset)
    world.restart()
    assert sorted(folder_of(world, dataset).iterdir()) == files
    world.indexes.get(dataset)
    world.add(collection, 1)
    world.restart()
    assert len(set(folder_of(world, dataset).iterdir()) - set(files)) == 2


def test_a_discarded_index_is_made_again(world: World, dataset: Dataset, collection: Collection) -> None:
    world.add(collection, 3)
    world.indexes.get(dataset)
    world.restart()
    before = world.indexes.get(dataset)
    world.discard(dataset)
    assert list((world.folder / "indexes").iterdir()) == []
    assert world.indexes.get(dataset) is not before
    assert_in_step(world, dataset)
    world.indexes.discard("no such dataset")


# Folding


def assert_folded(world: World, dataset: Dataset, sealed: int, has_graph: bool = True) -> None:
    status = world.indexes.status(dataset)
    assert (status.sealed, status.flat, status.removed, status.has_graph, status.folding) == (
        sealed,
        0,
        0,
        has_graph,
        None,
    )
    assert_in_step(world, dataset)


def folded(world: World, dataset: Dataset, collection: Collection, count: int = 60) -> Stored:
    stored = world.add(collection, count)
    world.indexes.get(dataset)
    world.settle()
    assert_folded(world, dataset, count)
    return stored


@pytest.mark.parametrize(("count", "has_graph"), [(20, False), (21, True)])
def test_loading_folds_what_is_too_many_for_a_scan(
    world: World, dataset: Dataset, collection: Collection, count: int, has_graph: bool
) -> None:
    world.add(collection, count)
    before = world.indexes.get(dataset)
    world.settle()
    assert world.indexes.status(dataset).has_graph == has_graph
    assert (world.indexes.get(dataset) is before) != has_graph
    assert_in_step(world, dataset)


@pytest.mark.parametrize(("more", "is_folded"), [(4, False), (5, True)])
def test_publishing_folds_a_flat_part_that_has_grown(
    world: World, dataset: Dataset, collection: Collection, more: int, is_folded: bool
) -> None:
    folded(world, dataset, collection)
    world.add(collection, more)
    world.settle()
    status = world.indexes.status(dataset)
    assert (status.sealed, status.flat) == ((60 + more, 0) if is_folded else (60, more))
    assert_in_step(world, dataset)


@pytest.mark.parametrize(("gone", "is_folded"), [(5, False), (6, True)])
def test_removing_folds_what_is_only_marked(
    world: World, dataset: Dataset, collection: Collection, gone: int, is_folded: bool
) -> None:
    stored = folded(world, dataset, collection)
    world.delete(dataset, [record.id for record in stored.records[:gone]])
    world.settle()
    assert world.indexes.status(dataset).removed == (0 if is_folded else gone)
    assert world.indexes.status(dataset).sealed == 60 - gone
    assert_in_step(world, dataset)


def test_an_index_that_has_shrunk_is_scanned_again(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    stored = folded(world, dataset, collection)
    world.delete(dataset, [record.id for record in stored.records[:45]])
    world.settle()
    assert_folded(world, dataset, 15, has_graph=False)


def test_a_fold_is_what_the_next_start_finds(world: World, dataset: Dataset, collection: Collection) -> None:
    folded(world, dataset, collection)
    world.restart()
    world.indexes.get(dataset)
    assert_folded(world, dataset, 60)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_what_is_added_and_deleted_during_the_first_fold_is_not_lost(
    world: World, dataset: Dataset, collection: Collection, step: int, moment: str
) -> None:
    stored = world.add(collection, 60)

    def change() -> None:
        world.add(collection, 2)
        world.delete(dataset, [stored.records[3].id, stored.records[59].id])

    world.at_step(step, moment, FOLDS, change)
    world.indexes.get(dataset)
    world.settle()
    world.await_actions()
    assert world.indexes.status(dataset).has_graph
    assert world.store.count_passages(dataset.id) == 60
    assert_in_step(world, dataset)
    world.restart()
    assert_in_step(world, dataset)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_what_is_added_and_deleted_during_a_further_fold_is_not_lost(
    world: World, dataset: Dataset, collection: Collection, step: int, moment: str
) -> None:
    stored = folded(world, dataset, collection)

    def change() -> None:
        world.add(collection, 2)
        world.delete(dataset, [stored.records[3].id, more.records[0].id])

    world.at_step(step, moment, FOLDS, change)
    more = world.add(collection, 6)
    world.settle()
    world.await_actions()
    assert world.indexes.status(dataset).sealed >= 60
    assert_in_step(world, dataset)
    world.restart()
    assert_in_step(world, dataset)


def test_a_search_during_a_fold_finds_what_it_did_before(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    world.add(collection, 60)
    seen: list[float | None] = []

    def search() -> None:
        seen.append(world.indexes.status(dataset).folding)
        assert_in_step(world, dataset)

    world.at_step(2, "before", FOLDS, search)
    world.indexes.get(dataset)
    world.settle()
    world.await_actions()
    assert seen == [1.0]
    assert_folded(world, dataset, 60)


def test_settling_waits_for_all_that_is_due(world: World) -> None:
    places = [world.dataset(f"d{number}") for number in range(3)]
    for number, (dataset, collection) in enumerate(places):
        world.add(collection, 30 + number)
        world.indexes.get(dataset)
    world.settle()
    for number, (dataset, _) in enumerate(places):
        assert_folded(world, dataset, 30 + number)


def test_settling_with_nothing_to_do_returns(world: World, dataset: Dataset) -> None:
    world.settle()
    world.indexes.get(dataset)
    world.settle()
    world.indexes.close()
    world.settle()


@pytest.mark.parametrize("step", [1, 2])
def test_closing_interrupts_a_fold_and_loses_nothing(
    world: World, dataset: Dataset, collection: Collection, step: int
) -> None:
    stored = folded(world, dataset, collection)
    before = sorted(folder_of(world, dataset).iterdir())
    has_begun, may_go_on = threading.Event(), threading.Event()
    steps = 0

    def hold(moment: str) -> None:
        nonlocal steps
        if threading.current_thread().name == FOLDS and moment == "after":
            steps += 1
            if steps == step:
                has_begun.set()
                assert may_go_on.wait(PATIENCE_S)

    world.store.on_changes = hold
    world.add(collection, 6)
    world.delete(dataset, [stored.records[0].id])
    settled = world.pool.submit(world.indexes.settle)
    assert has_begun.wait(PATIENCE_S)
    closed = world.pool.submit(world.indexes.close)
    # Nobody waits for a fold any more when the indexes are being closed.
    settled.result(PATIENCE_S)
    assert not closed.done()
    may_go_on.set()
    closed.result(PATIENCE_S)
    world.store.on_changes = lambda moment: None
    assert (sorted(folder_of(world, dataset).iterdir()) == before) == (step == 1)
    world.indexes = world.fresh()
    assert_in_step(world, dataset)
    world.settle()
    assert_in_step(world, dataset)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_copy_made_before_a_discard_does_not_come_back(
    world: World, dataset: Dataset, collection: Collection, step: int, moment: str
) -> None:
    world.add(collection, 60)
    world.at_step(step, moment, FOLDS, lambda: world.discard(dataset))
    world.indexes.get(dataset)
    world.settle()
    world.await_actions()
    status = world.indexes.status(dataset)
    assert (status.is_loaded, status.disk_bytes) == (False, 0)
    assert not folder_of(world, dataset).exists()
    assert_in_step(world, dataset)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_copy_of_what_verify_found_wrong_does_not_come_back(
    world: World, dataset: Dataset, collection: Collection, step: int, moment: str
) -> None:
    tamper(world, dataset, turned(world.add(collection, 60).passages, 1))
    found: list[IndexDifferences] = []
    world.at_step(step, moment, FOLDS, lambda: found.append(world.verify(dataset)))
    world.indexes.get(dataset)
    world.settle()
    world.await_actions()
    assert found == [IndexDifferences(changed=1)]
    assert_in_step(world, dataset)
    assert world.verify(dataset).is_clean
    world.restart()
    assert_in_step(world, dataset)


def turned(block: PassageBlock, row: int) -> PassageBlock:
    """One number differs in its last bit, of a passage that is in no sample."""
    embeddings: StoredEmbeddings = block.embeddings.copy()
    embeddings[row, 0] = np.nextafter(embeddings[row, 0], np.float16(2))
    return PassageBlock(block.ids, block.collection_keys, embeddings)


def test_a_dataset_deleted_during_a_fold_leaves_nothing(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    world.add(collection, 60)

    def delete() -> None:
        world.discard(dataset)
        world.store.delete_dataset(dataset.id)
        world.discard(dataset)

    world.at_step(1, "before", FOLDS, delete)
    world.indexes.get(dataset)
    world.settle()
    world.await_actions()
    assert not folder_of(world, dataset).exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), OSError("disk full"), MemoryError()])
def test_a_fold_that_fails_hangs_nobody_and_later_ones_run(
    world: World, dataset: Dataset, collection: Collection, error: Exception
) -> None:
    failures = 0

    def fail_once(moment: str) -> None:
        nonlocal failures
        if threading.current_thread().name == FOLDS and not failures:
            failures += 1
            raise error

    world.store.on_changes = fail_once
    world.add(collection, 60)
    world.indexes.get(dataset)
    world.settle()
    assert failures == 1
    status = world.indexes.status(dataset)
    assert (status.has_graph, status.folding) == (False, None)
    assert_in_step(world, dataset)
    world.add(collection, 1)
    world.settle()
    assert_folded(world, dataset, 61)


# Trying


class Trials:
    """In the place of the search for an effort, which has tests of its own: notes with what it is tried."""

    def __init__(self) -> None:
        self.asked: list[list[float]] = []
        self.on_check: Callable[[], None] = lambda: None

    def find_effort(self, codes: Codes, asked: Embeddings, check: Callable[[], None]) -> int:
        self.asked.append([float(row[0]) for row in asked])
        self.on_check()
        check()
        return 64 + len(self.asked)


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    trials = Trials()
    monkeypatch.setattr("retrieval.vectors.index.find_effort", trials.find_effort)
    return trials


def ask(world: World, dataset: Dataset, first: int, count: int) -> list[float]:
    """As many questions, from that number on; the first components of their embeddings."""
    queries = np.random.default_rng(first).integers(-9, 9, size=(count, 1, DIM)).astype(np.float32)
    world.indexes.get(dataset)
    for number, query in enumerate(queries, start=first):
        world.indexes.note_question(dataset, f"question {number}", lambda _, query=query: query)
    world.settle()
    return [float(query[0, 0]) for query in queries]


def effort(world: World, dataset: Dataset) -> int:
    return world.indexes.get(dataset).effort


def test_a_graph_is_tried_with_what_was_asked_once_it_is_enough(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    folded(world, dataset, collection)
    before = ask(world, dataset, 0, ENOUGH - 1)
    ask(world, dataset, 0, ENOUGH - 1)
    assert (trials.asked, effort(world, dataset)) == ([[]], 65)

    before += ask(world, dataset, ENOUGH, 1)
    assert (trials.asked, effort(world, dataset)) == ([[], before], 66)
    assert_folded(world, dataset, 60)

    ask(world, dataset, 2 * ENOUGH, 2 * ENOUGH)
    assert len(trials.asked) == 2
    world.restart()
    assert effort(world, dataset) == 66


def test_what_is_folded_next_is_tried_with_the_last_that_was_asked(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    folded(world, dataset, collection)
    ask(world, dataset, 0, ENOUGH)
    last = ask(world, dataset, ENOUGH, ENOUGH)
    world.add(collection, 5)
    world.settle()
    assert trials.asked[2:] == [last]
    assert effort(world, dataset) == 67
    world.indexes.rebuild(dataset)
    assert trials.asked[3:] == [last]
    world.restart()
    assert effort(world, dataset) == 68


def test_what_is_scanned_is_not_tried(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    world.add(collection, 20)
    ask(world, dataset, 0, ENOUGH)
    world.add(collection, 40)
    world.settle()
    assert trials.asked == [[]]


def test_an_index_that_is_discarded_forgets_what_was_asked(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    folded(world, dataset, collection)
    ask(world, dataset, 0, ENOUGH)
    world.discard(dataset)
    world.indexes.get(dataset)
    world.settle()
    assert trials.asked[2:] == [[]]
    again = ask(world, dataset, 0, ENOUGH)
    assert trials.asked[3:] == [again]


def test_closing_interrupts_a_trial(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    folded(world, dataset, collection)
    has_begun, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        has_begun.set()
        assert may_go_on.wait(PATIENCE_S)

    trials.on_check = hold
    asking = world.pool.submit(ask, world, dataset, 0, ENOUGH)
    assert has_begun.wait(PATIENCE_S)
    closed = world.pool.submit(world.indexes.close)
    # Nobody waits for a trial any more when the indexes are being closed.
    asking.result(PATIENCE_S)
    assert not closed.done()
    may_go_on.set()
    closed.result(PATIENCE_S)
    world.indexes = world.fresh()
    assert effort(world, dataset) == 65


def test_what_was_asked_before_a_restart_counts(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    folded(world, dataset, collection)
    before = ask(world, dataset, 0, ENOUGH - 10)
    world.restart()
    before += ask(world, dataset, ENOUGH, 10)
    assert (trials.asked[1:], effort(world, dataset)) == ([before], 66)
    world.restart()
    world.add(collection, 5)
    world.indexes.get(dataset)
    world.settle()
    assert (trials.asked[2:], effort(world, dataset)) == ([before], 67)
    assert_folded(world, dataset, 65)


def test_what_is_unloaded_before_its_trial_is_tried_when_it_is_back(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    folded(world, dataset, collection)
    world.indexes.get(dataset)
    for number in range(ENOUGH):
        world.indexes.note_question(dataset, f"question {number}", lambda _: np.ones((1, DIM), np.float32))
    world.indexes.unload(dataset)
    world.settle()
    assert len(trials.asked) == 1
    assert effort(world, dataset) == 65
    world.settle()
    assert len(trials.asked) == 2
    assert effort(world, dataset) == 66


def test_what_is_unloaded_and_loaded_during_its_trial_has_the_effort(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    folded(world, dataset, collection)

    def reload() -> None:
        world.indexes.unload(dataset)
        world.indexes.get(dataset)

    trials.on_check = reload
    ask(world, dataset, 0, ENOUGH)
    assert effort(world, dataset) == 66
    world.indexes.unload(dataset)
    assert effort(world, dataset) == 66


def test_a_trial_that_fails_is_made_again(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    def fail() -> None:
        raise MemoryError

    folded(world, dataset, collection)
    trials.on_check = fail
    ask(world, dataset, 0, ENOUGH)
    assert effort(world, dataset) == 65
    trials.on_check = lambda: None
    world.add(collection, 1)
    world.settle()
    assert effort(world, dataset) == 67


def test_a_trial_ends_when_its_index_is_discarded(
    world: World, dataset: Dataset, collection: Collection, trials: Trials
) -> None:
    folded(world, dataset, collection)
    before = world.indexes.get(dataset)
    trials.on_check = lambda: world.discard(dataset)
    ask(world, dataset, 0, ENOUGH)
    assert before.effort == 65
    assert len(trials.asked) == 2
    trials.on_check = lambda: None
    world.indexes.get(dataset)
    world.settle()
    assert (trials.asked[2:], effort(world, dataset)) == ([[]], 67)


def test_an_effort_that_cannot_be_saved_is_used(
    world: World,
    dataset: Dataset,
    collection: Collection,
    trials: Trials,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(asked: Asked, folder: Path) -> None:
        raise OSError("the disk is full")

    folded(world, dataset, collection)
    monkeypatch.setattr(Asked, "save", fail)
    with caplog.at_level(logging.WARNING):
        ask(world, dataset, 0, ENOUGH)
    assert "the disk is full" in caplog.text
    assert effort(world, dataset) == 66
    world.indexes.unload(dataset)
    assert effort(world, dataset) == 66


# Reading in


@pytest.fixture(params=[True, False], ids=["large pages", "small pages"])
def large_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the system is one that has them."""
    has_them: bool = request.param
    monkeypatch.setattr("retrieval.vectors.codes.has_large_pages", lambda: has_them)
    return has_them


def test_a_graph_that_is_slow_in_its_file_is_read_into_memory(
    world: World, dataset: Dataset, collection: Collection, large_pages: bool
) -> None:
    folded(world, dataset, collection)
    world.restart()
    mapped = world.indexes.get(dataset)
    assert mapped.is_slow_in_file == large_pages
    before = assert_in_step(world, dataset)
    world.settle()
    assert (world.indexes.get(dataset) is mapped) != large_pages
    assert not world.indexes.get(dataset).is_slow_in_file
    assert assert_in_step(world, dataset) == before
    assert_folded(world, dataset, 60)


@pytest.fixture
def slow(
    world: World, dataset: Dataset, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> tuple[VectorIndex, Stored]:
    """An index that was loaded from its file and is to be read in, and what is stored of it."""
    monkeypatch.setattr("retrieval.vectors.codes.has_large_pages", lambda: True)
    stored = folded(world, dataset, collection)
    world.restart()
    index = world.indexes.get(dataset)
    assert index.is_slow_in_file
    return index, stored


def test_what_is_scanned_stays_in_its_file(
    world: World, dataset: Dataset, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.vectors.codes.has_large_pages", lambda: True)
    world.add(collection, 20)
    world.indexes.get(dataset)
    world.restart()
    mapped = world.indexes.get(dataset)
    assert len(mapped.sealed) == 20
    world.settle()
    assert world.indexes.get(dataset) is mapped


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2])
def test_what_is_added_and_deleted_while_it_is_read_in_is_not_lost(
    world: World,
    dataset: Dataset,
    collection: Collection,
    slow: tuple[VectorIndex, Stored],
    step: int,
    moment: str,
) -> None:
    mapped, stored = slow

    def change() -> None:
        world.add(collection, 2)
        world.delete(dataset, [stored.records[3].id, stored.records[59].id])

    world.at_step(step, moment, FOLDS, change)
    world.settle()
    world.await_actions()
    assert world.indexes.get(dataset) is not mapped
    assert_in_step(world, dataset)
    world.restart()
    assert_in_step(world, dataset)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2])
def test_what_was_read_in_before_a_discard_does_not_come_back(
    world: World, dataset: Dataset, step: int, moment: str
) -> None:
    world.at_step(step, moment, FOLDS, lambda: world.discard(dataset))
    world.settle()
    world.await_actions()
    assert not world.indexes.status(dataset).is_loaded
    assert_in_step(world, dataset)


@pytest.mark.usefixtures("slow")
def test_an_index_whose_file_cannot_be_read_in_is_made_from_the_store(
    world: World, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    (folder_of(world, dataset) / MANIFEST).write_text("{}")
    with caplog.at_level(logging.WARNING):
        world.settle()
    assert "its manifest is damaged" in caplog.text
    assert not world.indexes.status(dataset).is_loaded
    world.indexes.get(dataset)
    world.settle()
    assert_folded(world, dataset, 60)


@pytest.mark.usefixtures("slow")
def test_an_index_that_was_unloaded_is_not_read_in(world: World, dataset: Dataset) -> None:
    world.indexes.unload(dataset)
    world.settle()
    assert not world.indexes.status(dataset).is_loaded
    assert_in_step(world, dataset)


# Rebuilding


def test_a_rebuild_goes_on_beside_searches_and_changes(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    stored = folded(world, dataset, collection)
    steps: list[tuple[int, int]] = []

    def look_on(done: int, total: int) -> None:
        steps.append((done, total))
        number = len(steps)
        world.beside(lambda: world.add(collection, 1))
        world.beside(lambda: world.delete(dataset, [stored.records[number].id]))
        world.beside(lambda: assert_in_step(world, dataset))

    before = world.indexes.get(dataset)
    world.indexes.rebuild(dataset, look_on)
    world.await_actions(3 * len(steps))
    assert len(steps) > 2
    assert steps[-1][0] == steps[-1][1] >= 60
    assert world.indexes.get(dataset) is not before
    assert_in_step(world, dataset)
    world.settle()
    world.restart()
    assert_in_step(world, dataset)


def test_a_rebuild_mends_what_is_wrong(world: World, dataset: Dataset, collection: Collection) -> None:
    tamper(world, dataset, turned(world.add(collection, 60).passages, 1))
    world.indexes.get(dataset)
    world.indexes.rebuild(dataset)
    assert_in_step(world, dataset)
    world.restart()
    assert_in_step(world, dataset)


def test_a_rebuild_that_fails_leaves_the_old_index(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    folded(world, dataset, collection)
    before = world.indexes.get(dataset)

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.indexes.rebuild(dataset, stop)
    assert world.indexes.get(dataset) is before
    assert_folded(world, dataset, 60)
    world.indexes.rebuild(dataset)
    assert_folded(world, dataset, 60)


# Memory

ROW = 2 * DIM + 8 + 4 + 1
"""Bytes that a passage takes in an index without a graph: code, id, label, mark."""


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[World]:
    """Room for two exact indexes of a hundred passages, and a half."""
    world = World(tmp_path, DEFAULT_FOLDS, memory=250 * ROW)
    yield world
    world.close()


def three_datasets(world: World) -> list[Dataset]:
    datasets = []
    for name in ("a", "b", "c"):
        dataset, collection = world.dataset(name)
        world.add(collection, 100)
        datasets.append(dataset)
    return datasets


def loaded(world: World, datasets: Sequence[Dataset]) -> list[str]:
    return [dataset.name for dataset in datasets if world.indexes.status(dataset).is_loaded]


def test_the_least_recently_used_are_unloaded_and_come_back_right(tight: World) -> None:
    a, b, c = datasets = three_datasets(tight)
    tight.indexes.get(a)
    tight.indexes.get(b)
    assert loaded(tight, datasets) == ["a", "b"]
    tight.indexes.get(a)
    tight.indexes.get(c)
    assert loaded(tight, datasets) == ["a", "c"]
    assert tight.indexes.status(b).disk_bytes > 0
    assert_in_step(tight, b)
    assert loaded(tight, datasets) == ["b", "c"]
    assert_in_step(tight, a)
    assert_in_step(tight, c)
    assert loaded(tight, datasets) == ["a", "c"]


def test_an_index_that_comes_back_has_what_happened_meanwhile(tight: World) -> None:
    a, b, c = three_datasets(tight)
    for dataset in (a, b, c):
        tight.indexes.get(dataset)
    collection = tight.store.list_collections(a.id)[0]
    records = tight.store.list_records(collection.id)
    tight.add(collection, 5)
    tight.delete(a, [record.id for record in records[:3]])
    assert not tight.indexes.status(a).is_loaded
    index = tight.indexes.get(a)
    assert (len(index.sealed), len(index.flat)) == (97, 5)
    assert_in_step(tight, a)


def test_what_changed_while_it_was_loaded_is_saved_when_it_is_unloaded(tight: World) -> None:
    a, b, c = three_datasets(tight)
    tight.indexes.get(a)
    tight.add(tight.store.list_collections(a.id)[0], 20)
    tight.indexes.get(b)
    tight.indexes.get(c)
    assert not tight.indexes.status(a).is_loaded
    assert len(tight.indexes.get(a).sealed) == 120


def test_one_that_is_larger_than_all_memory_stays_while_it_is_in_use(tmp_path: Path) -> None:
    world = World(tmp_path, DEFAULT_FOLDS, memory=10 * ROW)
    a, b, c = datasets = three_datasets(world)
    for dataset in (a, b, c, a):
        assert_in_step(world, dataset)
        assert loaded(world, datasets) == [dataset.name]
    world.close()


def test_without_a_limit_nothing_is_unloaded(world: World) -> None:
    datasets = three_datasets(world)
    for dataset in datasets:
        world.indexes.get(dataset)
    assert loaded(world, datasets) == ["a", "b", "c"]


def memory_of(world: World, datasets: Sequence[Dataset]) -> int:
    return sum(world.indexes.status(dataset).memory_bytes for dataset in datasets)


def test_an_index_that_grows_pushes_others_out(tight: World) -> None:
    a, b, _ = datasets = three_datasets(tight)
    tight.indexes.get(a)
    tight.indexes.get(b)
    tight.add(tight.store.list_collections(b.id)[0], 50)
    assert loaded(tight, datasets) == ["a", "b"]
    assert memory_of(tight, datasets) == 250 * ROW
    tight.add(tight.store.list_collections(b.id)[0], 1)
    assert loaded(tight, datasets) == ["b"]


def test_the_budget_holds_after_folds_and_rebuilds(tmp_path: Path) -> None:
    """Linked into a graph, an index takes several times the room."""
    world = World(tmp_path, FoldPolicy(exact_limit=90), memory=250 * ROW)
    datasets = three_datasets(world)
    for dataset in datasets[:2]:
        world.indexes.get(dataset)
    assert loaded(world, datasets) == ["a", "b"]
    world.settle()
    assert len(loaded(world, datasets)) == 1
    for dataset in datasets:
        world.indexes.get(dataset)
        world.settle()
        world.indexes.rebuild(dataset)
        assert loaded(world, datasets) == [dataset.name]
        assert world.indexes.status(dataset).has_graph
        assert_in_step(world, dataset)
    world.close()


def test_rebuilding_what_is_not_loaded_does_not_load_it(tight: World) -> None:
    a, b, c = datasets = three_datasets(tight)
    tight.indexes.get(b)
    tight.indexes.get(c)
    tight.indexes.rebuild(a)
    assert loaded(tight, datasets) == ["b", "c"]
    assert len(tight.indexes.get(a).sealed) == 100
    assert_in_step(tight, a)


def test_a_dataset_that_is_being_deleted_does_not_fail_the_search_of_another(tight: World) -> None:
    """Between the store's delete and the second discard, a search of another dataset makes room."""
    a, b, c = datasets = three_datasets(tight)
    tight.indexes.discard(a.id)
    tight.indexes.get(a)
    tight.store.delete_dataset(a.id)
    tight.indexes.get(b)
    assert_in_step(tight, c)
    assert loaded(tight, datasets[1:]) == ["b", "c"]
    tight.indexes.discard(a.id)
    assert not folder_of(tight, a).exists()


# Looking at them


def test_status_of_an_index_that_was_never_loaded(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    world.add(collection, 12)
    status = world.indexes.status(dataset)
    assert (status.passages, status.sealed, status.flat, status.removed) == (12, 0, 12, 0)
    assert (status.memory_bytes, status.disk_bytes, status.load_seconds) == (0, 0, 0.0)
    assert (status.is_loaded, status.has_graph, status.folding) == (False, False, None)


def test_status_of_a_loaded_index(world: World, dataset: Dataset, collection: Collection) -> None:
    stored = folded(world, dataset, collection)
    world.add(collection, 3)
    world.delete(dataset, [stored.records[0].id, stored.records[1].id])
    status = world.indexes.status(dataset)
    assert (status.passages, status.sealed, status.flat, status.removed) == (61, 58, 3, 2)
    assert (status.is_loaded, status.has_graph, status.folding) == (True, True, None)
    assert status.memory_bytes == world.indexes.get(dataset).nbytes > 63 * ROW
    assert 0 < status.load_seconds < PATIENCE_S
    files = [path for path in folder_of(world, dataset).iterdir() if path.name != MANIFEST]
    assert status.disk_bytes == sum(path.stat().st_size for path in files)
    world.restart()
    status = world.indexes.status(dataset)
    assert (status.passages, status.sealed, status.flat, status.removed) == (61, 60, 1, 0)
    assert (status.is_loaded, status.has_graph, status.memory_bytes) == (False, True, 0)
    assert status.disk_bytes == sum(path.stat().st_size for path in files)


def test_status_of_a_saved_index(world: World, dataset: Dataset, collection: Collection) -> None:
    world.add(collection, 12)
    world.indexes.get(dataset)
    world.restart()
    world.add(collection, 2)
    status = world.indexes.status(dataset)
    assert (status.passages, status.sealed, status.flat, status.has_graph) == (14, 12, 2, False)


# Verifying


def test_an_index_in_step_is_clean(world: World, dataset: Dataset, collection: Collection) -> None:
    stored = folded(world, dataset, collection)
    world.add(collection, 3)
    world.delete(dataset, [stored.records[5].id])
    steps: list[tuple[int, int]] = []
    index = world.indexes.get(dataset)
    found = world.indexes.verify(dataset, lambda done, total: steps.append((done, total)))
    assert found == IndexDifferences()
    assert steps == [(62, 62)]
    assert world.indexes.get(dataset) is index


def test_missing_and_surplus_passages_are_found(
    world: World, dataset: Dataset, collection: Collection
) -> None:
    block = world.add(collection, 12).passages
    index = world.indexes.get(dataset)
    no_passages = PassageBlock(block.ids[:0], block.collection_keys[:0], block.embeddings[:0])
    index.apply(Changes(no_passages, block.ids[[2, 7]], index.watermark, is_last=True))
    assert world.verify(dataset) == IndexDifferences(missing=2)
    assert_in_step(world, dataset)
    index = world.indexes.get(dataset)
    beyond = PassageBlock(block.ids[:3] + 100, block.collection_keys[:3], block.embeddings[:3])
    index.apply(Changes(beyond, block.ids[:1], index.watermark, is_last=True))
    assert world.verify(dataset) == IndexDifferences(missing=1, surplus=3)
    assert_in_step(world, dataset)
    assert world.verify(dataset).is_clean


def relabelled(block: PassageBlock, rows: Sequence[int]) -> PassageBlock:
    keys = block.collection_keys.copy()
    keys[rows] += 1
    return PassageBlock(block.ids, keys, block.embeddings)


def renumbered(block: PassageBlock) -> PassageBlock:
    return PassageBlock(np.append(block.ids[:-1], block.ids[-1] + 1), block.collection_keys, block.embeddings)


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        (lambda block: turned(block, 1), IndexDifferences(changed=1)),
        (lambda block: turned(turned(block, 1), 57), IndexDifferences(changed=2)),
        (lambda block: relabelled(block, [1, 2, 5]), IndexDifferences(misfiled=3)),
        (lambda block: turned(relabelled(block, [1]), 1), IndexDifferences(misfiled=1, changed=1)),
        (renumbered, IndexDifferences(missing=1, surplus=1)),
    ],
)
def test_a_whole_snapshot_that_differs_is_found_passage_by_passage(
    world: World,
    dataset: Dataset,
    collection: Collection,
    change: Callable[[PassageBlock], PassageBlock],
    differences: IndexDifferences,
) -> None:
    """Its files are what they were written as, and its count is right."""
    tamper(world, dataset, change(world.add(collection, 60).passages))
    assert world.verify(dataset) == differences
    assert not folder_of(world, dataset).exists()
    assert_in_step(world, dataset)
    assert world.verify(dataset).is_clean


def flip(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    # In place: what is mapped sees it.
    with path.open("r+b") as stream:
        stream.write(whole)


def cut(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(1)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("is_loaded", [True, False])
@pytest.mark.parametrize("damage", [flip, cut, remove])
@pytest.mark.parametrize("suffix", [".codes", ".npz", ".json"])
def test_damaged_files_are_found_and_made_again(
    world: World,
    dataset: Dataset,
    collection: Collection,
    suffix: str,
    damage: Callable[[Path], None],
    is_loaded: bool,
) -> None:
    """The codes are mapped: read behind the end of the file, they would end the process."""
    folded(world, dataset, collection, 100)
    world.restart()
    if is_loaded:
        world.indexes.get(dataset)
    (path,) = (path for path in folder_of(world, dataset).iterdir() if path.suffix == suffix)
    damage(path)
    found = world.verify(dataset)
    if (suffix, damage) == (".json", remove):
        assert found.is_clean
    else:
        assert found == IndexDifferences(snapshot=found.snapshot)
        assert found.snapshot
        assert suffix == ".json" or path.name in found.snapshot
        assert not folder_of(world, dataset).exists()
    assert_in_step(world, dataset)
    world.settle()
    world.restart()
    assert_in_step(world, dataset)
    assert world.verify(dataset).is_clean


# A database from a backup


@pytest.fixture
def restored(tmp_path: Path) -> Iterator[World]:
    """A hundred passages; the snapshot has three more, which the backup of the database has not."""
    world = World(tmp_path, DEFAULT_FOLDS)
    dataset, collection = world.dataset()
    world.add(collection, 100)
    world.store.close()
    shutil.copy(tmp_path / "quotebase.sqlite", tmp_path / "backup")
    world.store = WatchedStore(tmp_path / "quotebase.sqlite")
    world.indexes = world.fresh()
    world.add(collection, 3)
    world.indexes.get(dataset)
    world.indexes.close()
    world.store.close()
    shutil.copy(tmp_path / "backup", tmp_path / "quotebase.sqlite")
    world.store = WatchedStore(tmp_path / "quotebase.sqlite")
    world.indexes = world.fresh()
    yield world
    world.close()


@pytest.mark.parametrize("more", [0, 1, 2, 3, 4, 50])
def test_a_snapshot_newer_than_a_restored_database_is_not_believed(
    restored: World, caplog: pytest.LogCaptureFixture, more: int
) -> None:
    """The numbers that the backup does not know yet are given out again, to other passages."""
    (dataset,) = restored.store.list_datasets()
    (collection,) = restored.store.list_collections(dataset.id)
    if more:
        restored.store.add_records(collection, restored.drafts(more))
    with caplog.at_level(logging.WARNING):
        assert_in_step(restored, dataset)
    assert "rebuilding it from the store" in caplog.text
    assert restored.verify(dataset).is_clean
