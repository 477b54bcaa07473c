"""Whatever is done to a library, in whatever order: it answers like brute force over a dict."""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from retrieval import background
from retrieval.additions import Replacement, join
from retrieval.errors import CollectionNotFound
from retrieval.library import Library
from retrieval.types import (
    MAX_LIMIT,
    Collection,
    Dataset,
    Embeddings,
    IndexDifferences,
    RecordDraft,
    SearchRequest,
    StoredEmbeddings,
    VerifyReport,
)
from retrieval.vectors import part
from retrieval.vectors.index import DEFAULT_FOLDS, FoldPolicy
from tests.doubles import GridEmbedder
from tests.oracle import expected_quotes
from tests.retrieval.crashing import (
    SNAPSHOT_MOMENTS,
    STORE_MOMENTS,
    Crash,
    copy_as_it_is,
    damage,
    note_snapshots,
    open_crashing,
)

Item = TypeVar("Item")

TEXTS = ("coffee", "coffee!", "beans", "shipping", "returns", "咖啡", "咖啡豆", "opening hours")

drafts = st.builds(
    RecordDraft,
    q=st.sampled_from(TEXTS),
    a=st.sampled_from(("", "yes", "yes.", "no")),
    indexes=st.lists(st.sampled_from(TEXTS), max_size=3).map(tuple),
)


def questions(first: int, count: int) -> list[RecordDraft]:
    return [RecordDraft(f"question {number}") for number in range(first, first + count)]


batches = st.one_of(
    st.lists(drafts, max_size=6),
    st.builds(questions, st.integers(0, 30), st.integers(4, 30)),
)

numbers = st.integers(0, 60)
"""What is picked of a list of any length."""

dataset_numbers = st.integers(0, 1)


@cache
def grid_row(text: str) -> Embeddings:
    return GridEmbedder().embed_queries([text])[0]


class CachingEmbedder(GridEmbedder):
    """The same, with less work."""

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return np.stack([grid_row(text) for text in texts]) if texts else super().embed_queries(texts)


class Warnings(logging.Handler):
    """What went wrong without an error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class LibraryMachine(RuleBasedStateMachine):
    """Two datasets; ``self.records`` holds what has to be found, in the order of adding."""

    folds = DEFAULT_FOLDS
    index_memory: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        # What is due waits until it is asked for, so that each run of an example is the same.
        self.patch.setattr(background, "DELAY_S", 3600.0)
        self.crash = Crash()
        note_snapshots(self.patch, self.crash)
        self.warnings = Warnings()
        logging.getLogger("retrieval").addHandler(self.warnings)
        self.has_crashed = False
        self.folder = Path(tempfile.mkdtemp(prefix="library-machine-"))
        self.lives = 0
        self.library = self._open()
        self.datasets: list[Dataset] = []
        self.collections: list[Collection] = []
        self.records: dict[str, tuple[Collection, RecordDraft]] = {}

    @property
    def data_dir(self) -> Path:
        return self.folder / str(self.lives)

    def _open(self) -> Library:
        self.read = set[str]()
        return open_crashing(self.data_dir, CachingEmbedder(), self.crash, self.index_memory, self.folds)

    @initialize(is_filled=st.booleans())
    def create(self, is_filled: bool) -> None:
        """Two collections in the one, one in the other; nothing in them, or enough for a graph."""
        self.datasets = [self.library.create_dataset(name) for name in ("one", "two")]
        for dataset in (*self.datasets, self.datasets[0]):
            self.collections.append(self.library.store.create_collection(dataset.id, "start"))
        if is_filled:
            for collection in self.collections:
                self._add(collection, [*questions(0, 20), RecordDraft("coffee", indexes=TEXTS[1:])])
                self.library.load_index(collection.dataset_id)
            self.library.settle()

    # Changes

    @rule(number=dataset_numbers)
    def create_collection(self, number: int) -> None:
        made = self.library.store.create_collection(self.datasets[number].id, "later")
        self.collections.append(made)

    @precondition(lambda self: self.collections)
    @rule(number=numbers, batch=batches)
    def add(self, number: int, batch: list[RecordDraft]) -> None:
        """Again and again the same few contents: most batches are in part known."""
        self._add(_pick(self.collections, number), batch)

    @precondition(lambda self: self.collections)
    @rule(
        number=numbers,
        batch=batches,
        length=st.sampled_from((1.0, 0.125, 3.0)),
        kind=st.sampled_from((np.float16, np.float32)),
    )
    def add_with_embeddings(
        self, number: int, batch: list[RecordDraft], length: float, kind: type[np.floating]
    ) -> None:
        """Somebody else has made them, of another length; the model reads nothing."""
        texts = [text for draft in batch for text in draft.texts]
        rows = CachingEmbedder().embed_passages(texts) * np.float32(length)
        self._add(_pick(self.collections, number), batch, rows.astype(kind))

    def _add(
        self,
        collection: Collection,
        batch: list[RecordDraft],
        embeddings: Embeddings | StoredEmbeddings | None = None,
    ) -> None:
        known = {draft.content_hash for held, draft in self.records.values() if held.id == collection.id}
        fresh: dict[bytes, RecordDraft] = {}
        for draft in batch:
            if draft.content_hash not in known:
                fresh.setdefault(draft.content_hash, draft)
        result = self.library.add_records(collection, batch, embeddings)
        assert len(result.added) == len(fresh)
        assert result.unchanged == len(batch) - len(fresh)
        texts = {text for draft in fresh.values() for text in draft.texts}
        assert result.embedded == (0 if embeddings is not None else len(texts - self.read))
        self.read |= texts if embeddings is None else set()
        for record_id, draft in zip(result.added, fresh.values(), strict=True):
            assert record_id not in self.records
            self.records[record_id] = (collection, draft)

    @precondition(lambda self: self.records)
    @rule(number=dataset_numbers, picks=st.lists(numbers, min_size=1, max_size=12))
    def delete_records(self, number: int, picks: list[int]) -> None:
        """Some are of the other dataset: they stay."""
        self._delete(self.datasets[number], {_pick(list(self.records), pick) for pick in picks})

    def _delete(self, dataset: Dataset, record_ids: set[str]) -> None:
        self.library.delete_records(dataset.id, [*sorted(record_ids), "0" * 24])
        for record_id in record_ids:
            if self.records[record_id][0].dataset_id == dataset.id:
                del self.records[record_id]

    @precondition(lambda self: self.records)
    @rule(pick=numbers, draft=drafts)
    def update(self, pick: int, draft: RecordDraft) -> None:
        """The old content goes, the new one comes, perhaps as one that is there already."""
        record_id = _pick(list(self.records), pick)
        collection, _ = self.records[record_id]
        dataset = next(one for one in self.datasets if one.id == collection.dataset_id)
        self._delete(dataset, {record_id})
        self._add(collection, [draft])

    @precondition(lambda self: self.collections)
    @rule(number=numbers, batch=batches)
    def exchange(self, number: int, batch: list[RecordDraft]) -> None:
        """A collection becomes the batch: what it has of it already stays, the rest goes."""
        self._exchange(_pick(self.collections, number), batch)

    def _exchange(self, collection: Collection, batch: list[RecordDraft]) -> None:
        held = {
            draft.content_hash: id_ for id_, (one, draft) in self.records.items() if one.id == collection.id
        }
        wanted = {draft.content_hash: draft for draft in reversed(batch)}
        store = self.library.store
        replacement = Replacement(store.known_records(collection.id), store.passages_of)
        plan = replacement.plan(batch)
        assert {planned.draft.content_hash for planned in plan.planned} == wanted.keys() - held.keys()
        prepared = join(
            [self.library.embed(plan, self.library.bound_dataset(collection.dataset_id))], replacement.gone
        )
        result = self.library.commit(collection, prepared)
        self.read |= {text for planned in plan.planned for text in planned.draft.texts}
        gone = {held[digest] for digest in held.keys() - wanted.keys()}
        assert (set(replacement.gone), result.removed, result.updated) == (gone, len(gone), ())
        self.records = {id_: value for id_, value in self.records.items() if id_ not in gone}
        for record_id, planned in zip(result.added, plan.planned, strict=True):
            self.records[record_id] = (collection, planned.draft)

    @precondition(lambda self: self.collections)
    @rule(number=numbers)
    def delete_collection(self, number: int) -> None:
        self._drop(_pick(self.collections, number))

    def _drop(self, collection: Collection) -> None:
        self.library.delete_collection(collection.id)
        self.collections.remove(collection)
        self.records = {id_: value for id_, value in self.records.items() if value[0].id != collection.id}
        with pytest.raises(CollectionNotFound):
            self.library.add_records(collection, [RecordDraft("too late")])

    # Questions

    @rule(
        text=st.sampled_from((*TEXTS, "question 3")),
        numbers=st.sampled_from(([0], [1], [0, 1], [1, 0])),
        similarity=st.sampled_from((0.0, 1 / 16, 0.25, 1.0)),
        limit=st.sampled_from((1, 10, 50, MAX_LIMIT)),
        top_k=st.sampled_from((None, 1, 3)),
    )
    def search(self, text: str, numbers: list[int], similarity: float, limit: int, top_k: int | None) -> None:
        request = SearchRequest(text, [self.datasets[n].id for n in numbers], similarity, limit, top_k)
        self._assert_answers(request)

    @rule()
    def verify(self) -> None:
        assert self.library.verify() == VerifyReport(passages=self._counts())

    @rule(number=dataset_numbers, is_loaded=st.booleans())
    def status(self, number: int, is_loaded: bool) -> None:
        dataset = self.datasets[number]
        if is_loaded:
            self.library.load_index(dataset.id)
        status = self.library.index_status(dataset.id)
        assert status.passages == self._counts()[dataset.name]
        assert status.folding is None
        if status.is_loaded:
            assert status.sealed + status.flat == status.passages

    # Upkeep

    @rule()
    def settle(self) -> None:
        """Whatever is loaded is then not due for a fold."""
        self.library.settle()
        for dataset in self.datasets:
            if self.library.index_status(dataset.id).is_loaded:
                index = self.library.load_index(dataset.id)
                assert not index.is_fold_due
                assert index.has_graph or len(index) <= self.folds.exact_limit

    @precondition(lambda self: self.collections)
    @rule(number=numbers, first=st.integers(40, 200), pick=numbers)
    def grow(self, number: int, first: int, pick: int) -> None:
        """A graph that has lost little takes in what is new."""
        collection = _pick(self.collections, number)
        self.library.load_index(collection.dataset_id)
        self._add(collection, questions(first, 5))
        own = [id_ for id_, (held, _) in self.records.items() if held.dataset_id == collection.dataset_id]
        dataset = next(one for one in self.datasets if one.id == collection.dataset_id)
        self._delete(dataset, {_pick(own, pick)})
        self.settle()

    @rule(number=dataset_numbers)
    def rebuild(self, number: int) -> None:
        dataset = self.datasets[number]
        status = self.library.rebuild(dataset.id)
        assert status.sealed == status.passages == self._counts()[dataset.name]
        assert status.flat == status.removed == 0
        assert status.has_graph == (status.passages > self.folds.exact_limit)

    @rule(number=dataset_numbers)
    def reload(self, number: int) -> None:
        """As when memory is short: saved, forgotten, and loaded again when it is next used."""
        self._unload(self.datasets[number])

    def _unload(self, dataset: Dataset) -> None:
        self.library._indexes._unload(dataset.id)
        assert not self.library.index_status(dataset.id).is_loaded

    @rule()
    def close_and_reopen(self) -> None:
        self.library.close()
        self.library = self._open()

    # Crashes and damage

    @rule()
    def crash_between_steps(self) -> None:
        """Go on from what is on the disk at this moment: the log of the database, indexes of the past."""
        copy_as_it_is(self.data_dir, self._next_life)
        self._go_on_from_the_copy()

    @precondition(lambda self: self.collections)
    @rule(
        moment=st.sampled_from(STORE_MOMENTS),
        step=st.sampled_from(("add", "delete", "drop", "exchange")),
        number=numbers,
        batch=batches,
        picks=st.lists(numbers, min_size=1, max_size=12),
        is_loaded=st.booleans(),
    )
    def crash_amid_a_change(
        self,
        moment: str,
        step: str,
        number: int,
        batch: list[RecordDraft],
        picks: list[int],
        is_loaded: bool,
    ) -> None:
        """Index and store are not in step then."""
        collection = _pick(self.collections, number)
        dataset = next(one for one in self.datasets if one.id == collection.dataset_id)
        if is_loaded:
            self.library.load_index(dataset.id)
        with_records = {_pick(list(self.records), pick) for pick in picks} if self.records else set()
        changes: dict[str, Callable[[], None]] = {
            "add": lambda: self._add(collection, batch),
            "delete": lambda: self._delete(dataset, with_records),
            "drop": lambda: self._drop(collection),
            "exchange": lambda: self._exchange(collection, batch),
        }
        self._crash_amid(changes[step], moment, 0, from_any_thread=False)

    @rule(
        moment=st.sampled_from(SNAPSHOT_MOMENTS),
        skipped=st.integers(0, 1),
        step=st.sampled_from(("settle", "rebuild", "unload", "close")),
        number=dataset_numbers,
    )
    def crash_amid_a_snapshot(self, moment: str, skipped: int, step: str, number: int) -> None:
        dataset = self.datasets[number]
        for one in self.datasets:
            self.library.load_index(one.id)
        steps: dict[str, Callable[[], None]] = {
            "settle": self.settle,
            "rebuild": lambda: self.rebuild(number),
            "unload": lambda: self._unload(dataset),
            "close": self.close_and_reopen,
        }
        self._crash_amid(steps[step], moment, skipped, from_any_thread=True)

    def _crash_amid(
        self, step: Callable[[], None], moment: str, skipped: int, *, from_any_thread: bool
    ) -> None:
        """The step does what it does; then the world is as it was at the moment, if that has come."""
        before = dict(self.records), list(self.collections), self.crash.commits
        self.crash.arm(moment, skipped, self.data_dir, self._next_life, from_any_thread)
        step()
        self.crash.disarm()
        if self.crash.has_come:
            if self.crash.commits_at_crash == before[2]:
                self.records, self.collections = before[:2]
            self._go_on_from_the_copy()

    @property
    def _next_life(self) -> Path:
        return self.folder / str(self.lives + 1)

    def _go_on_from_the_copy(self) -> None:
        before = self.data_dir
        self.library.close()
        shutil.rmtree(before)
        self.lives += 1
        self.has_crashed = True
        self.library = self._open()

    @rule(
        kind=st.sampled_from(("lose all", "lose", "truncate", "flip")),
        pick=numbers,
        place=st.floats(0, 1, exclude_max=True),
        is_used_first=st.booleans(),
    )
    def damage_the_indexes(self, kind: str, pick: int, place: float, is_used_first: bool) -> None:
        """It is seen before a wrong answer is given, said by ``verify``, and mended."""
        self.library.close()
        folder = self.data_dir / "indexes"
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        reported: set[str] = set()
        if kind == "lose all" or not files:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            path = _pick(files, pick)
            reported = self._datasets_of(path, is_gone=kind == "lose")
            damage(path, lambda whole: _damaged(whole, kind, place))
        self.has_crashed = True
        self.library = self._open()
        if is_used_first:
            for dataset in self.datasets:
                self._assert_answers(SearchRequest("coffee", [dataset.id], limit=MAX_LIMIT))
        report = self.library.verify()
        # One that is used may be written again.
        assert set(report.differences) <= reported if is_used_first else set(report.differences) == reported
        for difference in report.differences.values():
            assert difference.snapshot
            assert replace(difference, snapshot="") == IndexDifferences()
        assert replace(report, differences={}) == VerifyReport(passages=self._counts())
        self.verify()

    def _datasets_of(self, path: Path, is_gone: bool) -> set[str]:
        """The names of those whose snapshot is then damaged: none if the file is a left-over."""
        manifest = path.parent / "manifest.json"
        if path == manifest:
            is_damage = not is_gone
        else:
            is_damage = manifest.exists() and path.name in json.loads(manifest.read_bytes())["files"]
        return {one.name for one in self.datasets if one.id == path.parent.name and is_damage}

    @invariant()
    def nothing_went_wrong_in_silence(self) -> None:
        """A fold that failed, a snapshot that was not written; without a crash, one that does not fit."""
        wrong = ["folding the index", "cannot be written", "not of this store"]
        if not self.has_crashed:
            wrong += ["does not fit the store", "is not usable", "lacks a file"]
        assert not [one for one in self.warnings.messages if any(sign in one for sign in wrong)]

    @invariant()
    def each_passage_is_found_once(self) -> None:
        """As far as indexes are loaded: this loads none."""
        for dataset in self.datasets:
            if self.library.index_status(dataset.id).is_loaded:
                self._assert_all_are_found(dataset, "coffee")

    def teardown(self) -> None:
        try:
            for dataset in self.datasets:
                self._assert_answers(SearchRequest("coffee", [dataset.id], limit=MAX_LIMIT))
            self.verify()
        finally:
            self.library.close()
            logging.getLogger("retrieval").removeHandler(self.warnings)
            self.patch.undo()
            shutil.rmtree(self.folder)

    def _counts(self) -> dict[str, int]:
        """Passages by the name of their dataset."""
        return {
            dataset.name: sum(
                len(draft.texts)
                for collection, draft in self.records.values()
                if collection.dataset_id == dataset.id
            )
            for dataset in self.datasets
        }

    def _assert_answers(self, request: SearchRequest) -> None:
        held = {
            record_id: draft
            for record_id, (collection, draft) in self.records.items()
            if collection.dataset_id in request.dataset_ids
        }
        found = [(quote.record.id, quote.score) for quote in self.library.search(request).quotes]
        assert found == expected_quotes(CachingEmbedder(), held, request)
        for dataset in self.datasets:
            if dataset.id in request.dataset_ids:
                self._assert_all_are_found(dataset, request.text)

    def _assert_all_are_found(self, dataset: Dataset, text: str) -> None:
        """No passage twice, and none that is gone: a quote would not show it."""
        count = self._counts()[dataset.name]
        index = self.library.load_index(dataset.id)
        (hits,) = index.search(CachingEmbedder().embed_queries([text]), count + 2)
        sources = self.library.store.sources_of([hit.passage_id for hit in hits])
        assert len(hits) == len(sources) == count


class GraphMachine(LibraryMachine):
    """More than a dozen passages are linked into a graph, which is too small to be walked."""

    folds = FoldPolicy(exact_limit=12)


class WalkingMachine(GraphMachine):
    """It is walked all the same; so small a one has no corner that a walk does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.patch.setattr(part, "WALK_NS", 0)


class ForgetfulMachine(GraphMachine):
    """Room for one index, at most."""

    index_memory = 300


def _pick(items: Sequence[Item], number: int) -> Item:
    return items[number % len(items)]


def _damaged(whole: bytes, kind: str, place: float) -> bytes | None:
    at = int(place * len(whole))
    if kind == "lose":
        return None
    if kind == "truncate":
        return whole[:at]
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


def _few(max_examples: int) -> settings:
    return settings(
        max_examples=max_examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


TestLibraryMachine = LibraryMachine.TestCase
TestLibraryMachine.settings = _few(25)
TestGraphMachine = GraphMachine.TestCase
TestGraphMachine.settings = _few(30)
TestWalkingMachine = WalkingMachine.TestCase
TestWalkingMachine.settings = _few(20)
TestForgetfulMachine = ForgetfulMachine.TestCase
TestForgetfulMachine.settings = _few(16)
