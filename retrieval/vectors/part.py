"""Passages that are searched as one: ids, labels of their collections, codes, and marks on the removed.

A part chooses how to search itself: a scan, which is exact, or a walk along the graph where that is
cheaper. Removed passages stay in it, marked, until it is made anew.

Rows are passages, nodes are vectors: in a graph, passages with the same vector share one, and nodes have their own order.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retrieval.types import CollectionFilter, PassageBlock, PassageIds
from retrieval.vectors.codes import NOTHING, Among, Codes, Found, Mask, Positions, Query, descends
from retrieval.vectors.nodes import NodeMap, Nodes

# What a search costs, in nanoseconds on one core: measured on a million vectors of 384 numbers.
WALK_NS = 3200
"""For each node that a walk keeps in view."""
SCAN_NS = 37
"""For each vector of those that lie side by side."""
TEST_NS = 2
"""For seeing whether a vector is selected."""
PICK_NS = 175
"""For each vector that is selected here and there."""

SPARE_VIEW = 1.25
"""How many more nodes a walk under a selection keeps in view than would do if all were strewn evenly."""

Sum = npt.NDArray[np.float64]
"""(dim,) of all embeddings of a part."""

SELECTIONS = 8
"""Filters whose bitmaps are kept."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a search may find, ``None`` for everything: rows, and the nodes that have such a row."""

    rows: Among | None
    nodes: Among | None
    count: int
    """Rows."""


class Part:
    """Passages by ascending id. Not safe to change while it is searched."""

    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        self.ids: PassageIds = np.empty(0, dtype=np.int64)
        self._keys: PassageIds = np.empty(0, dtype=np.int64)
        self._labels: npt.NDArray[np.int32] = np.empty(0, dtype=np.int32)
        self._is_removed: Mask = np.empty(0, dtype=np.bool_)
        self._removed = 0
        self._sum: Sum = np.zeros(codes.dim)
        self._map = NodeMap()
        self._selections: OrderedDict[CollectionFilter | None, Selection] = OrderedDict()
        self._selecting = threading.Lock()

    @classmethod
    def of_rows(
        cls,
        codes: Codes,
        ids: PassageIds,
        collection_keys: PassageIds,
        is_removed: Mask,
        nodes: Nodes,
        embedding_sum: Sum,
    ) -> "Part":
        """A part of codes that are there already. Raises ValueError if the columns do not fit them.

        Args:
            nodes: of each row, empty if every row is one.
            embedding_sum: of the passages that can be found.
        """
        part = cls(codes)
        rows = len(ids)
        if not rows == len(collection_keys) == len(is_removed) or len(nodes) not in (0, rows):
            raise ValueError("its columns are not of one length")
        if len(codes) != (int(nodes.max()) + 1 if len(nodes) else rows):
            raise ValueError(f"it has {len(codes)} vectors for {rows} passages")
        if embedding_sum.shape != (codes.dim,):
            raise ValueError(f"the sum of its embeddings is not {codes.dim} wide")
        part._add_labels(ids, collection_keys)
        part._is_removed = is_removed.copy()
        part._removed = int(is_removed.sum())
        part._map = NodeMap(nodes)
        part._sum += embedding_sum
        return part

    def __len__(self) -> int:
        """Passages that can be found."""
        return len(self.ids) - self._removed

    @property
    def removed(self) -> int:
        """Passages that are only marked."""
        return self._removed

    @property
    def is_removed(self) -> Mask:
        return self._is_removed

    @property
    def embedding_sum(self) -> Sum:
        """Of the passages that can be found: exact, since float16 numbers up to 1 add up without rounding."""
        return self._sum

    @property
    def nodes(self) -> Nodes:
        """Of each row, empty if every row is one."""
        return self._map.nodes

    def collection_keys(self, rows: Positions | slice = slice(None)) -> PassageIds:
        return self._keys[self._labels[rows]]

    @property
    def nbytes(self) -> int:
        columns = self.ids.nbytes + self._labels.nbytes + self._is_removed.nbytes + self._map.nbytes
        with self._selecting:
            selections = tuple(self._selections.values())
        bitmaps = sum(among.bitmap.nbytes for one in selections for among in (one.rows, one.nodes) if among)
        return self.codes.nbytes + columns + bitmaps

    # Changes

    def append(self, block: PassageBlock) -> None:
        """Add passages with higher ids than all that are in."""
        if self.codes.has_graph:
            self._map.link(block.embeddings, self.codes, len(self.ids))
        else:
            self.codes.append(block.embeddings)
        self._sum += block.embeddings.sum(axis=0, dtype=np.float64)
        self._add_labels(block.ids, block.collection_keys)
        self._is_removed = np.concatenate([self._is_removed, np.zeros(len(block), dtype=np.bool_)])
        self._selections.clear()

    def arrange(self) -> None:
        """Put the nodes of the graph where walks are quickest."""
        self._map.move(self.codes.arrange())
        self._selections.clear()

    def _add_labels(self, ids: PassageIds, collection_keys: PassageIds) -> None:
        self.ids = np.concatenate([self.ids, ids])
        present, labels = np.unique(collection_keys, return_inverse=True)
        self._keys = np.concatenate([self._keys, np.setdiff1d(present, self._keys)])
        order = np.argsort(self._keys)
        label_of_present = order[np.searchsorted(self._keys, present, sorter=order)].astype(np.int32)
        self._labels = np.concatenate([self._labels, label_of_present[labels]])

    def remove(self, ids: PassageIds) -> None:
        """Mark those that are in."""
        rows = self.rows_of(ids)
        if len(rows):
            self._sum -= self.codes.at(self._map.of(rows)).sum(axis=0, dtype=np.float64)
            self._is_removed[rows] = True
            self._removed += len(rows)
            self._selections.clear()

    # Reading

    def rows_of(self, ids: PassageIds) -> Positions:
        """The rows of those passages that can be found, ascending."""
        if not len(self.ids):
            return np.empty(0, dtype=np.int64)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.unique(rows[(self.ids[rows] == ids) & ~self._is_removed[rows]])

    def passages(self, rows: Positions) -> PassageBlock:
        """Copies of the passages in these rows."""
        return PassageBlock(self.ids[rows], self.collection_keys(rows), self.codes.at(self._map.of(rows)))

    def blocks(self, size: int) -> Iterator[PassageBlock]:
        """Copies of the passages that can be found, in blocks of ``size`` at most."""
        for start in range(0, len(self.ids), size):
            yield self.passages(start + np.flatnonzero(~self._is_removed[start : start + size]))

    # Searching

    def search(self, query: Query, top_k: int, collections: CollectionFilter | None) -> Found:
        """Rows of the best ``top_k`` that can be found; all if they are fewer."""
        selection = self._select(collections)
        count = min(top_k, selection.count)
        if count < 1:
            return NOTHING
        effort = self._effort_for(count, selection)
        if effort:
            found = self._walk(query, count, effort, selection)
            if len(found) == count:
                return found
        nodes = self.codes.scan(query, count, selection.nodes)
        return self._rows(nodes, count, selection)

    def _effort_for(self, count: int, selection: Selection) -> int:
        """Of the walk that finds ``count`` of the selection, 0 if a scan is cheaper.

        A walk that is to have as many selected nodes in view as one without a selection has to go on
        for longer: as many times as there are nodes for each that is selected.
        """
        if not self.codes.has_graph:
            return 0
        total = len(self.codes)
        effort = max(self.codes.effort, 2 * count)
        if selection.nodes is None:
            scan_ns = total * SCAN_NS
        else:
            effort = int(SPARE_VIEW * effort * total / selection.nodes.count)
            scan_ns = total * TEST_NS + selection.nodes.count * PICK_NS
        return effort if effort * WALK_NS < scan_ns else 0

    def _walk(self, query: Query, count: int, effort: int, selection: Selection) -> Found:
        """Those of the nearest nodes that are selected, or nothing if too few of them are.

        The hits must not come from the edge of the view, where a walk misses most: it has to hold
        as many selected nodes as there are nodes in the view of a walk without a selection.
        """
        if selection.nodes is None:
            return self._rows(self.codes.walk(query, count, effort), count, selection)
        nodes = self.codes.walk(query, effort, effort)
        nodes = nodes.where(selection.nodes.has(nodes.positions))
        if len(nodes) < max(self.codes.effort, 2 * count):
            return NOTHING
        return self._rows(nodes.where(slice(count)), count, selection)

    def _rows(self, nodes: Found, count: int, selection: Selection) -> Found:
        """The best ``count`` rows of the nodes, ties by ascending row."""
        rows = nodes
        if self._map:
            rows = self._map.rows_of(nodes)
            if selection.rows is not None:
                rows = rows.where(selection.rows.has(rows.positions))
            if not descends(rows.scores):
                rows = rows.where(np.lexsort((rows.positions, -rows.scores)))
        return rows.where(slice(count)) if len(rows) > count else rows

    def _select(self, collections: CollectionFilter | None) -> Selection:
        if collections is None and not self._removed:
            return Selection(None, None, len(self.ids))
        with self._selecting:
            known = self._selections.get(collections)
            if known is None:
                known = self._selections[collections] = self._new_selection(collections)
                while len(self._selections) > SELECTIONS:
                    self._selections.popitem(last=False)
            return known

    def _new_selection(self, collections: CollectionFilter | None) -> Selection:
        mask = ~self._is_removed
        if collections is not None:
            mask &= collections.keeps(self._keys)[self._labels]
        rows = Among.of(mask)
        if rows.count == len(mask):
            return Selection(None, None, rows.count)
        if not self._map:
            return Selection(rows, rows, rows.count)
        has_row = np.zeros(len(self.codes), dtype=np.bool_)
        has_row[self._map.nodes[mask]] = True
        return Selection(rows, Among.of(has_row), rows.count)
