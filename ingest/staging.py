"""Embeddings of an import that is to replace a collection: durable, so that no text is read twice."""

import base64

import numpy as np

from retrieval.additions import Prepared
from retrieval.batched import batched
from retrieval.store import Store
from retrieval.types import ModelBinding, StoredEmbeddings

STAGED = "staged"
"""The kind of the documents that keep them, grouped by job."""

STAGED_TEXTS = 1024
"""Most texts in one of them: a document of MongoDB has 16 MB."""


class Staged:
    """What a model has embedded for a job so far, in this attempt or in those before. ``rows`` is by text."""

    def __init__(self, store: Store, job_id: str, model: ModelBinding | None = None) -> None:
        self._store = store
        self._job_id = job_id
        self._model = model.fingerprint if model else ""
        self.rows: dict[str, StoredEmbeddings] = {}
        documents = store.list_documents(STAGED, job_id)
        self._count = len(documents)
        for document in documents:
            texts = document.body["texts"]
            rows = np.frombuffer(base64.b64decode(str(document.body["rows"])), dtype=np.float16)
            is_of_model = document.body.get("model") == self._model
            if is_of_model and isinstance(texts, list) and texts:
                self.rows.update(zip(texts, rows.reshape(len(texts), -1), strict=True))

    def keep(self, prepared: Prepared) -> None:
        rows = {
            passage.text: row
            for item in prepared.embedded
            for passage, row in zip(item.passages, item.embeddings, strict=True)
            if passage.text not in self.rows
        }
        for texts in batched(rows, STAGED_TEXTS):
            encoded = base64.b64encode(np.stack([rows[text] for text in texts]).tobytes()).decode()
            body = {"texts": list(texts), "rows": encoded, "model": self._model}
            self._store.put_document(STAGED, self._id(self._count), body, self._job_id)
            self._count += 1

    def clear(self) -> None:
        """Keep nothing any more; it is of no use after that."""
        # The newest first: what a kill in the middle leaves has no gap, and is numbered on from.
        for place in reversed(range(self._count)):
            self._store.delete_document(STAGED, self._id(place))

    def _id(self, place: int) -> str:
        return f"{self._job_id}/{place}"
