"""The vector indexes of a library: loaded when first used, kept in step with the store, folded, read in, tried, saved.

    store → (snapshot, then what came after it) → index → searches
              ↑                                    │ when its flat part or its removed share has grown
              └── a sealed copy, made beside it ←──┘ and which takes its place

Nothing here knows how a search is ranked; nothing elsewhere knows where an index is kept.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from retrieval.background import Background, Stopped
from retrieval.errors import DatasetNotFound, StoreUnavailable
from retrieval.failing import Failing
from retrieval.store import Store, dataset_of_index, drain
from retrieval.types import (
    Changes,
    Dataset,
    Embeddings,
    IndexDifferences,
    IndexStatus,
    PassageBlock,
    PassageIds,
)
from retrieval.vectors.asked import Asked
from retrieval.vectors.calibration import ENOUGH
from retrieval.vectors.index import DEFAULT_FOLDS, FoldPolicy, OnStep, VectorIndex
from retrieval.vectors.snapshot import (
    check_snapshot,
    load_snapshot,
    read_manifest,
    remove_snapshot,
    save_snapshot,
)

logger = logging.getLogger(__name__)

SAMPLE = 16
"""Passages of a snapshot that are compared with the store when it is loaded."""

REST_S, LONGEST_S = 30.0, 900.0
"""How long nothing has to be added before an index is folded, and how long it waits for that at most. A scan of what
an import adds in a quarter of an hour takes a few milliseconds; a graph that is folded as it grows, up to 100,000
passages, took 57 s of processor time from an import beside it, a fourteenth of what embedding them takes; its effort was
found with 200 passages then, and is with 600 now, some 3 s more for each fold of 100,000; the graph was made with half
the effort, and takes 1.8 times as long now."""


_NOTHING: PassageIds = np.empty(0, dtype=np.int64)


class _Discarded(Exception):
    """The index under trial is not searched any more."""


@dataclass
class _Slot:
    """What is known of one dataset's index.

    ``lock`` is held while it is loaded or swapped, ``files`` while its snapshot is read or written,
    ``remaking`` while a copy is made that is to take its place. Taken in the order of the writer's
    lock, ``lock``, ``files``; who holds ``remaking`` may take them all.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    files: threading.RLock = field(default_factory=threading.RLock)
    remaking: threading.Lock = field(default_factory=threading.Lock)
    index: VectorIndex | None = None
    saved_watermark: int = 0
    used_at: float = 0.0
    load_seconds: float = 0.0
    version: int = 0
    """Counts how often the index was discarded: a copy made before must not take its place."""
    folding: float | None = None
    """The share that is done of the fold under way."""
    asked: Asked = field(default_factory=Asked)


class Indexes:
    """One index a dataset. Changes come from one writer at a time; searches from anywhere.

    Args:
        writing: held by whoever changes store and indexes together; taken here for the moment in
            which a sealed copy takes the place of an index.
        memory: bytes that all loaded indexes may take together; the least recently used go first,
            but never the last one. ``None`` for no limit.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        writing: threading.RLock,
        memory: int | None = None,
        policy: FoldPolicy = DEFAULT_FOLDS,
    ) -> None:
        self._store = store
        self._folder = folder
        self._writing = writing
        self._memory = memory
        self._policy = policy
        self._slots: dict[str, _Slot] = {}
        self.failing = Failing()
        self._folds = Background(self._fold, "folding", REST_S, LONGEST_S)

    def get(self, dataset: Dataset) -> VectorIndex:
        """The index of the dataset, up to date with the store."""
        slot = self._slot(dataset.index_name)
        slot.used_at = time.monotonic()
        index = slot.index
        return index if index is not None else self._open(dataset, slot)

    def _slot(self, name: str) -> _Slot:
        # Each is one operation of a dict, which threads may share.
        return self._slots.get(name) or self._slots.setdefault(name, _Slot())

    def _open(self, dataset: Dataset, slot: _Slot) -> VectorIndex:
        with slot.lock:
            if slot.index is None:
                with self.failing.watch(dataset.index_name):
                    slot.index = self._load(dataset, slot)
            index = slot.index
        self._look_after(dataset.index_name, index)
        return index

    def _look_after(self, name: str, index: VectorIndex) -> None:
        is_to_try = index.has_graph and self._slot(name).asked.is_due
        if index.is_fold_due or index.is_slow_in_file or is_to_try:
            self._folds.put(name)
        self._keep_to_memory(name)

    def note_question(self, dataset: Dataset, question: str, embed: Callable[[str], Embeddings]) -> None:
        """What was asked. Once there is enough of it, the effort of a graph is found with it.

        Args:
            embed: gives (1, dim); called for what is new.
        """
        slot = self._slot(dataset.index_name)
        index, asked = slot.index, slot.asked
        if index is None or not index.has_graph or question in asked:
            return
        if asked.note(question, embed(question)[0]):
            self._folds.put(dataset.index_name)

    def refresh(self, dataset: Dataset) -> None:
        """Load the index or bring it up to date, where changes were not published to it."""
        slot = self._slot(dataset.index_name)
        with slot.lock:
            if slot.index is not None:
                self._catch_up(dataset, slot.index)
        self.get(dataset)

    def unload(self, dataset: Dataset) -> None:
        """Let go of the index; a snapshot is written if the dataset is searched by it."""
        self._unload(dataset.index_name)

    # Loading

    def _load(self, dataset: Dataset, slot: _Slot) -> VectorIndex:
        started = time.perf_counter()
        if not len(slot.asked):
            slot.asked = Asked.load(self._path(dataset.index_name), dataset.model.dim)
        index = self._from_snapshot(dataset, is_mapped=True)
        from_snapshot = len(index)
        slot.saved_watermark = index.watermark
        self._catch_up(dataset, index)
        if not self._is_complete(dataset, index):
            logger.warning("the index of dataset %s does not fit the store: rebuilding it", dataset.name)
            with slot.files:
                remove_snapshot(self._path(dataset.index_name))
            index = self._catch_up(dataset, VectorIndex(dataset.model.dim, self._policy))
            slot.saved_watermark = from_snapshot = 0
        slot.load_seconds = time.perf_counter() - started
        logger.info(
            "loaded the index of dataset %s in %.2f s: %d passages, %d of them from its snapshot, %.1f MB",
            dataset.name,
            slot.load_seconds,
            len(index),
            from_snapshot,
            index.nbytes / 1e6,
        )
        return index

    def _from_snapshot(self, dataset: Dataset, is_mapped: bool) -> VectorIndex:
        """What was saved last, or an empty index; not yet up to date."""
        path, slot = self._path(dataset.index_name), self._slot(dataset.index_name)
        with slot.files:
            loaded = load_snapshot(path, dataset.model, self._store.last_sequence(), is_mapped)
        if loaded:
            index = VectorIndex(dataset.model.dim, self._policy, *loaded)
            if self._is_of_this_store(dataset, index):
                if index.has_graph and slot.asked.effort:
                    index.effort = slot.asked.effort
                return index
            logger.warning("the index snapshot %s is not of this store: rebuilding it from the store", path)
        return VectorIndex(dataset.model.dim, self._policy)

    def _is_of_this_store(self, dataset: Dataset, index: VectorIndex) -> bool:
        """Whether a sample of the passages, as far as the store still has them, is the same there."""
        ids = index.sealed.ids
        for passage_id in ids[np.linspace(0, len(ids) - 1, SAMPLE, dtype=np.int64)] if len(ids) else ():
            stored = self._store.changes_after(dataset.id, int(passage_id) - 1, 1, dataset.edition).added
            if len(stored) and stored.ids[0] == passage_id:
                held = index.find(stored.ids)
                if len(held) and not _is_equal(held, stored):
                    return False
        return True

    def _is_complete(self, dataset: Dataset, index: VectorIndex) -> bool:
        """Whether it has as many passages as the store, which may go on changing meanwhile."""
        while len(index) != self._store.count_passages(dataset.id, dataset.edition):
            before = index.watermark
            if self._catch_up(dataset, index).watermark == before:
                return False
        return True

    def _catch_up(self, dataset: Dataset, index: VectorIndex, on_step: OnStep | None = None) -> VectorIndex:
        total = self._store.count_passages(dataset.id, dataset.edition) if on_step else 0
        for changes in drain(self._store.changes_after, dataset, index.watermark):
            index.apply(changes)
            if on_step:
                on_step(min(len(index), total), total)
        return index

    # Changes

    def publish(self, dataset: Dataset, passages: PassageBlock, removed: PassageIds) -> None:
        """Make stored passages searchable, and others not, in one step.

        An index that is not loaded will find out in the store.
        """
        slot = self._slot(dataset.index_name)
        with slot.lock:
            index = slot.index
        if index is not None and (len(passages) or len(removed)):
            watermark = int(passages.ids[-1]) if len(passages) else index.watermark
            index.apply(Changes(passages, removed, watermark, is_last=True))
            self._look_after(dataset.index_name, index)

    @contextmanager
    def removing(self, name: str, passage_ids: Sequence[int]) -> Iterator[None]:
        """Passages leave the index, then the body deletes them from the store.

        If the body fails, the index is thrown away and made again from the store when next used.
        """
        ids = np.array(passage_ids, dtype=np.int64)
        self._remove(name, ids)
        try:
            yield
        except BaseException:
            self.discard(name)
            raise
        # A search may have loaded the index meanwhile, from a store that still had them.
        self._remove(name, ids)

    def _remove(self, name: str, passage_ids: PassageIds) -> None:
        slot = self._slot(name)
        with slot.lock:
            index = slot.index
        if index is not None:
            index.apply(Changes(_no_passages(index.dim), passage_ids, index.watermark, is_last=True))
            self._look_after(name, index)

    def discard(self, name: str) -> None:
        """Forget the index and its snapshot."""
        self.failing.forget(name)
        slot = self._slot(name)
        with slot.lock:
            slot.index, slot.saved_watermark = None, 0
            with slot.files:
                slot.version += 1
                slot.asked = Asked()
                remove_snapshot(self._path(name))

    # Folding

    def _fold(self, name: str) -> None:
        """What the background does with an index: fold one that is due, read in one that is slow in its file.

        And try its graph with what was asked.
        """
        index = self._slot(name).index
        if index is None:
            return
        with suppress(DatasetNotFound):
            dataset = dataset_of_index(self._store, name)
            if index.is_fold_due:
                self._remake(
                    dataset, lambda: self._from_snapshot(dataset, is_mapped=False), self._folds.check
                )
            else:
                self._read_in(dataset)
            self._try_with_asked(dataset)

    def _read_in(self, dataset: Dataset) -> None:
        """Let a copy in memory take the place of an index that is slow in its file."""
        slot = self._slot(dataset.index_name)
        with slot.remaking:
            version, index = slot.version, slot.index
            if index is None or not index.is_slow_in_file:
                return
            copy = self._from_snapshot(dataset, is_mapped=False)
            self._folds.check(0, 1)
            if copy.has_graph:
                copy.sealed.codes.rest()
                self._put_in_place(dataset, slot, copy, version)
            elif slot.version == version:
                # What is mapped from files that cannot be read is not to be trusted either.
                self.discard(dataset.index_name)

    def _try_with_asked(self, dataset: Dataset) -> None:
        """Find the effort of a graph with what was asked, if it was not yet, and there is enough."""
        slot = self._slot(dataset.index_name)
        with slot.remaking, suppress(_Discarded):
            version, index, asked = slot.version, slot.index, slot.asked
            if index is None or not index.has_graph or not asked.is_due:
                return

            def check() -> None:
                self._folds.check(0, 1)
                if slot.version != version:
                    raise _Discarded

            effort = index.find_effort(asked.queries(), check)
            self._note_effort(dataset, slot, effort, version)

    def _note_effort(self, dataset: Dataset, slot: _Slot, effort: int, version: int) -> None:
        """What was found with what was asked is for the graph that there is now, and that is loaded next time."""
        with slot.lock, slot.files:
            if slot.version != version:
                return
            slot.asked.effort = effort
            if slot.index is not None and slot.index.has_graph:
                slot.index.effort = effort
            self._save_asked(dataset.index_name, slot)

    def _save_asked(self, name: str, slot: _Slot) -> None:
        try:
            slot.asked.save(self._path(name))
        except OSError as error:
            _warn_not_written(self._path(name), error)

    def rebuild(self, dataset: Dataset, on_step: OnStep = lambda done, total: None) -> None:
        """Make the index again from the store, while the old one goes on being searched.

        Raises:
            StoreUnavailable: the library was closed meanwhile.
        """

        def check_and_note(done: int, total: int) -> None:
            self._folds.check(done, total)
            on_step(done, total)

        try:
            self._remake(dataset, lambda: VectorIndex(dataset.model.dim, self._policy), check_and_note)
        except Stopped:
            raise StoreUnavailable(
                f"the index of {dataset.name!r} was not rebuilt: the library was closed"
            ) from None

    def _remake(self, dataset: Dataset, begin: Callable[[], VectorIndex], on_step: OnStep) -> None:
        """Bring a copy up to date and seal it; then it takes the place of the index."""
        slot = self._slot(dataset.index_name)

        def note_step(done: int, total: int) -> None:
            slot.folding = done / max(1, total)
            on_step(done, total)

        with slot.remaking:
            version = slot.version
            try:
                note_step(0, 1)
                copy = self._catch_up(dataset, begin(), note_step)
                asked = slot.asked.queries()
                copy.seal(note_step, asked, lambda: self._folds.check(0, 1))
                self._store_snapshot(dataset, slot, copy, version)
                self._put_in_place(dataset, slot, copy, version)
                if copy.has_graph and len(asked) >= ENOUGH:
                    self._note_effort(dataset, slot, copy.effort, version)
            finally:
                slot.folding = None

    def _store_snapshot(self, dataset: Dataset, slot: _Slot, copy: VectorIndex, version: int) -> None:
        """Make a sealed copy what the next start finds."""
        with slot.files:
            if slot.version != version:
                return
            try:
                save_snapshot(copy.sealed, copy.watermark, dataset.model, self._path(dataset.index_name))
            except OSError as error:
                _warn_not_written(self._path(dataset.index_name), error)
            else:
                slot.saved_watermark = copy.watermark

    def _put_in_place(self, dataset: Dataset, slot: _Slot, copy: VectorIndex, version: int) -> None:
        """Let a copy be searched, up to date, unless the index was discarded since it was begun."""
        self._catch_up(dataset, copy)
        with self._writing, slot.lock:
            # One that was unloaded meanwhile will be loaded from the snapshot.
            if slot.version == version and slot.index is not None:
                slot.index = self._catch_up(dataset, copy)
        self._keep_to_memory(dataset.index_name)

    def settle(self) -> None:
        """Wait until no index is due for a fold, to be read in, or to be tried."""
        self._folds.settle()

    # Memory and files

    def _keep_to_memory(self, in_use: str) -> None:
        if self._memory is None:
            return
        loaded = [
            (slot.used_at, name, index.nbytes)
            for name, slot in tuple(self._slots.items())
            if (index := slot.index) is not None
        ]
        total = sum(nbytes for _, _, nbytes in loaded)
        for _, name, nbytes in sorted(loaded):
            if total > self._memory and name != in_use:
                self._unload(name)
                total -= nbytes

    def _unload(self, name: str) -> None:
        slot = self._slot(name)
        with slot.lock:
            self._save(name, slot)
            slot.index = None

    def _save(self, name: str, slot: _Slot) -> None:
        """Write a snapshot of an exact index that has changed; a graph is saved when it is folded.

        One that cannot be written is only slower to start without.
        """
        index = slot.index
        if index is None or index.has_graph or index.watermark == slot.saved_watermark:
            return
        part, watermark = index.exact_part()
        with slot.files:
            try:
                model = dataset_of_index(self._store, name).model
                save_snapshot(part, watermark, model, self._path(name))
            except DatasetNotFound:
                return
            except OSError as error:
                _warn_not_written(self._path(name), error)
            else:
                slot.saved_watermark = watermark

    def close(self) -> None:
        """Stop folding and save what a later start would have to read from the store again."""
        self._folds.close()
        for name, slot in tuple(self._slots.items()):
            # A rebuild that another thread has begun ends at its next step.
            with slot.remaking, slot.lock:
                self._save(name, slot)
                if not slot.asked.is_saved:
                    self._save_asked(name, slot)

    def _path(self, name: str) -> Path:
        return self._folder / name

    # Looking at them

    def loaded(self) -> frozenset[str]:
        """Names of the indexes that are in memory."""
        return frozenset(name for name, slot in tuple(self._slots.items()) if slot.index is not None)

    def status(self, dataset: Dataset) -> IndexStatus:
        """Where the parts of the index stand, loaded or not."""
        slot = self._slot(dataset.index_name)
        passages = self._store.count_passages(dataset.id, dataset.edition)
        on_disk = status_on_disk(self._folder, dataset.index_name, passages)
        index = slot.index
        if index is None:
            return replace(on_disk, folding=slot.folding)
        return IndexStatus(
            passages=passages,
            sealed=len(index.sealed),
            has_graph=index.has_graph,
            flat=len(index.flat),
            removed=index.sealed.removed + index.flat.removed,
            memory_bytes=index.nbytes,
            disk_bytes=on_disk.disk_bytes,
            is_loaded=True,
            load_seconds=slot.load_seconds,
            folding=slot.folding,
        )

    def verify(self, dataset: Dataset, on_step: OnStep = lambda done, total: None) -> IndexDifferences:
        """Compare the index with the store, passage by passage and bit by bit, and its snapshot with itself.

        One that differs is discarded, and made from the store when next used. Nothing may be
        written meanwhile.
        """
        slot = self._slot(dataset.index_name)
        with slot.files:
            damage = check_snapshot(self._path(dataset.index_name))
        # What is mapped from damaged files cannot even be read.
        differences = (
            IndexDifferences(snapshot=damage)
            if damage
            else self._compare(dataset, self.get(dataset), on_step)
        )
        if not differences.is_clean:
            self.discard(dataset.index_name)
        return differences

    def _compare(self, dataset: Dataset, index: VectorIndex, on_step: OnStep) -> IndexDifferences:
        seen = missing = misfiled = changed = 0
        total = self._store.count_passages(dataset.id, dataset.edition)
        for stored in (changes.added for changes in drain(self._store.changes_after, dataset, 0)):
            held = index.find(stored.ids)
            is_held = np.isin(stored.ids, held.ids)
            seen += len(held)
            missing += len(stored) - len(held)
            misfiled += int((held.collection_keys != stored.collection_keys[is_held]).sum())
            changed += int(
                (held.embeddings.view(np.uint16) != stored.embeddings[is_held].view(np.uint16))
                .any(axis=1)
                .sum()
            )
            on_step(min(seen + missing, total), total)
        return IndexDifferences(missing, len(index) - seen, misfiled, changed)


def status_on_disk(folder: Path, name: str, passages: int) -> IndexStatus:
    """Of an index that is not loaded: what its snapshot lacks will be in the flat part."""
    saved = read_manifest(folder / name)
    return IndexStatus(
        passages=passages,
        sealed=saved.count if saved else 0,
        has_graph=bool(saved and saved.has_graph),
        flat=max(0, passages - (saved.count if saved else 0)),
        removed=saved.removed if saved else 0,
        memory_bytes=0,
        disk_bytes=saved.nbytes if saved else 0,
        is_loaded=False,
        load_seconds=0.0,
        folding=None,
    )


def _no_passages(dim: int) -> PassageBlock:
    return PassageBlock(_NOTHING, _NOTHING, np.empty((0, dim), dtype=np.float16))


def _is_equal(left: PassageBlock, right: PassageBlock) -> bool:
    return np.array_equal(left.collection_keys, right.collection_keys) and np.array_equal(
        left.embeddings.view(np.uint16), right.embeddings.view(np.uint16)
    )


def _warn_not_written(path: Path, error: OSError) -> None:
    logger.warning("the index snapshot %s cannot be written: %s", path, error)
