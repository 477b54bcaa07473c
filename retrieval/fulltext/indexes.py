"""The full-text indexes of a library: opened when first used, kept in step with the store.

    store → (what came after the watermark) → index → searches

An index catches up before it is searched, so that a search finds what was added before it began;
in the background it does so before anybody asks. Nothing here knows what a term is.
"""

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.background import Background, Stopped
from retrieval.errors import DatasetNotFound, StoreUnavailable
from retrieval.failing import Failing
from retrieval.fulltext.files import check_files
from retrieval.fulltext.index import FullTextIndex, UnusableIndex
from retrieval.store import Store, dataset_of_index, drain
from retrieval.types import Dataset, IndexDifferences
from retrieval.vectors.index import OnStep

logger = logging.getLogger(__name__)

STEP = 4_000
"""Passages of one commit while an index catches up: what an interruption costs."""


BESIDE = ".new"
"""Ends the name of the folder of an index that is to take the place of another."""


@dataclass
class _Slot:
    """What is known of one dataset's index.

    ``lock`` is held while it is opened, changed or swapped, ``remaking`` while one is made that is to
    take its place; who holds ``remaking`` may take ``lock``.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    remaking: threading.Lock = field(default_factory=threading.Lock)
    index: FullTextIndex | None = None
    changes: int = 0
    """How often the store has changed since the library was opened."""
    seen: int = -1
    """As many of them are in the index."""
    version: int = 0
    """Counts how often the index was discarded: one made before must not take its place."""


class FullTextIndexes:
    """One index a dataset. Changes are noted by one writer at a time; searches come from anywhere.

    Args:
        folder: for these indexes alone; what a crash has left of unfinished ones is removed.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._slots: dict[str, _Slot] = {}
        self.failing = Failing()
        self._background = Background(self._look_after, "full-text upkeep of")
        for unfinished in folder.glob(f"*{BESIDE}"):
            _remove(unfinished)

    def get(self, dataset: Dataset) -> FullTextIndex:
        """The index of the dataset, up to date with the store.

        Raises:
            DatasetNotFound: it was deleted meanwhile.
            StoreUnavailable: the index cannot be written, or the library was closed meanwhile.
        """
        slot = self._slot(dataset.index_name)
        index = slot.index
        if index is not None and slot.seen == slot.changes:
            return index
        with self.failing.watch(dataset.index_name), _translated(dataset), slot.lock:
            index = self._caught_up(dataset, slot)
        if index.is_worn:
            self._background.put(dataset.index_name)
        return index

    def note_change(self, name: str) -> None:
        """The store has changed; the next search will see it."""
        self._slot(name).changes += 1
        self._background.put(name)

    def refresh(self, dataset: Dataset) -> None:
        """Bring the index up to date, where changes were not noted. Raises what :meth:`get` does."""
        self._slot(dataset.index_name).changes += 1
        self.get(dataset)

    def discard(self, name: str) -> None:
        """Forget the index and its files."""
        self.failing.forget(name)
        slot = self._slot(name)
        with slot.lock:
            slot.version += 1
            slot.index = None
            _remove(self._path(name))

    def rebuild(self, dataset: Dataset, on_step: OnStep = lambda done, total: None) -> None:
        """Make the index again from the store, beside the one that is searched meanwhile.

        Raises:
            DatasetNotFound: it was deleted meanwhile.
            StoreUnavailable: the index cannot be written, or the library was closed meanwhile.
        """
        with _translated(dataset):
            self._remake(dataset, on_step)

    def _remake(self, dataset: Dataset, on_step: OnStep | None = None) -> None:
        slot, beside = self._slot(dataset.index_name), self._path(dataset.index_name + BESIDE)
        with slot.remaking:
            version = slot.version
            try:
                self._catch_up(dataset, FullTextIndex(beside), on_step)
                with slot.lock:
                    if slot.version == version:
                        slot.index = None
                        _remove(self._path(dataset.index_name))
                        beside.rename(self._path(dataset.index_name))
                        self._caught_up(dataset, slot)
            finally:
                _remove(beside)

    def verify(self, dataset: Dataset) -> IndexDifferences:
        """Compare the index with the store by passages and collections, and its files with themselves.

        One that differs is discarded, and made from the store when next used. Nothing may be written
        meanwhile.
        """
        slot = self._slot(dataset.index_name)
        with slot.lock:
            damage = check_files(self._path(dataset.index_name))
        # What is read from damaged files may be anything.
        differences = IndexDifferences(snapshot=damage) if damage else self._compare(dataset)
        if not differences.is_clean:
            self.discard(dataset.index_name)
        return differences

    def _compare(self, dataset: Dataset) -> IndexDifferences:
        held = dict(self.get(dataset).passages())
        missing = misfiled = 0
        for added in (changes.added for changes in drain(self._store.changes_after, dataset, 0)):
            for passage_id, key in zip(added.ids.tolist(), added.collection_keys.tolist(), strict=True):
                found = held.pop(passage_id, None)
                missing += found is None
                misfiled += found is not None and found != key
        return IndexDifferences(missing, len(held), misfiled)

    def settle(self) -> None:
        """Wait until every index whose dataset has changed is up to date."""
        self._background.settle()

    def close(self) -> None:
        """Stop catching up, in whatever thread; the next start goes on from there."""
        self._background.close()
        for slot in tuple(self._slots.values()):
            # What another thread has begun ends at its next step.
            with slot.remaking, slot.lock:
                slot.index = None

    def _slot(self, name: str) -> _Slot:
        # One operation of a dict, which threads may share.
        return self._slots.setdefault(name, _Slot())

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _caught_up(self, dataset: Dataset, slot: _Slot) -> FullTextIndex:
        """The caller holds the lock of the slot."""
        # What is noted from here on may not be in the changes that are read.
        changes = slot.changes
        if slot.index is None or slot.seen != changes:
            # Whatever fails, the next one to ask begins with what is on the disk.
            index, slot.index = slot.index, None
            try:
                slot.index = self._brought_up(dataset, index)
            except DatasetNotFound:
                _remove(self._path(dataset.index_name))
                raise
            slot.seen = changes
        return slot.index

    def _brought_up(self, dataset: Dataset, index: FullTextIndex | None) -> FullTextIndex:
        """The index, or the one that was saved, up to date; made again if it cannot be used."""
        path = self._path(dataset.index_name)
        try:
            if index is not None:
                return self._catch_up(dataset, index)
            index = self._catch_up(dataset, FullTextIndex(path))
            if self._is_complete(dataset, index):
                return index
            problem = f"the full-text index {path} is not of this store"
        except UnusableIndex as error:
            problem = error.message
        logger.warning("%s: making it again from the store", problem)
        _remove(path)
        return self._catch_up(dataset, FullTextIndex(path))

    def _is_complete(self, dataset: Dataset, index: FullTextIndex) -> bool:
        """Whether it has as many passages as the store, which may go on changing meanwhile."""
        if index.watermark > self._store.last_sequence():
            return False
        while len(index) != self._store.count_passages(dataset.id, dataset.edition):
            before = index.watermark
            if self._catch_up(dataset, index).watermark == before:
                return False
        return True

    def _catch_up(
        self, dataset: Dataset, index: FullTextIndex, on_step: OnStep | None = None
    ) -> FullTextIndex:
        started, before = time.perf_counter(), len(index)
        total = self._store.count_passages(dataset.id, dataset.edition) if on_step else 0
        for changes in drain(self._store.texts_after, dataset, index.watermark, STEP):
            self._background.check(len(index), total)
            if changes.watermark > index.watermark:
                index.apply([changes])
            if on_step:
                on_step(min(len(index), total), total)
        if len(index) - before > STEP:
            seconds = time.perf_counter() - started
            logger.info(
                "full-text index of dataset %s: %d passages in %.1f s", dataset.name, len(index), seconds
            )
        return index

    def _look_after(self, name: str) -> None:
        """What the background does after a change."""
        slot = self._slot(name)
        with suppress(DatasetNotFound):
            dataset = dataset_of_index(self._store, name)
            with slot.lock:
                index = self._caught_up(dataset, slot)
            if index.is_worn:
                self._remake(dataset)


@contextmanager
def _translated(dataset: Dataset) -> Iterator[None]:
    """What keeps an index from being made, as an error for those who search."""
    try:
        yield
    except Stopped:
        raise StoreUnavailable(
            f"the full-text index of {dataset.name!r} was not made: the library was closed"
        ) from None
    except (UnusableIndex, OSError) as error:
        raise StoreUnavailable(
            f"the full-text index of {dataset.name!r} was not made ({error}): check that the disk has space and "
            "that the data directory may be written"
        ) from error


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
