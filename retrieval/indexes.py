"""The vector indexes of a library: loaded when first used, kept in step with the store, saved.

Nothing here knows how a search is ranked; nothing elsewhere knows where an index is kept.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from retrieval.store import Store, drain
from retrieval.types import Changes, Dataset, PassageBlock
from retrieval.vectors import VectorIndex
from retrieval.vectors.flat import FlatIndex
from retrieval.vectors.snapshot import load_snapshot, save_snapshot

logger = logging.getLogger(__name__)


class Indexes:
    """One index a dataset. Changes come from one writer at a time; searches from anywhere."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._loading = threading.RLock()
        self._loaded: dict[str, VectorIndex] = {}
        self._saved_watermarks: dict[str, int] = {}

    def get(self, dataset: Dataset) -> VectorIndex:
        """The index of the dataset, up to date with the store."""
        with self._loading:
            if dataset.id not in self._loaded:
                self._loaded[dataset.id] = self._load(dataset)
            return self._loaded[dataset.id]

    def publish(self, dataset: Dataset, passages: PassageBlock) -> None:
        """Make stored passages searchable. An index that is not loaded will find them in the store."""
        with self._loading:
            index = self._loaded.get(dataset.id)
        if index is not None and len(passages):
            index.apply(Changes(passages, np.empty(0, dtype=np.int64), int(passages.ids[-1]), is_last=True))

    @contextmanager
    def removing(self, dataset_id: str, passage_ids: Sequence[int]) -> Iterator[None]:
        """Passages leave the index, then the body deletes them from the store.

        If the body fails, the index is thrown away and made again from the store when next used.
        """
        self._remove(dataset_id, passage_ids)
        try:
            yield
        except BaseException:
            self.discard(dataset_id)
            raise
        # A search may have loaded the index meanwhile, from a store that still had them.
        self._remove(dataset_id, passage_ids)

    def _remove(self, dataset_id: str, passage_ids: Sequence[int]) -> None:
        with self._loading:
            index = self._loaded.get(dataset_id)
        if index is not None:
            index.apply(_removal(index, passage_ids))

    def discard(self, dataset_id: str) -> None:
        """Forget the index and its snapshot."""
        with self._loading:
            self._loaded.pop(dataset_id, None)
            self._saved_watermarks.pop(dataset_id, None)
            self._path(dataset_id).unlink(missing_ok=True)

    def save(self) -> None:
        """Write a snapshot of every index that has changed since its last one.

        One that cannot be written is only slower to start without.
        """
        with self._loading:
            for dataset_id, index in self._loaded.items():
                if index.watermark == self._saved_watermarks.get(dataset_id, 0):
                    continue
                path = self._path(dataset_id)
                try:
                    save_snapshot(index, self._store.get_dataset(dataset_id).model, path)
                except OSError as error:
                    logger.warning("the index snapshot %s cannot be written: %s", path, error)
                else:
                    self._saved_watermarks[dataset_id] = index.watermark

    def rebuild_if_wrong(self, dataset: Dataset) -> bool:
        """Compare the index with the store, passage by passage; whether it had to be made again."""
        fresh = self._from_store(dataset, FlatIndex(dataset.model.dim))
        if _is_same(self.get(dataset).contents().added, fresh.contents().added):
            return False
        with self._loading:
            self.discard(dataset.id)
            self._loaded[dataset.id] = fresh
        return True

    def _load(self, dataset: Dataset) -> VectorIndex:
        index = FlatIndex(dataset.model.dim)
        snapshot = load_snapshot(self._path(dataset.id), dataset.model, self._store.last_sequence())
        if snapshot:
            index.apply(snapshot)
            self._saved_watermarks[dataset.id] = snapshot.watermark
        self._from_store(dataset, index)
        if snapshot and len(index) != self._store.count_passages(dataset.id):
            self.discard(dataset.id)
            return self._from_store(dataset, FlatIndex(dataset.model.dim))
        return index

    def _from_store(self, dataset: Dataset, index: VectorIndex) -> VectorIndex:
        for changes in drain(self._store, dataset.id, index.watermark):
            index.apply(changes)
        return index

    def _path(self, dataset_id: str) -> Path:
        return self._folder / f"{dataset_id}.npz"


def _removal(index: VectorIndex, passage_ids: Sequence[int]) -> Changes:
    nothing = PassageBlock(
        np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty((0, index.dim), dtype=np.float16)
    )
    return Changes(nothing, np.array(passage_ids, dtype=np.int64), index.watermark, is_last=True)


def _is_same(left: PassageBlock, right: PassageBlock) -> bool:
    return (
        np.array_equal(left.ids, right.ids)
        and np.array_equal(left.collection_keys, right.collection_keys)
        and np.array_equal(left.embeddings.view(np.uint16), right.embeddings.view(np.uint16))
    )
