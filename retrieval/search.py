"""One search: from a question to quotes, by one recall or by several that are fused.

    question → phrasings → recalls (channel × phrasing) → fused → repeats → reranked → threshold → budgets

A search of one recall looks at more and more hits until a budget is full or there are no more; where
recalls are fused or reranked, ``POOL`` passages of each are looked at, whatever the budgets are.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, Protocol, TypeVar

import numpy as np

from retrieval.batched import batched
from retrieval.calibration import Calibrations
from retrieval.completion import Completion, Message
from retrieval.embedding.models import Models
from retrieval.errors import CompletionFailed, RecordNotFound, RerankFailed
from retrieval.extension import extend_query
from retrieval.filters import choose
from retrieval.fulltext.analysis import analyse
from retrieval.fulltext.indexes import FullTextIndexes
from retrieval.fusion import Fused, Recall, fuse, fuse_reranked, scores_of
from retrieval.indexes import Indexes
from retrieval.quotes import Budgets, Repeats
from retrieval.rerank import Reranker
from retrieval.stages import Stages
from retrieval.store import Store
from retrieval.types import (
    Channel,
    CollectionFilter,
    CollectionMatch,
    Dataset,
    Decision,
    Embeddings,
    Explanation,
    Fusion,
    Hit,
    ModelBinding,
    Quote,
    Record,
    Score,
    SearchMode,
    SearchRequest,
)

logger = logging.getLogger(__name__)

FIRST_CANDIDATES = 32
"""Hits looked at in the first round of a search by one recall; four times as many in each further one."""

PAGE = 12
"""Hits whose records are read at once, as long as the budgets have room."""

POOL = 128
"""Passages of each recall that are fused."""

CODE_WEIGHT = 0.2
"""Most weight of the embedding where the question has a code that few passages have: with more, rows of
similar codes, or that name the code, come before its own (1 of 10,000 with 0.3, up to 61 of 1,000 with 0.5)."""

RERANKED = 64
"""Quotes that a reranker reads; worse ones are dropped."""

Sources = Mapping[int, tuple[Record, str]]
"""The record of a passage, and the name of its collection."""

FilteredBy = Literal["embedding", "reRank"] | None

T = TypeVar("T")


class AtOneMoment(Protocol):
    """Calls what it is given until no exchange of records went across it.

    What is called notes the hits whose records were gone in the list that it gets.
    """

    def __call__(self, attempt: Callable[[list[int]], T], /) -> T: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A dataset, and where in it to search: ``None`` for everywhere."""

    dataset: Dataset
    allowed: CollectionFilter | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to; see :class:`retrieval.types.SearchResult`."""

    quotes: tuple[Quote, ...]
    similarity: float
    filtered_by: FilteredBy
    phrasings: tuple[str, ...]
    reranked_by: str
    notes: tuple[str, ...]
    explanation: Explanation | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The quotes that were kept, and what was decided about each that was looked at."""

    budgets: Budgets
    decisions: list[Decision]


class Searcher:
    """Searches in the indexes of a library.

    Args:
        reranker, completion: for requests that ask for them; ``None`` if there is none.
    """

    def __init__(
        self,
        store: Store,
        vectors: Indexes,
        texts: FullTextIndexes,
        models: Models,
        reranker: Reranker | None = None,
        completion: Completion | None = None,
    ) -> None:
        self._store = store
        self._vectors = vectors
        self._texts = texts
        self._models = models
        self._reranker = reranker
        self._completion = completion
        self._thresholds = Calibrations(store)
        self.stages = Stages()

    def find(self, request: SearchRequest, datasets: Sequence[Dataset], at_one_moment: AtOneMoment) -> Found:
        """Search in datasets, each with its own embedding model.

        Raises:
            EmbedderUnavailable, StoreUnavailable, DatasetNotFound
        """
        notes: list[str] = []
        reranked_by = ""
        places = [Place(dataset, self._allowed(dataset, request.collections)) for dataset in datasets]
        phrasings = self._phrasings(request, notes)
        if _has_one_recall(request, places, phrasings):
            filtered_by = _filtered_by(request, reranked_by)
            similarity = self._similarity(request, datasets, reranked_by)
            outcome = at_one_moment(
                lambda missing: self._stream(request, places, similarity, filtered_by, missing)
            )
        else:
            pool = at_one_moment(lambda missing: self._pool(request, places, phrasings, missing))
            dropped: list[Decision] = []
            if request.rerank:
                with self.stages.of("read"):
                    quotes, dropped = _without_repeats(pool)
                pool, beyond, reranked_by = self._reranked(request, phrasings[0], quotes, notes)
                dropped += beyond
            filtered_by = _filtered_by(request, reranked_by)
            similarity = self._similarity(request, datasets, reranked_by)
            budgets = _budgets(request, similarity, filtered_by)
            with self.stages.of("read"):
                outcome = _Outcome(budgets, [*_decide(pool, budgets, request), *dropped])
        return Found(
            quotes=tuple(outcome.budgets.kept),
            similarity=similarity,
            filtered_by=filtered_by,
            phrasings=phrasings,
            reranked_by=reranked_by,
            notes=tuple(notes),
            explanation=self._explain(request, places, phrasings, outcome.decisions),
        )

    # What to search with, and where

    def _phrasings(self, request: SearchRequest, notes: list[str]) -> tuple[str, ...]:
        """The texts to search with, that of the request or its rewriting first."""
        wanted = request.extension
        if wanted is None:
            return (request.text,)
        if self._completion is None:
            notes.append("the question was searched as it is: there is no completion backend to rewrite it")
            return (request.text,)
        history = [Message(role, text) for role, text in wanted.history]
        try:
            with self.stages.of("extend"):
                return extend_query(self._completion, request.text, history, wanted.background, wanted.model)
        except CompletionFailed as error:
            notes.append(f"the question was searched as it is: {error.message}")
            return (request.text,)

    def _allowed(self, dataset: Dataset, match: CollectionMatch | None) -> CollectionFilter | None:
        """``None`` if all collections of the dataset may be searched."""
        forbidden = self._store.forbidden_keys(dataset.id)
        if match is not None:
            chosen = choose(self._store.list_collections(dataset.id), match)
            return CollectionFilter(chosen - forbidden)
        return CollectionFilter(forbidden, is_denial=True) if forbidden else None

    def _similarity(self, request: SearchRequest, datasets: Sequence[Dataset], reranked_by: str) -> float:
        """The threshold: that of the request, else the lowest that the datasets were calibrated to."""
        if request.similarity is not None:
            return request.similarity
        if request.mode == "fullTextRecall" and not reranked_by:
            return 0.0
        found = [self._thresholds.find(one, request.mode, bool(reranked_by)) for one in datasets]
        return min(threshold.similarity if threshold else 0.0 for threshold in found)

    # One recall

    def _stream(
        self,
        request: SearchRequest,
        places: Sequence[Place],
        similarity: float,
        filtered_by: FilteredBy,
        missing: list[int],
    ) -> _Outcome:
        """Look at more and more hits, until a budget is full or there are no more."""
        channel: Channel = "embedding" if request.mode == "embedding" else "fullText"
        # What the threshold drops need not be found, unless it is among the first and to be told of.
        least = -1.0 if request.explain else similarity
        count = FIRST_CANDIDATES
        while True:
            hits = self._hits(channel, request.text, count, places, least)
            budgets = _budgets(request, similarity, filtered_by)
            with self.stages.of("read"):
                quotes = self._quotes(hits, channel, missing, request.top_k)
                decisions = _decide(quotes, budgets, request)
            is_over = len(hits) < count or (filtered_by is not None and hits[-1].score < similarity)
            if budgets.is_full or is_over:
                return _Outcome(budgets, decisions)
            count *= 4

    def _hits(
        self, channel: Channel, text: str, count: int, places: Sequence[Place], least: float = -1.0
    ) -> list[Hit]:
        """The best passages of all places by one channel; the places are such that their scores compare."""
        if channel == "embedding":
            found = []
            for place in places:
                with self.stages.of("embed"):
                    query = self._embed(text, place)
                with self.stages.of("recall"):
                    found.append(
                        self._vectors.get(place.dataset).search(query, count, least, place.allowed)[0]
                    )
        else:
            with self.stages.of("recall"):
                found = [
                    self._texts.get(place.dataset).search(text, count, place.allowed) for place in places
                ]
        return _merge(found, count)

    def _embed(self, text: str, place: Place) -> Embeddings:
        """(1, dim), by the model of the place."""
        return self._models.of(place.dataset).queries.embed(text)

    def _quotes(
        self, hits: Sequence[Hit], channel: Channel, missing: list[int], top_k: int | None = None
    ) -> Iterator[Quote]:
        """A quote for each record, scored by its best passage; records are read as they are asked for.

        Hits whose records were deleted since are noted in ``missing``. Most often ``top_k`` of them are enough.
        """
        seen: set[str] = set()
        for page in chain(batched(hits[:top_k], PAGE), batched(hits[top_k or len(hits) :], PAGE)):
            sources = self._store.sources_of([hit.passage_id for hit in page])
            for hit in page:
                record, collection_name = sources.get(hit.passage_id, (None, ""))
                if record is None:
                    missing.append(hit.passage_id)
                elif record.id not in seen:
                    score = Score(channel, hit.score, len(seen))
                    seen.add(record.id)
                    yield Quote(record, collection_name, (score,), hit.passage_id)

    # Several recalls

    def _pool(
        self,
        request: SearchRequest,
        places: Sequence[Place],
        phrasings: Sequence[str],
        missing: list[int],
    ) -> Iterable[Quote]:
        """The best quotes of all recalls together, best first, made as they are asked for."""
        recalls = self._recalls(request, places, phrasings)
        if len(recalls) == 1:
            with self.stages.of("read"):
                return list(self._quotes(_as_hits(recalls[0]), recalls[0].channel, missing))
        sources = self._sources({one for recall in recalls for one in recall.ranked}, missing)
        method: Fusion = request.fusion if len(places) == 1 else "ranks"
        if method == "scores":
            sources, recalls = self._completed(places[0], recalls, sources, missing)
        record_of = {passage_id: record.id for passage_id, (record, _) in sources.items()}
        fused = fuse(recalls, record_of, method)
        return (_to_quote(one, index, sources) for index, one in enumerate(fused))

    def _recalls(
        self, request: SearchRequest, places: Sequence[Place], phrasings: Sequence[str]
    ) -> list[Recall]:
        """The channels of the mode with each phrasing. Cosines of one model compare, scores of BM25 do not."""
        weight = self._embedding_weight(request, places)
        recalls = []
        for phrasing in phrasings:
            if request.mode != "fullTextRecall":
                for of_model in _by_model(places):
                    hits = self._hits("embedding", phrasing, POOL, of_model)
                    floor = self._floor(phrasing, of_model[0])
                    recalls.append(_to_recall("embedding", phrasing, weight / len(phrasings), hits, floor))
            if request.mode != "embedding":
                for place in places:
                    hits = self._hits("fullText", phrasing, POOL, [place])
                    recalls.append(_to_recall("fullText", phrasing, (1 - weight) / len(phrasings), hits))
        return recalls

    def _embedding_weight(self, request: SearchRequest, places: Sequence[Place]) -> float:
        """That of the request, less where the question has the code of a thing: embeddings blur codes."""
        if request.mode != "mixedRecall":
            return float(request.mode == "embedding")
        if any(self._texts.get(place.dataset).knows_code_of(request.text) for place in places):
            return min(request.embedding_weight, CODE_WEIGHT)
        return request.embedding_weight

    def _floor(self, phrasing: str, place: Place) -> float:
        """The similarity of the average passage of a dataset."""
        return float(self._embed(phrasing, place)[0] @ self._vectors.get(place.dataset).mean)

    def _sources(self, passage_ids: AbstractSet[int], missing: list[int]) -> Sources:
        with self.stages.of("read"):
            sources = self._store.sources_of(sorted(passage_ids))
        missing += passage_ids - sources.keys()
        return sources

    def _completed(
        self, place: Place, recalls: Sequence[Recall], sources: Sources, missing: list[int]
    ) -> tuple[Sources, list[Recall]]:
        """With the scores of all passages of the records in each recall."""
        records = {record.id for record, _ in sources.values()}
        passage_ids = set(self._store.passage_ids_of(sorted(records)))
        missing += sources.keys() - passage_ids
        siblings = passage_ids - sources.keys()
        if siblings:
            sources = {**sources, **self._sources(siblings, missing)}
        return sources, [self._complete(place, recall, sources) for recall in recalls]

    def _complete(self, place: Place, recall: Recall, sources: Sources) -> Recall:
        others = [passage_id for passage_id in sources if passage_id not in recall.scores]
        if recall.channel == "embedding":
            query = self._embed(recall.phrasing, place)[0]
            found = self._vectors.get(place.dataset).scores(query, np.array(others, dtype=np.int64))
        else:
            none = dict.fromkeys(others, 0.0)
            found = none | self._texts.get(place.dataset).scores(recall.phrasing, others)
        return replace(recall, scores={**recall.scores, **found})

    def _reranked(
        self, request: SearchRequest, question: str, quotes: list[Quote], notes: list[str]
    ) -> tuple[list[Quote], list[Decision], str]:
        """(the best of them in their new order, decisions about the others, the model); as they are if it fails."""
        if self._reranker is None:
            notes.append("nothing was reranked: set QUOTEBASE_RERANK_MODEL or QUOTEBASE_RERANK_URL")
            return quotes, [], ""
        best = quotes[:RERANKED]
        try:
            with self.stages.of("rerank"):
                relevances = self._reranker.score(question, [quote.record.text for quote in best])
        except RerankFailed as error:
            logger.warning("nothing was reranked: %s", error.message)
            notes.append(f"nothing was reranked: {error.message}")
            return quotes, [], ""
        beyond = [
            Decision(quote, "depth", f"only the best {RERANKED} are reranked") for quote in quotes[RERANKED:]
        ]
        return fuse_reranked(best, relevances, question, request.rerank_weight), beyond, self._reranker.name

    # Explaining

    def _explain(
        self,
        request: SearchRequest,
        places: Sequence[Place],
        phrasings: Sequence[str],
        decisions: Sequence[Decision],
    ) -> Explanation | None:
        if not request.explain:
            return None
        record_ids = dict.fromkeys(decision.quote.record.id for decision in decisions)
        named = {
            passage_id
            for decision in decisions
            for passage_id in (
                decision.quote.passage_id,
                *(one.passage_id for one in decision.quote.contributions),
            )
        }
        texts = {
            passage.id: passage.text
            for passages in self._store.passages_of(list(record_ids)).values()
            for passage in passages
            if passage.id in named
        }
        searched = {term for phrasing in phrasings for term in analyse(phrasing).distinct}
        terms = {
            passage_id: tuple(term for term in analyse(text).distinct if term in searched)
            for passage_id, text in texts.items()
        }
        wanted = request.explain_record
        is_absent = wanted is not None and wanted not in record_ids
        absent = self._why_absent(wanted, request.mode, places, phrasings) if wanted and is_absent else ""
        return Explanation(tuple(decisions), texts, terms, absent)

    def _why_absent(
        self, record_id: str, mode: SearchMode, places: Sequence[Place], phrasings: Sequence[str]
    ) -> str:
        """Why a record is not among those that were looked at."""
        try:
            record = self._store.get_record(record_id)
        except RecordNotFound as error:
            return error.message
        place = next((place for place in places if place.dataset.id == record.dataset_id), None)
        if place is None:
            dataset = self._store.get_dataset(record.dataset_id)
            return f"it is in the dataset {dataset.name!r}, which was not searched"
        collection = self._store.get_collection(record.collection_id)
        if place.allowed and not place.allowed.keeps(np.array([collection.key]))[0]:
            reason = "is forbidden" if collection.forbid else "does not match the filter"
            return f"its collection {collection.name!r} {reason}"
        cosine, words = self._best_scores(record, place, phrasings)
        if mode == "fullTextRecall" and not words:
            return "it has no word of what was searched for"
        return f"others are better: its embedding score is {cosine:.4f}, that of its full text {words:.3f}"

    def _best_scores(self, record: Record, place: Place, phrasings: Sequence[str]) -> tuple[float, float]:
        """(by embedding, by full text), 0 where it has none."""
        passage_ids = self._store.passage_ids_of([record.id])
        index, texts = self._vectors.get(place.dataset), self._texts.get(place.dataset)
        ids = np.array(passage_ids, dtype=np.int64)
        cosines = [
            score for text in phrasings for score in index.scores(self._embed(text, place)[0], ids).values()
        ]
        words = [score for text in phrasings for score in texts.scores(text, passage_ids).values()]
        return max(cosines, default=0.0), max(words, default=0.0)


def _has_one_recall(request: SearchRequest, places: Sequence[Place], phrasings: Sequence[str]) -> bool:
    """Whether hits come in the order of the result, as many as are asked for."""
    alike = _by_model(places) if request.mode == "embedding" else places
    is_comparable = request.mode != "mixedRecall" and len(alike) == 1
    return is_comparable and len(phrasings) == 1 and phrasings[0] == request.text and not request.rerank


def _by_model(places: Sequence[Place]) -> list[list[Place]]:
    """The places whose cosines compare, together."""
    alike: dict[ModelBinding, list[Place]] = {}
    for place in places:
        alike.setdefault(place.dataset.model, []).append(place)
    return list(alike.values())


def _filtered_by(request: SearchRequest, reranked_by: str) -> FilteredBy:
    if reranked_by:
        return "reRank"
    return None if request.mode == "fullTextRecall" else "embedding"


def _budgets(request: SearchRequest, similarity: float, filtered_by: FilteredBy) -> Budgets:
    return Budgets(similarity, filtered_by, request.limit, request.top_k, request.per_source)


def _decide(quotes: Iterable[Quote], budgets: Budgets, request: SearchRequest) -> list[Decision]:
    """What becomes of each quote: of all, if that is to be explained, else until a budget is full."""
    repeats = Repeats()
    decisions = []
    for quote in quotes:
        decisions.append(repeats.find(quote) or budgets.decide(quote))
        if budgets.is_full and not request.explain:
            break
    return decisions


def _without_repeats(quotes: Iterable[Quote]) -> tuple[list[Quote], list[Decision]]:
    """The best of each content, and decisions about the others."""
    repeats = Repeats()
    kept, dropped = [], []
    for quote in quotes:
        decision = repeats.find(quote)
        if decision is None:
            kept.append(quote)
        else:
            dropped.append(decision)
    return kept, dropped


def _to_recall(
    channel: Channel, phrasing: str, weight: float, hits: Sequence[Hit], floor: float = 0.0
) -> Recall:
    scores = {hit.passage_id: hit.score for hit in hits}
    return Recall(channel, phrasing, weight, list(scores), scores, floor)


def _as_hits(recall: Recall) -> list[Hit]:
    return [Hit(passage_id, recall.scores[passage_id]) for passage_id in recall.ranked]


def _to_quote(fused: Fused, index: int, sources: Sources) -> Quote:
    passage_id = fused.contributions[0].passage_id
    record, collection_name = sources[passage_id]
    return Quote(record, collection_name, scores_of(fused, index), passage_id, fused.contributions)


def _merge(lists: Sequence[list[Hit]], count: int) -> list[Hit]:
    """The best hits of several datasets of one model, ties by ascending passage id."""
    if len(lists) == 1:
        return lists[0]
    hits = [hit for one in lists for hit in one]
    return sorted(hits, key=lambda hit: (-hit.score, hit.passage_id))[:count]
