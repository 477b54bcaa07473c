"""Embeddings of questions: those asked at the same time are computed together, those asked again are known.

A question that comes alone is embedded at once. While it is, others gather; when it is done they are
embedded as one batch, which takes less than one by one would (``python -m benchmarks speed vectors``
asks both ways, with 16 clients over HTTP).
"""

import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

from retrieval.embedding import Embedder
from retrieval.errors import QuotebaseError
from retrieval.types import Embeddings

REMEMBERED = 4096
"""Questions whose embeddings are kept, 4 × dim bytes each; the least recently asked go first."""

MOST_TOGETHER = 32
"""Questions in one batch."""


@dataclass(slots=True, eq=False)
class _Asked:
    text: str
    embedding: Embeddings | None = None
    error: QuotebaseError | None = None


class QueryEmbeddings:
    """The questions of one model. Safe to use from several threads, which is what it is for."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: OrderedDict[str, Embeddings] = OrderedDict()
        self._state = threading.Lock()
        self._waiting: list[_Asked] = []
        self._turn = threading.Lock()

    def embed(self, text: str) -> Embeddings:
        """(1, dim) float32 of unit length. Raises EmbedderUnavailable."""
        with self._state:
            known = self._known.get(text)
            if known is not None:
                self._known.move_to_end(text)
                return known
            asked = _Asked(text)
            self._waiting.append(asked)
        with self._turn:
            # Whoever had the turn before may have seen to this question too.
            try:
                while asked.embedding is None:
                    if asked.error is not None:
                        raise asked.error
                    self._embed_waiting()
            finally:
                with self._state, suppress(ValueError):
                    self._waiting.remove(asked)
        return asked.embedding

    def _embed_waiting(self) -> None:
        with self._state:
            batch, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
        try:
            self._answer_or_refuse(batch)
        finally:
            undecided = [asked for asked in batch if asked.embedding is None and asked.error is None]
            with self._state:
                self._waiting = undecided + self._waiting

    def _answer_or_refuse(self, batch: list[_Asked]) -> None:
        try:
            self._answer(batch)
        except QuotebaseError as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            # One text that the model refuses must not take the others with it; after two, it is the model.
            for place, asked in enumerate(batch):
                self._answer_or_refuse([asked])
                if place and asked.error and batch[place - 1].error:
                    for further in batch[place + 1 :]:
                        further.error = asked.error
                    return

    def _answer(self, batch: list[_Asked]) -> None:
        texts = list(dict.fromkeys(asked.text for asked in batch))
        embeddings = self._embedder.embed_queries(texts)
        rows = {text: embeddings[row : row + 1].copy() for row, text in enumerate(texts)}
        with self._state:
            for text, row in rows.items():
                self._known[text] = row
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        for asked in batch:
            asked.embedding = rows[asked.text]
