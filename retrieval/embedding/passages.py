"""Embeddings of passages: each text is read once, also where it comes again a little later."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from retrieval.embedding import Embedder
from retrieval.errors import EmbedderUnavailable
from retrieval.types import StoredEmbeddings

REMEMBERED = 8192
"""Texts whose embeddings are kept, 2 × dim bytes each and the text; the oldest go first."""


class PassageEmbeddings:
    """The passages of one model. Safe to use from several threads."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: OrderedDict[str, StoredEmbeddings] = OrderedDict()
        self._lock = threading.Lock()

    def embed(
        self, texts: Sequence[str], known: Mapping[str, StoredEmbeddings]
    ) -> tuple[dict[str, StoredEmbeddings], int]:
        """(dim,) for each text, and how many texts the model had to read.

        Args:
            known: embeddings that are there already.

        Raises:
            EmbedderUnavailable: also if the model gives what is not finite.
        """
        wanted = dict.fromkeys(texts)
        with self._lock:
            found = {text: row for text in wanted if (row := self._known.get(text)) is not None}
        found |= {text: known[text] for text in wanted if text in known}
        unread = [text for text in wanted if text not in found]
        if unread:
            fresh = dict(zip(unread, self._read(unread), strict=True))
            self._remember(fresh)
            found |= fresh
        return found, len(unread)

    def _read(self, texts: Sequence[str]) -> StoredEmbeddings:
        embeddings = self._embedder.embed_passages(texts).astype(np.float16)
        if not np.isfinite(embeddings).all():
            raise EmbedderUnavailable(
                f"the embedding model {self._embedder.name} gave embeddings that are not finite: nothing was added"
            )
        return embeddings

    def _remember(self, rows: Mapping[str, StoredEmbeddings]) -> None:
        with self._lock:
            # A row by itself, so that one of a batch does not keep the batch.
            self._known.update((text, row.copy()) for text, row in rows.items())
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
