"""A dataset searched with texts of its own, for want of labelled queries.

A custom index text is a question that somebody expected. It is searched twice, in effect: once with its
record scored by the other passages that it has, and once without the record, as a question that nothing
answers. Where there are too few custom texts, each q is the question, and its record is scored by its a alone.

What that is worth has limits. Those who made a dataset ask in its own words, so that recall looks better than
it is; of a q and its a alone, it looks worse. Other records that answer as well count as wrong, and so
precision looks worse. And half of the questions have no answer, which is more than people will ask.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from retrieval.calibration import LEAST_QUERIES, SEED, JudgedSearch
from retrieval.labels import loose
from retrieval.library import Library
from retrieval.quotes import content_key
from retrieval.store import Store
from retrieval.types import MAX_LIMIT, Passage, Record, SearchRequest, StoredEmbeddings

SAMPLE = 500
"""Texts that are searched with."""

PAGE = 500
"""Records that are read at a time."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Searches with a dataset's own texts, and what these were: custom texts, or questions."""

    texts: str
    searches: list[JudgedSearch]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, and the record that it is of."""

    text: str
    record: Record


def search_itself(library: Library, dataset_id: str, top_k: int) -> HeldOut:
    """Search by embedding with a sample of the dataset's texts, drawn with a fixed seed.

    Raises:
        DatasetNotFound, ModelMismatch, EmbedderUnavailable, StoreUnavailable
    """
    asked = _sample(_custom_texts(library.store, dataset_id))
    if len(asked) >= LEAST_QUERIES:
        passages = [_other_passages(library.store, one) for one in asked]
        return HeldOut("custom texts", _search_all(library, dataset_id, top_k, asked, passages))
    asked = _sample(_questions(library.store, dataset_id))
    answers, _ = library.model_of(dataset_id).passages.embed([one.record.a for one in asked], {})
    passages = [[answers[one.record.a]] for one in asked]
    return HeldOut("questions", _search_all(library, dataset_id, top_k, asked, passages))


def _sample(all_asked: Iterable[_Asked]) -> list[_Asked]:
    """``SAMPLE`` of them, each as likely as any other."""
    chance, sample = random.Random(SEED), list[_Asked]()  # noqa: S311
    for number, asked in enumerate(all_asked):
        if number < SAMPLE:
            sample.append(asked)
        elif (place := chance.randrange(number + 1)) < SAMPLE:
            sample[place] = asked
    return sample


def _questions(store: Store, dataset_id: str) -> Iterator[_Asked]:
    """The q of each record that has an a."""
    for records in _pages(store, dataset_id):
        yield from (_Asked(record.q, record) for record in records if record.a.strip())


def _custom_texts(store: Store, dataset_id: str) -> Iterator[_Asked]:
    """Those that are not the record's q, and are a passage each."""
    for records in _pages(store, dataset_id):
        passages = store.passages_of([record.id for record in records])
        for record in records:
            own = {loose(record.q), loose(record.text)}
            for text in _whole_texts(record, passages.get(record.id, ())):
                if loose(text) not in own:
                    yield _Asked(text, record)


def _whole_texts(record: Record, passages: Sequence[Passage]) -> Iterator[str]:
    for passage, after in zip_longest(passages, passages[1:]):
        if not passage.is_default and passage.start == 0 and not (after and after.start):
            yield _untitled(record, passage.text)


def _untitled(record: Record, text: str) -> str:
    return text.removeprefix(f"{record.title}\n") if record.title else text


def _pages(store: Store, dataset_id: str) -> Iterator[list[Record]]:
    """The records that are searched."""
    for collection in store.list_collections(dataset_id):
        if not collection.forbid:
            yield from store.record_pages(collection.id, PAGE)


def _other_passages(store: Store, asked: _Asked) -> list[StoredEmbeddings]:
    """Of the record, those that do not say what is asked."""
    embeddings = store.embeddings_of([asked.record.id])
    return [
        row for text, row in embeddings.items() if loose(_untitled(asked.record, text)) != loose(asked.text)
    ]


def _search_all(
    library: Library,
    dataset_id: str,
    top_k: int,
    asked: Sequence[_Asked],
    passages: Sequence[Sequence[StoredEmbeddings]],
) -> list[JudgedSearch]:
    """Those with an answer first, then those without, in the same order: two of a text are in one half."""
    answered, unanswered = list[JudgedSearch](), list[JudgedSearch]()
    queries = library.model_of(dataset_id).queries
    for one, rows in zip(asked, passages, strict=True):
        # A record that was deleted meanwhile has none.
        if rows:
            others = _scores_of_others(library, dataset_id, top_k, one)
            score = float((np.stack(rows).astype(np.float32) @ queries.embed(one.text)[0]).max())
            place = sum(other >= score for other in others)
            scores = (*others[:place], score, *others[place:])
            answered.append(JudgedSearch(scores, tuple(rank == place for rank in range(len(scores))), 1))
            unanswered.append(JudgedSearch(tuple(others), (False,) * len(others), 0))
    return [*answered, *unanswered]


def _scores_of_others(library: Library, dataset_id: str, top_k: int, asked: _Asked) -> list[float]:
    """Of the best ``top_k`` quotes that are not the record."""
    request = SearchRequest(
        asked.text, (dataset_id,), similarity=0.0, limit=MAX_LIMIT, top_k=top_k + 1, mode="embedding"
    )
    own = content_key(asked.record)
    found = library.search(request, is_asked=False)
    quotes = [quote for quote in found.quotes if content_key(quote.record) != own]
    return [quote.score for quote in quotes[:top_k]]
