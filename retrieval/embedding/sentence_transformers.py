"""Any sentence-transformers model, from a folder or a hub id.

Computes in bf16 where the processor has it, on a GPU if there is one. Batches are of texts of like
length and at most ``MAX_BATCH_TOKENS``: on a CPU that is several times the speed of batches of a
fixed count.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from retrieval.embedding.batching import batches_by_length
from retrieval.errors import EmbedderUnavailable
from retrieval.torch_models import ModelError, load_embedding_model
from retrieval.types import Embeddings

MAX_BATCH_TOKENS = 1024

PASSAGE_PROMPTS = ("document", "passage", "corpus")
"""Names of the prompt that sentence-transformers puts before a passage, the first that the model has."""

WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


class SentenceTransformersEmbedder:
    """A sentence-transformers model, with the prompts for queries and documents that it names.

    Args:
        model: a folder, or the id of a model on the hub.

    Raises:
        EmbedderUnavailable: it cannot be loaded, or sentence-transformers is not installed.
    """

    def __init__(self, model: str) -> None:
        try:
            self._model = load_embedding_model(model)
        except ModelError as error:
            raise EmbedderUnavailable(
                f"{error}: QUOTEBASE_EMBEDDING_MODEL is a folder or the id of a model on the hub; unset it to use the "
                "bundled model"
            ) from error
        self.name = Path(model).name
        self.fingerprint = _fingerprint(model, self._model[0].auto_model.config)
        self.dim = int(self._model.get_embedding_dimension())
        self.max_tokens = int(self._model.max_seq_length or 512)
        self._prompt = next(filter(None, map(self._model.prompts.get, PASSAGE_PROMPTS)), "")
        self._running = threading.Lock()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        with self._running:
            return self._count(f"{self._prompt}{text}" for text in texts)

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return self._embed(texts, self._model.encode_query)

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        return self._embed(texts, self._model.encode_document)

    def _embed(self, texts: Sequence[str], encode: Callable[..., Embeddings]) -> Embeddings:
        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        # The tokenizer has a state (what it cuts to): one text at a time there, too.
        with self._running:
            lengths = [min(length, self.max_tokens) for length in self._count(texts)]
            for batch in batches_by_length(lengths, MAX_BATCH_TOKENS):
                embeddings[batch] = encode(
                    [texts[position] for position in batch],
                    batch_size=len(batch),
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
        # A bf16 model gives unit rows to three digits only.
        unit: Embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        return unit

    def _count(self, texts: Iterable[str]) -> list[int]:
        listed = list(texts)
        # The tokenizer does not take an empty list.
        return [len(ids) for ids in self._model.tokenizer(listed)["input_ids"]] if listed else []


def _fingerprint(model: str, config: object) -> str:
    """Of the weight files of a folder; of the revision of a model on the hub."""
    digest = hashlib.sha256()
    folder = Path(model)
    if folder.is_dir():
        for pattern in WEIGHT_FILES:
            for file in sorted(folder.rglob(pattern)):
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    else:
        digest.update(f"{model}@{getattr(config, '_commit_hash', None)}".encode())
    return digest.hexdigest()[:16]
