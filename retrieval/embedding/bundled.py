"""The default embedder: multilingual-e5-small, from installed packages alone."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.embedding import BUNDLED, Progress
from retrieval.embedding.e5_file import E5Weights
from retrieval.embedding.model_folder import (
    ENGINE_FILE,
    ModelFolder,
    discard,
    prepare_model_folder,
    verify_checksums,
)
from retrieval.types import Embeddings

if TYPE_CHECKING:
    from retrieval.embedding.openvino import OpenVinoEncoder

COMPILED = "compiled"
"""Beside the engine file: what OpenVINO caches for this processor."""


MANY = 64
"""Texts that are worth loading the model once more for, in the form that reads many at once."""


class BundledEmbedder:
    """multilingual-e5-small (384 dimensions, 512 tokens), with the prefixes it was trained with.

    Creating one writes the model folder if it is missing; the engine is loaded by the first text.

    Raises:
        EmbedderUnavailable: no weights, or the cache folder cannot be written.
    """

    name = BUNDLED

    def __init__(self, cache_dir: Path, progress: Progress | None = None) -> None:
        self._cache_dir = cache_dir
        self._progress = progress
        self._folder = prepare_model_folder(cache_dir, _save_engine, progress)
        self._loading = threading.Lock()
        self._loaded: OpenVinoEncoder | None = None

    @property
    def dim(self) -> int:
        return self._folder.dim

    @property
    def max_tokens(self) -> int:
        return self._folder.max_tokens

    @property
    def fingerprint(self) -> str:
        return self._folder.fingerprint

    @property
    def folder(self) -> Path:
        """A complete sentence-transformers folder of the same model."""
        return self._folder.path

    @property
    def precision(self) -> str:
        """What the engine computes in here: ``bf16`` or ``f32``."""
        return self._encoder.precision

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        return self._encoder.encode([f"query: {text}" for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        encoder, titled = self._encoder, [f"passage: {text}" for text in texts]
        if len(texts) < MANY:
            return encoder.encode(titled)
        if not encoder.is_ready_for_many:
            with self._loading, self._folder.lock():
                encoder.prepare_for_many()
        return encoder.encode_many(titled)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._encoder.count_tokens([f"passage: {text}" for text in texts])

    @property
    def _encoder(self) -> "OpenVinoEncoder":
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> "OpenVinoEncoder":
        from retrieval.embedding.openvino import OpenVinoEncoder

        with self._folder.lock():
            is_first_use = not (self._folder.path / COMPILED).exists()
            if is_first_use and verify_checksums(self._folder):
                discard(self._folder)
        self._folder = prepare_model_folder(self._cache_dir, _save_engine, self._progress)
        with self._folder.lock():
            return _open_encoder(OpenVinoEncoder, self._folder)


def _open_encoder(encoder: "type[OpenVinoEncoder]", folder: ModelFolder) -> "OpenVinoEncoder":
    path = folder.path
    return encoder(path / ENGINE_FILE, path / "tokenizer.json", folder.max_tokens, path / COMPILED)


def _save_engine(weights: E5Weights, path: Path) -> None:
    from retrieval.embedding.openvino import save_graph

    save_graph(weights, path)
