"""Vectors by position, as fp16 codes: scanned whole, or walked along a graph. The one module with FAISS.

What FAISS leaves open is settled here: ties have an order, padding does not come out, nothing is
added to a file that is mapped, and each thread that searches is one thread.

A walk is a chain of vectors here and there in memory, some 100 ns for each of 3,100 at a recall of 0.98 in 100,000
passages. Other codes along the same graph take no less (in one run, along a graph made with half the effort: fp16 0.71 ms,
8 bits 0.78 ms and 4 bits 0.72 ms at 0.972, the fp16 vectors looked at last; fp32 0.74 ms); lists in place of a graph come
close and not below (RaBitQ 0.78 ms at 0.975, 4-bit PQ 0.55 ms at 0.968, a RaBitQ scan of everything 1.05 ms at 0.990).
"""

import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from operator import gt
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from retrieval.types import StoredEmbeddings
from retrieval.vectors.large_pages import has_large_pages, use_large_pages

Query = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

LINKS = 32
"""HNSW's M: neighbours of a passage on the upper levels; twice as many on the lowest."""

BUILD_EFFORT = 400
"""HNSW's efConstruction. Against 200, walks at the same recall take a fifth less in 100,000 real passages (0.32 ms in place
of 0.42 at 0.982, with 1,993 questions that are not among them) and a quarter to two fifths less in a million (efforts of
215 to 256 in place of 332 to 431); building takes 1.8 and 1.6 times as long, in the background. 300 brings a third of that,
600 nothing more. Neither fuller lists of neighbours (``keep_max_size_level0``) nor other headrooms in pruning do."""

BLOCK = 2048
"""Vectors added to a graph between two looks at whether to stop: about a second of a million."""

BUILD_THREADS: int = faiss.omp_get_max_threads()

_thread = threading.local()


@dataclass(frozen=True, slots=True)
class Found:
    """Positions by descending score, ties by ascending position."""

    scores: Scores
    positions: Positions

    def __len__(self) -> int:
        return len(self.positions)

    def where(self, keep: Mask | Positions | slice) -> "Found":
        return Found(self.scores[keep], self.positions[keep])


NOTHING = Found(np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Among:
    """Positions to search among, as one bit each, and how many they are."""

    bitmap: npt.NDArray[np.uint8]
    count: int

    @classmethod
    def of(cls, mask: Mask) -> "Among":
        return cls(np.packbits(mask, bitorder="little"), int(np.count_nonzero(mask)))

    def has(self, positions: Positions) -> Mask:
        """Which of these are among them."""
        bits: Mask = (self.bitmap[positions >> 3] >> (positions & 7).astype(np.uint8)) & 1 == 1
        return bits


class Codes:
    """(n, dim) float16, numbered from 0 in the order of adding. Not safe to change while it is searched.

    Scores are inner products of a float32 query with the codes, at most 1.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._index = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._is_mapped = False

    @classmethod
    def read(cls, path: Path, is_mapped: bool) -> "Codes":
        """What :meth:`write` wrote; its bytes have to be right. Mapped, it cannot be added to.

        Raises:
            OSError, RuntimeError: the file cannot be read, or is none of ours.
        """
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if is_mapped else 0)
        codes = cls(index.d)
        codes._index, codes._is_mapped = index, is_mapped
        return codes

    def write(self, path: Path) -> None:
        """To the disk, down to it. Raises OSError, RuntimeError."""
        # FAISS's own writer does not notice what cannot be written when the file is closed.
        with path.open("wb") as stream:
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(stream.write, 1 << 20))
            stream.flush()
            os.fsync(stream.fileno())

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def has_graph(self) -> bool:
        return isinstance(self._index, faiss.IndexHNSW)

    @property
    def effort(self) -> int:
        """HNSW's efSearch: how many of the nearest a walk keeps in view. 0 without a graph."""
        return int(self._index.hnsw.efSearch) if self.has_graph else 0

    @effort.setter
    def effort(self, value: int) -> None:
        self._index.hnsw.efSearch = value

    @property
    def nbytes(self) -> int:
        """What it takes in memory, or in mapped pages."""
        total = self._flat.codes.size()
        if self.has_graph:
            graph = self._index.hnsw
            total += 4 * (graph.neighbors.size() + graph.levels.size()) + 8 * graph.offsets.size()
        return int(total)

    @property
    def _flat(self) -> faiss.IndexScalarQuantizer:
        return faiss.downcast_index(self._index.storage) if self.has_graph else self._index

    @property
    def is_slow_in_file(self) -> bool:
        """Whether they are walked in a mapped file, and would be quicker read from it."""
        return self._is_mapped and self.has_graph and has_large_pages()

    def rest(self) -> None:
        """For codes that will not change for a while: make them quick to search. What is mapped is left as it is."""
        if self._is_mapped:
            return
        arrays = [(self._flat.codes, 1)]
        if self.has_graph:
            arrays.append((self._index.hnsw.neighbors, 4))
        for array, width in arrays:
            if array.size():
                use_large_pages(int(array.data()), array.size() * width)

    def at(self, positions: Positions | slice) -> StoredEmbeddings:
        """Copies of the vectors at these positions."""
        if not len(self):
            return np.empty((0, self.dim), dtype=np.float16)
        width = 2 * self.dim
        raw = faiss.rev_swig_ptr(self._flat.codes.data(), len(self) * width).reshape(-1, width)
        vectors: StoredEmbeddings = np.array(raw[positions]).view(np.float16)
        return vectors

    def arrange(self) -> Positions:
        """Put the vectors of a graph in the order in which a walk from its entry comes upon them, breadth first.

        What a walk reads together then lies together: in 100,000 passages it takes 0.86 ms in place of 1.06.
        (Clusters of k-means one after the other: 0.83 ms, but 2 s to find them in place of 0.1 s. Orders to this end
        are compared in Coleman et al. 2022.)

        Returns:
            (n,) the former position of each.
        """
        # Imported where it is needed, as it takes a quarter of a second.
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import breadth_first_order

        graph = self._index.hnsw
        starts = faiss.vector_to_array(graph.offsets).astype(np.int64)
        links = faiss.rev_swig_ptr(graph.neighbors.data(), graph.neighbors.size())
        is_link = links >= 0
        counts = np.add.reduceat(is_link, starts[:-1], dtype=np.int64)
        # As narrow as the links, if it can be: scipy makes them alike.
        bounds = np.concatenate([[0], np.cumsum(counts)])
        bounds = bounds.astype(links.dtype) if bounds[-1] <= np.iinfo(links.dtype).max else bounds
        linked = csr_array(
            (np.ones(bounds[-1], dtype=np.int8), links[is_link], bounds), shape=(len(self), len(self))
        )
        reached = breadth_first_order(linked, graph.entry_point, return_predecessors=False)
        others = np.setdiff1d(np.arange(len(self)), reached)
        order = np.concatenate([reached, others]).astype(np.int64)
        self._index.permute_entries(order)
        return order

    def append(self, vectors: StoredEmbeddings) -> None:
        """Add (n, dim) float16; a graph takes them in, which takes its time."""
        if self._is_mapped:
            raise ValueError("codes in a mapped file cannot be added to")
        if self.has_graph:
            _use_threads(BUILD_THREADS)
            self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        else:
            raw = np.ascontiguousarray(vectors, dtype=np.float16).view(np.uint8)
            self._index.add_sa_codes(raw.reshape(len(vectors), 2 * self.dim))

    def scan(self, query: Query, count: int, among: Among | None = None) -> Found:
        """The exact best ``count``, and what ties with the last of them; fewer if there are no more.

        Args:
            count: at least 1, and there has to be something to find.
        """
        available = len(self) if among is None else among.count
        wanted = count = min(count, available)
        while True:
            wanted = min(wanted + 8, available)
            found = self._scan(query, wanted, among)
            if wanted == available or found.scores[-1] < found.scores[count - 1]:
                return found
            wanted *= 2

    def _scan(self, query: Query, count: int, among: Among | None) -> Found:
        parameters = None
        if among is not None:
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(among.bitmap))
        _use_threads(1)
        return _tidy(*self._flat.search(query[np.newaxis], count, params=parameters))

    def walk(self, query: Query, count: int, effort: int) -> Found:
        """Nearly the best ``count``, by a walk along the graph."""
        _use_threads(1)
        return _tidy(*self._index.search(query[np.newaxis], count, params=_walk_of(max(effort, count))))


def with_graph(dim: int) -> Codes:
    """Empty codes that link all that is added into a graph (HNSW, Malkov and Yashunin 2018)."""
    codes = Codes(dim)
    codes._index = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, LINKS, faiss.METRIC_INNER_PRODUCT)
    codes._index.hnsw.efConstruction = BUILD_EFFORT
    return codes


def _use_threads(count: int) -> None:
    """FAISS takes the number of its threads from the thread that calls it: said where it changes."""
    if getattr(_thread, "count", None) != count:
        faiss.omp_set_num_threads(count)
        _thread.count = count


@lru_cache(maxsize=64)
def _walk_of(effort: int) -> faiss.SearchParametersHNSW:
    """Kept, as making it takes 25 µs. (Counting steps, ``check_relative_distance=False``, would save as much again, and
    cost recall where questions are unlike all passages.)"""
    return faiss.SearchParametersHNSW(efSearch=effort)


def descends(scores: Scores) -> bool:
    """Whether each is less than the one before."""
    # Right after a walk, which leaves nothing in the caches, arrays of a few dozen take ten times as long as lists.
    values = scores.tolist()
    return all(map(gt, values, values[1:]))


def _tidy(scores: Scores, positions: Positions) -> Found:
    best, where = scores[0], positions[0]
    if where[-1] >= 0 and best[0] <= 1 and descends(best):
        return Found(best, where)
    # Rounded to fp16, a row can be longer than 1. FAISS pads missing results with id -1, and leaves the order of ties open.
    is_found = where >= 0
    best, where = np.minimum(best[is_found], np.float32(1)), where[is_found]
    order = np.lexsort((where, -best))
    return Found(best[order], where[order])
