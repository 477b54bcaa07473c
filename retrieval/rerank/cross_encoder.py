"""Relevance by a sentence-transformers cross-encoder, from a folder or a hub id.

It has to give a pair of texts one value, the logit of their relevance; what the model was saved to
make of it, a sigmoid or nothing, is left out. Pairs are cut to what the model reads at most, the
longer of the two first.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retrieval.embedding.batching import batches_by_length
from retrieval.errors import RerankFailed
from retrieval.rerank import to_relevance
from retrieval.torch_models import ModelError, load_cross_encoder

if TYPE_CHECKING:
    from retrieval.torch_models import CrossEncoder

MAX_BATCH_TOKENS = 1024

FAILURE_KEPT_S = 60.0
"""After a failure to load, before it is tried again: without a network the hub is given up after 45 s."""


class CrossEncoderReranker:
    """A cross-encoder that is loaded by the first query.

    Args:
        model: a folder, or the id of a model on the hub.
    """

    def __init__(self, model: str) -> None:
        self.name = Path(model).name
        self._source = model
        self._model: CrossEncoder | None = None
        self._failure = ""
        self._failed_at_s = 0.0
        self._running = threading.Lock()

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        # The tokenizer has a state (what it cuts to), and one batch has all processors.
        with self._running:
            model = self._loaded()
            try:
                logits = _logits(model, query, texts)
            except (RuntimeError, IndexError, ValueError) as error:
                raise self._failed(
                    f"the model {self._source!r} failed ({' '.join(str(error).split())})"
                ) from error
        if not np.isfinite(logits).all():
            raise self._failed(f"the model {self._source!r} gave a score that is no number")
        return [to_relevance(logit) for logit in logits.tolist()]

    def _loaded(self) -> "CrossEncoder":
        if self._model is None:
            if self._failure and time.monotonic() < self._failed_at_s + FAILURE_KEPT_S:
                raise self._failed(self._failure)
            try:
                self._model = load_cross_encoder(self._source)
            except ModelError as error:
                self._failure, self._failed_at_s = str(error), time.monotonic()
                raise self._failed(self._failure) from error
        return self._model

    def _failed(self, what: str) -> RerankFailed:
        return RerankFailed(
            f"{what}: set QUOTEBASE_RERANK_MODEL to the folder or the hub id of a cross-encoder that gives one score"
        )


def _logits(model: "CrossEncoder", query: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    tokens = model.tokenizer([query] * len(texts), list(texts), truncation=True)["input_ids"]
    logits = np.empty(len(texts), dtype=np.float32)
    for batch in batches_by_length([len(ids) for ids in tokens], MAX_BATCH_TOKENS):
        logits[batch] = model.predict(
            [(query, texts[position]) for position in batch],
            batch_size=len(batch),
            activation_fn=lambda scores: scores,
            show_progress_bar=False,
        )
    return logits
