"""An import as one piece of work: a file becomes the records of a collection, batch by batch.

Each batch is durable before the next begins, and rows that the collection has already cost
nothing: an import that was cut off goes on when the same one is started again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ingest.mapping import Columns, RowProblem, count_texts, find_columns, to_draft
from ingest.tables import Table, open_table
from ingest.vectors import VectorFile, of_passages
from retrieval.batched import batched
from retrieval.errors import QuotebaseError
from retrieval.library import Library
from retrieval.types import Collection, Dataset, Embeddings, RecordDraft

BATCH_RECORDS = 512
"""Records of one commit: some seconds of embedding, which is what a kill can cost."""

BATCH_VECTORS = 4096
"""The same where nothing has to be embedded."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file: read = added + updated + unchanged + rejected.

    ``read`` counts the rows that are not blank, without the header; ``embedded`` the texts that
    the embedding model read.
    """

    file: str
    dataset: str
    collection: str
    collection_id: str
    encoding: str
    read: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    embedded: int = 0
    seconds: float = 0.0
    problems: tuple[RowProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Item:
    """What a row became, and how many texts it has."""

    outcome: RecordDraft | RowProblem
    texts: int


ReportProgress = Callable[[ImportReport, float], None]
"""Called after each batch with the report so far and the share of the file that is done."""


def check_file(path: Path, vectors: Path | None = None) -> None:
    """Raises what import_file would raise before the first row, but for vectors of another width."""
    with open_table(path, str(path)) as table:
        find_columns(table.header)
        next(table.rows, None)
    if vectors:
        _open_vectors(vectors, vectors.name, path, str(path), None)


def import_file(
    library: Library,
    dataset: Dataset,
    path: Path,
    file_name: str | None = None,
    collection_name: str | None = None,
    vectors: Path | None = None,
    vectors_name: str | None = None,
    on_progress: ReportProgress | None = None,
) -> ImportReport:
    """Import a CSV or JSONL file into a collection, which is made if missing.

    Args:
        file_name: what to call the file, if not by its path.
        collection_name: the file's name if not given.
        vectors: a .npy file of ready-made embeddings, one for each text of each row (see
            :mod:`ingest.vectors`); the model then reads nothing.
        vectors_name: what to call that file, if not by its path.

    Raises:
        UnreadableFile, MissingColumn: nothing was imported, or the batches before the broken line.
        InvalidRequest: the vectors do not fit the table; nothing was imported.
        ModelMismatch, EmbedderUnavailable, StoreUnavailable: what was committed before stays; the
            message says how to go on.
    """
    started = time.perf_counter()
    library.bound_dataset(dataset.id)
    shown = file_name or str(path)
    ready = None
    if vectors:
        ready = _open_vectors(vectors, vectors_name or vectors.name, path, shown, dataset.model.dim)
    with open_table(path, shown) as table:
        columns = find_columns(table.header)
        name = collection_name or Path(shown).name
        collection = library.ensure_collection(dataset.id, name)
        report = ImportReport(shown, dataset.name, name, collection.id, table.encoding)
        try:
            for batch in _batches(table, columns, BATCH_RECORDS if ready is None else BATCH_VECTORS):
                report = _import_batch(library, collection, batch, ready, report)
                report = replace(report, seconds=time.perf_counter() - started)
                if on_progress:
                    on_progress(report, table.share_read)
        except QuotebaseError as error:
            done = f"{report.read} rows of {shown} are done and safe; start the same import again to go on"
            error.args = (f"{error}. {done}",)
            raise
    return report


def _open_vectors(vectors: Path, name: str, table: Path, shown: str, dim: int | None) -> VectorFile:
    """Checked against all rows of the table before any is imported."""
    with open_table(table, shown) as rows:
        columns = find_columns(rows.header)
        texts = sum(count_texts(row, columns) for row in rows.rows)
    return VectorFile(vectors, name, texts, dim)


def _batches(table: Table, columns: Columns, size: int) -> Iterator[tuple[_Item, ...]]:
    items = (
        _Item(to_draft(row, columns, place), count_texts(row, columns))
        for place, row in enumerate(table.rows)
    )
    return batched(items, size)


def _import_batch(
    library: Library,
    collection: Collection,
    batch: Sequence[_Item],
    vectors: VectorFile | None,
    report: ImportReport,
) -> ImportReport:
    drafts: list[RecordDraft] = []
    embeddings: list[Embeddings] = []
    for item in batch:
        taken = vectors.take(item.texts) if vectors else None
        if isinstance(item.outcome, RecordDraft):
            drafts.append(item.outcome)
            if taken is not None:
                embeddings.append(of_passages(item.outcome, taken))
    problems = tuple(item.outcome for item in batch if isinstance(item.outcome, RowProblem))
    result = library.add_records(collection, drafts, np.concatenate(embeddings) if embeddings else None)
    return replace(
        report,
        read=report.read + len(batch),
        added=report.added + len(result.added),
        unchanged=report.unchanged + result.unchanged,
        rejected=report.rejected + len(problems),
        embedded=report.embedded + result.embedded,
        problems=report.problems + problems,
    )
