"""The index of a dataset: a sealed part, and a flat part for what came after it.

    changes → flat part ─┐
                         ├→ both searched, hits merged
    files → sealed part ─┘

Up to some 50,000 passages all search is an exact scan. Beyond, sealing links the sealed part into a
graph. Sealing is for an index that nobody else uses: the sealed copy then takes the place of the old.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from retrieval.errors import ModelMismatch
from retrieval.types import Changes, CollectionFilter, Embeddings, Hit, PassageBlock, PassageIds
from retrieval.vectors.calibration import NONE_ASKED, find_effort
from retrieval.vectors.codes import BLOCK, Codes, Query, with_graph
from retrieval.vectors.locking import ReadWriteLock
from retrieval.vectors.part import Part

OnStep = Callable[[int, int], None]
"""Called with passages done and passages to do; what it raises ends the work."""


@dataclass(frozen=True, slots=True)
class FoldPolicy:
    """When the flat part and the removed passages are worth folding into a new sealed part.

    Every limit is a share of what is sealed, so that n passages cost O(log n) folds.
    """

    exact_limit: int = 50_000
    """Passages up to which a scan is as good as a graph."""
    flat_share: float = 1 / 16
    """Of the flat part to the sealed one; a graph takes in a flat part at the cost of that part alone."""
    removed_share: float = 1 / 10
    """Of the passages that are only marked as removed; getting rid of them makes the graph anew."""

    @property
    def least(self) -> int:
        """Fewer passages than this are not worth a fold, whatever their share."""
        return max(1, self.exact_limit // 4)


DEFAULT_FOLDS = FoldPolicy()


class VectorIndex:
    """The passages of one dataset, searchable. Safe to use from several threads."""

    def __init__(self, dim: int, policy: FoldPolicy, sealed: Part | None = None, watermark: int = 0) -> None:
        self.dim = dim
        self._policy = policy
        self._watermark = watermark
        self._lock = ReadWriteLock()
        self._sealed = sealed or Part(Codes(dim))
        self._flat = Part(Codes(dim))

    @property
    def watermark(self) -> int:
        """All changes up to this number of the store's sequence are in."""
        return self._watermark

    def __len__(self) -> int:
        return len(self._sealed) + len(self._flat)

    @property
    def sealed(self) -> Part:
        return self._sealed

    @property
    def flat(self) -> Part:
        return self._flat

    @property
    def has_graph(self) -> bool:
        return self._sealed.codes.has_graph

    @property
    def nbytes(self) -> int:
        """What it takes in memory; pages of a mapped file count as if they were all there."""
        return self._sealed.nbytes + self._flat.nbytes

    @property
    def is_fold_due(self) -> bool:
        """Whether sealing would make it faster or smaller by enough to be worth it."""
        policy, sealed, flat = self._policy, self._sealed, self._flat
        if len(self) > policy.exact_limit and not self.has_graph:
            return True
        too_many = max(policy.least, policy.removed_share * len(sealed.ids))
        if sealed.removed + flat.removed >= too_many:
            return True
        return self.has_graph and len(flat.ids) >= max(policy.least, int(policy.flat_share * len(sealed.ids)))

    @property
    def is_slow_in_file(self) -> bool:
        """Whether the sealed part is walked in its file, and would be quicker read from it."""
        return self._sealed.codes.is_slow_in_file

    def apply(self, changes: Changes) -> None:
        """Take in what happened in the store; what is in already changes nothing.

        Raises:
            ModelMismatch: the embeddings are not ``dim`` wide.
        """
        added = changes.added
        if len(added) and added.embeddings.shape[1] != self.dim:
            raise ModelMismatch(
                f"passages of {added.embeddings.shape[1]} dimensions do not fit an index of {self.dim}"
            )
        with self._lock.writing():
            self._append(added)
            self._sealed.remove(changes.removed)
            self._flat.remove(changes.removed)
            self._watermark = max(self._watermark, changes.watermark)

    def _append(self, block: PassageBlock) -> None:
        is_new = block.ids > self._watermark
        if is_new.all() and len(block):
            self._flat.append(block)
        elif is_new.any():
            self._flat.append(
                PassageBlock(block.ids[is_new], block.collection_keys[is_new], block.embeddings[is_new])
            )

    def search(
        self,
        queries: Embeddings,
        top_k: int,
        similarity: float = -1.0,
        collections: CollectionFilter | None = None,
    ) -> list[list[Hit]]:
        """Find the passages most similar to each query.

        Exact while there is no graph. With one, the sealed part is walked with an effort at which questions
        that were asked, or were made, found 98 % of their true ten best (:mod:`.calibration`); where a scan costs
        less, as under a filter that lets little through, and where a walk does not find ``top_k``,
        it is scanned. (Less effort for queries that look easy, and more for the others, was tried:
        at equal recall it saves nothing.)

        Args:
            queries: (n, dim) float32, rows of unit length.
            top_k: most hits for one query; at least 1. As many are found whenever they exist.
            similarity: lowest cosine to keep, inclusive.
            collections: where to search; ``None`` for everywhere.

        Returns:
            One list per query, best first, ties by ascending passage id.

        Raises:
            ModelMismatch: ``queries`` is not ``dim`` wide.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ModelMismatch(
                f"queries of shape {queries.shape} cannot search an index of {self.dim} dimensions"
            )
        with self._lock.reading():
            # As exact as scores are.
            least = float(np.float32(similarity))
            return [self._search_one(query, top_k, least, collections) for query in queries]

    def _search_one(
        self, query: Query, top_k: int, similarity: float, collections: CollectionFilter | None
    ) -> list[Hit]:
        lists = [
            _hits(part, query, top_k, similarity, collections)
            for part in (self._sealed, self._flat)
            if len(part)
        ]
        if len(lists) < 2:
            return lists[0] if lists else []
        # Each list is in order, so that this is a merge.
        return sorted(chain(*lists), key=lambda hit: (-hit.score, hit.passage_id))[:top_k]

    def seal(
        self,
        on_step: OnStep = lambda done, total: None,
        asked: Embeddings = NONE_ASKED,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Put everything into the sealed part, with a graph if it is large enough for one.

        For an index that no other thread uses. A graph that has not lost much takes in the flat
        part; else a new one is made. Its effort is then found with the questions ``asked``, which
        ends with what ``check`` raises.
        """
        if len(self) <= self._policy.exact_limit:
            self._sealed = self._gather(Part(Codes(self.dim)), on_step)
        elif self.has_graph and self._sealed.removed < self._policy.removed_share * len(self._sealed.ids):
            for block in _counted(self._flat.blocks(BLOCK), len(self._flat), on_step):
                self._sealed.append(block)
        else:
            self._sealed = self._gather(Part(with_graph(self.dim)), on_step)
        self._flat = Part(Codes(self.dim))
        if self.has_graph:
            self.effort = self.find_effort(asked, check)
            self._sealed.arrange()
        self._sealed.codes.rest()

    @property
    def effort(self) -> int:
        """Of walks along the graph; 0 without one. May be set beside searches."""
        return self._sealed.codes.effort

    @effort.setter
    def effort(self, value: int) -> None:
        self._sealed.codes.effort = value

    def find_effort(self, asked: Embeddings, check: Callable[[], None] = lambda: None) -> int:
        """What walks along the graph take, by questions of (n, dim). Beside searches. Raises what ``check`` does."""
        return find_effort(self._sealed.codes, asked, check)

    def exact_part(self) -> tuple[Part, int]:
        """A copy of everything in one part without a graph, and its watermark."""
        with self._lock.reading():
            return self._gather(Part(Codes(self.dim)), lambda done, total: None), self._watermark

    def _gather(self, part: Part, on_step: OnStep) -> Part:
        for block in _counted(self.blocks(), len(self), on_step):
            part.append(block)
        return part

    def blocks(self, size: int = BLOCK) -> Iterator[PassageBlock]:
        """Copies of everything, by ascending id. Not beside changes."""
        yield from self._sealed.blocks(size)
        yield from self._flat.blocks(size)

    @property
    def mean(self) -> Query:
        """(dim,) of all embeddings, shorter than 1 the more they differ; zeros if there are none."""
        with self._lock.reading():
            total = self._sealed.embedding_sum + self._flat.embedding_sum
            return (total / max(1, len(self))).astype(np.float32)

    def scores(self, query: Query, ids: PassageIds) -> dict[int, float]:
        """The similarity of each of the passages that is in, at most 1 as those that a search finds."""
        with self._lock.reading():
            found = self.find(ids)
        similarities = np.minimum(found.embeddings.astype(np.float32) @ query, np.float32(1))
        return dict(zip(found.ids.tolist(), similarities.tolist(), strict=True))

    def find(self, ids: PassageIds) -> PassageBlock:
        """Those of the passages that are in, by ascending id. Not beside changes."""
        found = [part.passages(part.rows_of(ids)) for part in (self._sealed, self._flat)]
        return PassageBlock(
            np.concatenate([block.ids for block in found]),
            np.concatenate([block.collection_keys for block in found]),
            np.concatenate([block.embeddings for block in found]),
        )


def _hits(
    part: Part, query: Query, top_k: int, similarity: float, collections: CollectionFilter | None
) -> list[Hit]:
    found = part.search(query, top_k, collections)
    hits = zip(part.ids[found.positions].tolist(), found.scores.tolist(), strict=True)
    return [Hit(passage_id, score) for passage_id, score in hits if score >= similarity]


def _counted(blocks: Iterator[PassageBlock], total: int, on_step: OnStep) -> Iterator[PassageBlock]:
    done = 0
    for block in blocks:
        on_step(done, total)
        yield block
        done += len(block)
    on_step(done, total)
