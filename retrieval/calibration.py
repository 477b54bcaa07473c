"""The similarity threshold that suits a dataset: chosen from searches whose relevant quotes are known, and stored."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import InvalidRequest
from retrieval.quotes import content_key
from retrieval.store import Store
from retrieval.types import MAX_LIMIT, Dataset, Document, SearchMode, SearchRequest, SearchResult

KIND = "calibration"

STEPS = 1000

GRID = np.arange(STEPS + 1) / STEPS
"""The thresholds looked at: 0, 1/1000, … 1."""

LEAST_QUERIES = 20
"""With an answer. From fewer, a threshold is chance."""

DEEPER = 5
"""How many times ``top_k`` quotes are looked at where those that a threshold removes let others move up."""

SEED = 20_24

Shares = npt.NDArray[np.float64]
"""A number from 0 to 1 for each of ``GRID``."""


@dataclass(frozen=True, slots=True)
class JudgedSearch:
    """What a search without a threshold found, best first.

    Args:
        scores: what a threshold is compared with; infinite for a quote that none removes.
        hits: whether each quote is relevant.
        relevant: relevant documents there are, found or not; 0 for a query that nothing answers.
    """

    scores: tuple[float, ...]
    hits: tuple[bool, ...]
    relevant: int


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold does, over all queries together, those that nothing answers among them.

    Args:
        precision: share of the quotes kept that are relevant; 1 if none is kept.
        recall: share of the relevant documents there are that are kept as quotes.
        f1: harmonic mean of the two.
        silent: share of the queries with an answer that are left without any quote.
        refused: share of the queries without one that rightly get no quote; ``None`` without such queries.
    """

    similarity: float
    precision: float
    recall: float
    f1: float
    silent: float
    refused: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """The numbers of a :class:`Point` for each of ``GRID``."""

    precision: Shares
    recall: Shares
    f1: Shares
    silent: Shares
    refused: Shares | None

    def at(self, step: int) -> Point:
        """That of ``GRID[step]``."""
        return Point(
            similarity=step / STEPS,
            precision=float(self.precision[step]),
            recall=float(self.recall[step]),
            f1=float(self.f1[step]),
            silent=float(self.silent[step]),
            refused=None if self.refused is None else float(self.refused[step]),
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold chosen on one half of the queries, and what it does to the other.

    Args:
        chosen: on the half that chose it.
        held_out: on the other half.
        without: on the other half, without a threshold.
        curve: of the other half.
        searches: the other half.
        choosers: queries in the half that chose.
    """

    chosen: Point
    held_out: Point
    without: Point
    curve: Curve
    searches: Sequence[JudgedSearch]
    choosers: int

    @property
    def similarity(self) -> float:
        return self.chosen.similarity


def score_type(mode: SearchMode, rerank: bool) -> str:
    """Of the score that a threshold is compared with. Raises InvalidRequest if the mode has none."""
    if rerank:
        return "reRank"
    if mode == "fullTextRecall":
        raise InvalidRequest(
            "fullTextRecall has no score that a threshold is compared with: calibrate embedding or mixedRecall"
        )
    return "embedding"


def without_threshold(request: SearchRequest, top_k: int) -> SearchRequest:
    """The request that :func:`calibrate` needs the results of, for searches of ``top_k`` quotes."""
    # Other lists are not in the order of the score that the threshold is compared with.
    depth = top_k if request.mode == "embedding" and not request.rerank else top_k * DEEPER
    return replace(request, similarity=0.0, limit=MAX_LIMIT, top_k=depth)


def judge(
    request: SearchRequest, results: Mapping[str, SearchResult], qrels: Mapping[str, Mapping[str, int]]
) -> list[JudgedSearch]:
    """Results by query id; those without qrels are of queries that nothing answers.

    Raises:
        InvalidRequest: the mode has no score to filter by, or there was no reranker.
    """
    kind, searches = score_type(request.mode, request.rerank), []
    for query_id, result in results.items():
        if result.filtered_by != kind:
            raise InvalidRequest(f"the searches have no score {kind}: {'; '.join(result.notes)}")
        relevant = {key for key, value in qrels.get(query_id, {}).items() if value > 0}
        scores = (quote.score_of(kind) for quote in result.quotes)
        searches.append(
            JudgedSearch(
                tuple(math.inf if score is None else score for score in scores),
                tuple(content_key(quote.record) in relevant for quote in result.quotes),
                len(relevant),
            )
        )
    return searches


def curve_of(searches: Sequence[JudgedSearch], top_k: int) -> Curve:
    """What each threshold does to the searches, of which the best ``top_k`` quotes that it keeps count."""
    kept, hits, silent, refused = np.zeros((4, len(GRID)), np.int64)
    for search in searches:
        stays = np.array(search.scores)[:, np.newaxis] >= GRID
        stays &= stays.cumsum(axis=0) <= top_k
        count = stays.sum(axis=0)
        kept += count
        hits += stays[np.array(search.hits, dtype=bool)].sum(axis=0)
        (silent if search.relevant else refused)[count == 0] += 1
    relevant = sum(search.relevant for search in searches)
    unanswerable = sum(not search.relevant for search in searches)
    return Curve(
        precision=np.divide(hits, kept, out=np.ones(len(GRID)), where=kept > 0),
        recall=hits / relevant,
        f1=2 * hits / (kept + relevant),
        silent=silent / (len(searches) - unanswerable),
        refused=refused / unanswerable if unanswerable else None,
    )


def calibrate(
    searches: Sequence[JudgedSearch], top_k: int, least_precision: float | None = None
) -> Calibration:
    """Choose a threshold on one half of the queries, drawn with a fixed seed, and look at it on the other.

    Args:
        searches: as :func:`without_threshold` asks for them.
        least_precision: the lowest threshold with this precision is chosen; without it, the one with the
            best F1, or the middle one of such.

    Raises:
        InvalidRequest: there are fewer than ``LEAST_QUERIES`` queries with an answer, none of their answers
            is found, or no threshold has that precision.
    """
    choosers, others = _halves(searches)
    curve = curve_of(choosers, top_k)
    step = _best(curve) if least_precision is None else _lowest(curve, least_precision)
    held_out = curve_of(others, top_k)
    return Calibration(curve.at(step), held_out.at(step), held_out.at(0), held_out, others, len(choosers))


def _halves(searches: Sequence[JudgedSearch]) -> tuple[list[JudgedSearch], list[JudgedSearch]]:
    """Each with half of the queries that have an answer, and half of those that have none."""
    answerable = [search for search in searches if search.relevant]
    if len(answerable) < LEAST_QUERIES:
        raise InvalidRequest(
            f"a threshold cannot be chosen from {len(answerable)} queries: give at least {LEAST_QUERIES} with an answer"
        )
    halves: tuple[list[JudgedSearch], list[JudgedSearch]] = [], []
    for group in (answerable, [search for search in searches if not search.relevant]):
        order = np.random.default_rng(SEED).permutation(len(group))
        for half, places in zip(halves, (order[::2], order[1::2]), strict=True):
            half += [group[place] for place in places]
    return halves


def _best(curve: Curve) -> int:
    steps = np.flatnonzero(curve.f1 == curve.f1.max())
    if curve.f1[steps[0]] == 0:
        raise InvalidRequest(
            "no relevant quote was found for any query: check the labels, or give a larger --top-k"
        )
    return int(steps[(len(steps) - 1) // 2])


def _lowest(curve: Curve, precision: float) -> int:
    reached = curve.recall > 0
    steps = np.flatnonzero(reached & (curve.precision >= precision))
    if not len(steps):
        most = max(curve.precision[reached], default=0.0)
        raise InvalidRequest(f"no threshold has a precision of {precision}: {most:.3f} is the most there is")
    return int(steps[0])


@dataclass(frozen=True, slots=True)
class Threshold:
    """The default similarity of a dataset's searches in one mode, and where it comes from.

    Args:
        precision, recall: at it, on held-out queries.
        date: ISO 8601.
        labels: hash of the labels.
    """

    dataset_id: str
    mode: SearchMode
    rerank: bool
    similarity: float
    precision: float
    recall: float
    date: str
    labels: str


class Calibrations:
    """The thresholds in a store, one at most for a dataset, a mode, and whether there is reranking."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, threshold: Threshold) -> None:
        """From now on the default. Raises InvalidRequest, DatasetNotFound."""
        if not 0 <= threshold.similarity <= 1:
            raise InvalidRequest(
                f"similarity is {threshold.similarity}, it must be from 0 to 1", "similarity"
            )
        score_type(threshold.mode, threshold.rerank)
        dataset = self._store.get_dataset(threshold.dataset_id)
        place = _id(dataset, threshold.mode, threshold.rerank)
        self._store.put_document(KIND, place, asdict(threshold), group=dataset.id)

    def find(self, dataset: Dataset, mode: SearchMode, rerank: bool = False) -> Threshold | None:
        document = self._store.find_document(KIND, _id(dataset, mode, rerank))
        return _from_document(document) if document else None

    def list(self, dataset_id: str) -> list[Threshold]:
        """Oldest first."""
        dataset, documents = self._store.get_dataset(dataset_id), self._store.list_documents(KIND, dataset_id)
        thresholds = [(document.id, _from_document(document)) for document in documents]
        return [one for place, one in thresholds if place == _id(dataset, one.mode, one.rerank)]

    def delete(self, dataset_id: str, mode: SearchMode, rerank: bool = False) -> bool:
        """Whether there was one; from now on nothing is filtered by default."""
        dataset = self._store.get_dataset(dataset_id)
        return self._store.delete_document(KIND, _id(dataset, mode, rerank))


def _id(dataset: Dataset, mode: SearchMode, rerank: bool) -> str:
    """Scores of another model take another threshold: each edition has its own."""
    return f"{dataset.index_name}:{mode}{':reRank' if rerank else ''}"


def _from_document(document: Document) -> Threshold:
    body: Mapping[str, Any] = document.body
    return Threshold(**body)
