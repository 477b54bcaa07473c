"""What a process does until it is killed: ``python -m tests.retrieval.kill_load DATA_DIR LOG SEED``.

Several threads add, delete and search; folds, rebuilds, closing and opening in between. The log has
a synced line for each operation before it begins, and one after it has returned:

    {"n": 7, "begin": "add", "collection": "…", "numbers": [700000012, 40]}
    {"n": 7, "done": "add"}
"""

import hashlib
import json
import os
import random
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import numpy as np

import retrieval.background
from retrieval.embedding.ready import to_unit_length
from retrieval.errors import CollectionNotFound
from retrieval.library import Library
from retrieval.types import Collection, Dataset, Embeddings, RecordDraft, StoredEmbeddings
from retrieval.vectors.index import FoldPolicy
from retrieval.vectors.locking import ReadWriteLock
from tests.doubles import FourCharactersAToken

DIM = 32
FOLDS = FoldPolicy(exact_limit=300)
FOLD_DELAY_S = 0.05
THREADS = 4
DATASETS = ("one", "two")
NUMBERS = 100_000
"""Records that one run may add."""

ALIKE = 0.98
"""Two texts never have embeddings as near as this; a text and its stored embedding are nearer."""


class TextEmbedder(FourCharactersAToken):
    """A random direction for each text."""

    name = "text"
    fingerprint = "text-1"
    dim = DIM

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        rows = [self._embed(text) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(rows), DIM)

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        return self.embed_queries(texts)

    def _embed(self, text: str) -> Embeddings:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
        vector = np.random.default_rng(seed).standard_normal(DIM)
        unit: Embeddings = (vector / np.linalg.norm(vector)).astype(np.float32)
        return unit


def draft_of(number: int) -> RecordDraft:
    """Every third record can be found by a second text."""
    return RecordDraft(f"record {number}", indexes=(f"also {number}",) if number % 3 == 0 else ())


def number_of(q: str) -> int:
    return int(q.rpartition(" ")[2])


def embeddings_of(drafts: Sequence[RecordDraft]) -> StoredEmbeddings:
    texts = [text for draft in drafts for text in draft.texts]
    return to_unit_length(TextEmbedder().embed_passages(texts), DIM)


def open_library(data_dir: Path) -> Library:
    return Library.open(data_dir, TextEmbedder(), folds=FOLDS)


class Log:
    """Lines that are on the disk when the method returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._numbers = count()

    def write(self, **fields: object) -> None:
        os.write(self._file, json.dumps(fields).encode() + b"\n")
        os.fsync(self._file)

    def begin(self, kind: str, **fields: object) -> int:
        number = next(self._numbers)
        self.write(n=number, begin=kind, **fields)
        return number

    def done(self, number: int, kind: str, **fields: object) -> None:
        self.write(n=number, done=kind, **fields)


class Load:
    """The library under load. ``gate`` is held alone by whoever closes and opens it."""

    def __init__(self, data_dir: Path, log: Log, seed: int) -> None:
        self.data_dir = data_dir
        self.log = log
        self.seed = seed
        self.gate = ReadWriteLock()
        self.numbers = count(seed * NUMBERS)
        self.numbering = threading.Lock()
        self.library = self._open()
        self.datasets = [self._dataset(name) for name in DATASETS]
        self.shared = [self._collection(dataset, f"shared {n}") for dataset in self.datasets for n in (0, 1)]
        self.everywhere: list[Collection] = list(self.shared)
        """Those of all threads, some of them deleted."""
        self.own: list[Collection] = [
            collection
            for dataset in self.datasets
            for collection in self.library.store.list_collections(dataset.id)
            if collection not in self.shared
        ]
        """Left from the process before."""

    def _open(self) -> Library:
        number = self.log.begin("open")
        library = open_library(self.data_dir)
        self.log.done(number, "open")
        return library

    def _dataset(self, name: str) -> Dataset:
        found = self.library.store.find_dataset(name)
        if found:
            return found
        number = self.log.begin("dataset", name=name)
        made = self.library.create_dataset(name)
        self.log.done(number, "dataset", id=made.id)
        return made

    def _collection(self, dataset: Dataset, name: str) -> Collection:
        found = self.library.store.find_collection(dataset.id, name)
        return found or self.new_collection(dataset, name)

    def new_collection(self, dataset: Dataset, name: str) -> Collection:
        number = self.log.begin("collection", dataset=dataset.id, name=name)
        made = self.library.store.create_collection(dataset.id, name)
        self.log.done(number, "collection", id=made.id)
        return made

    def take(self, size: int) -> int:
        with self.numbering:
            numbers = [next(self.numbers) for _ in range(size)]
        return numbers[0]

    def reopen(self) -> None:
        with self.gate.writing():
            number = self.log.begin("close")
            self.library.close()
            self.log.done(number, "close")
            self.library = self._open()


class Worker:
    """One thread. Nobody else deletes what it has added to its own and to the shared collections."""

    def __init__(self, load: Load, place: int) -> None:
        self.load = load
        self.choice = random.Random(f"{load.seed} {place}")
        self.place = place
        self.collections: list[Collection] = []
        self.records: dict[int, tuple[Collection, str]] = {}
        store = load.library.store
        for collection in [*load.shared, *load.own][place::THREADS]:
            if collection in load.own:
                self.collections.append(collection)
            for record in store.list_records(collection.id, limit=100_000):
                self.records[number_of(record.q)] = (collection, record.id)

    def run(self) -> None:
        steps: dict[Callable[[], None], int] = {
            self.add: 40,
            self.search: 20,
            self.delete: 20,
            self.add_elsewhere: 6,
            self.create: 6,
            self.drop: 5,
            self.settle: 3,
            self.rebuild: 3,
        }
        try:
            while True:
                if self.place == 0 and self.choice.random() < 0.05:
                    self.load.reopen()
                with self.load.gate.reading():
                    self.choice.choices(list(steps), list(steps.values()))[0]()
        except BaseException:  # noqa: BLE001
            self.load.log.write(error=traceback.format_exc())
            os._exit(1)

    @property
    def library(self) -> Library:
        return self.load.library

    def add(self) -> None:
        collection = self.choice.choice([*self.load.shared, *self.collections])
        first, ids = self._add(collection)
        self.records |= {first + place: (collection, id_) for place, id_ in enumerate(ids)}
        self._look_for(first + len(ids) - 1)

    def add_elsewhere(self) -> None:
        """To a collection that its owner may be deleting."""
        try:
            self._add(self.choice.choice(self.load.everywhere))
        except CollectionNotFound:
            return

    def _add(self, collection: Collection) -> tuple[int, tuple[str, ...]]:
        size = self.choice.choice((1, 5, 20, 40, 120))
        first = self.load.take(size)
        drafts = [draft_of(number) for number in range(first, first + size)]
        number = self.load.log.begin("add", collection=collection.id, numbers=[first, size])
        try:
            result = self.library.add_records(collection, drafts, embeddings_of(drafts))
        except CollectionNotFound:
            self.load.log.write(n=number, failed="add")
            raise
        self.load.log.done(number, "add")
        assert len(result.added) == size
        return first, result.added

    def delete(self) -> None:
        if not self.records:
            return
        some = self.choice.choice((1, 3, 10, 60))
        dataset_id = self.records[self.choice.choice(list(self.records))][0].dataset_id
        of_it = [n for n, (collection, _) in self.records.items() if collection.dataset_id == dataset_id]
        gone = self.choice.sample(of_it, min(some, len(of_it)))
        number = self.load.log.begin("delete", numbers=gone)
        self.library.delete_records(dataset_id, [self.records[n][1] for n in gone])
        self.load.log.done(number, "delete")
        for n in gone:
            del self.records[n]
        self._look_for(gone[0], dataset_id)

    def create(self) -> None:
        if len(self.collections) < 4:
            made = self.load.new_collection(self.choice.choice(self.load.datasets), "later")
            self.collections.append(made)
            self.load.everywhere.append(made)

    def drop(self) -> None:
        if not self.collections:
            return
        gone = self.choice.choice(self.collections)
        self.collections.remove(gone)
        number = self.load.log.begin("drop", collection=gone.id)
        self.library.delete_collection(gone.id)
        self.load.log.done(number, "drop")
        lost = [n for n, (collection, _) in self.records.items() if collection.id == gone.id]
        for n in lost:
            del self.records[n]
        for n in lost[:1]:
            self._look_for(n, gone.dataset_id)

    def search(self) -> None:
        if self.records:
            self._look_for(self.choice.choice(list(self.records)))

    def _look_for(self, record: int, dataset_id: str | None = None) -> None:
        """What has been added is found, what has been deleted is not, whatever goes on beside."""
        number = self.load.log.begin("search", number=record)
        is_there = record in self.records
        dataset_id = self.records[record][0].dataset_id if is_there else dataset_id
        assert dataset_id
        # All there are: near enough to everything for a scan, which is exact.
        index = self.library.load_index(dataset_id)
        text = draft_of(record).texts[-1]
        (hits,) = index.search(TextEmbedder().embed_queries([text]), 1000, ALIKE)
        assert len(hits) == is_there, f"record {record} of dataset {dataset_id}: {hits}"
        sources = self.library.store.sources_of([hit.passage_id for hit in hits])
        assert [number_of(found.q) for found, _ in sources.values()] == [record] * is_there
        self.load.log.done(number, "search")

    def settle(self) -> None:
        number = self.load.log.begin("settle")
        self.library.settle()
        self.load.log.done(number, "settle")

    def rebuild(self) -> None:
        dataset = self.choice.choice(self.load.datasets)
        number = self.load.log.begin("rebuild", dataset=dataset.id)
        self.library.rebuild(dataset.id)
        self.load.log.done(number, "rebuild")


def main(data_dir: Path, log_path: Path, seed: int) -> None:
    retrieval.background.DELAY_S = FOLD_DELAY_S
    load = Load(data_dir, Log(log_path), seed)
    threads = [threading.Thread(target=Worker(load, place).run) for place in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
