"""What an import works on: an open file, and ready-made embeddings beside it, checked before the first row."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest.jobs import ImportSettings
from ingest.pairs import MakePairs
from ingest.sources import Source, open_source
from ingest.vectors import VectorFile
from retrieval.errors import MissingColumn


@dataclass(frozen=True, slots=True)
class Input:
    """``vectors`` is ``None`` where the model is to read the texts."""

    source: Source
    vectors: VectorFile | None


@contextmanager
def open_input(
    path: Path,
    settings: ImportSettings,
    vectors: Path | None = None,
    dim: int | None = None,
    make_pairs: MakePairs | None = None,
) -> Iterator[Input]:
    """Open the files of an import. Embeddings are checked against all rows, which are read for it.

    Args:
        vectors: the file of embeddings, if there is one.
        dim: how wide they have to be; ``None`` if that is not known yet.
        make_pairs: makes q/a pairs of the chunks of a document, if the settings want them.

    Raises:
        UnreadableFile, InvalidRequest, MissingColumn: see :func:`ingest.sources.open_source`; or an
            upsert has no column of keys.
        UnreadableFile, InvalidRequest, ModelMismatch: see :class:`ingest.vectors.VectorFile`.
    """
    ready = _open_vectors(path, settings, vectors, dim) if vectors else None
    with open_source(path, settings.file, settings.reading, make_pairs) as source:
        if settings.mode == "upsert" and not source.format.has_key:
            header = ", ".join(map(repr, source.format.header)) or "none"
            raise MissingColumn(f"upsert needs a column of keys: name it by --key (the header has {header})")
        yield Input(source, ready)


def check_file(path: Path, settings: ImportSettings, vectors: Path | None = None) -> None:
    """Raises what an import would raise before the first row, but for vectors of another width."""
    with open_input(path, settings, vectors) as opened:
        next(opened.source.items, None)


def _open_vectors(path: Path, settings: ImportSettings, vectors: Path, dim: int | None) -> VectorFile:
    with open_source(path, settings.file, settings.reading) as source:
        texts = sum(item.texts for item in source.items)
    return VectorFile(vectors, settings.vectors, texts, dim)
