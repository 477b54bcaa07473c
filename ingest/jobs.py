"""An import as one piece of work: a file becomes the records of a collection, batch by batch.

Each batch is durable before the next begins, and rows that the collection has already cost
nothing: an import that was cut off goes on when the same one is started again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.mapping import RowProblem, find_columns, to_draft
from ingest.tables import Row, Table, open_table
from retrieval.errors import QuotebaseError
from retrieval.library import Library
from retrieval.types import Collection, Dataset, RecordDraft

BATCH_RECORDS = 512
"""Records of one commit: some seconds of embedding, which is what a kill can cost."""


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


ReportProgress = Callable[[ImportReport, float], None]
"""Called after each batch with the report so far and the share of the file that is done."""


def check_file(path: Path) -> None:
    """Raises UnreadableFile or MissingColumn if the file could not be imported from the start."""
    with open_table(path, str(path)) as table:
        find_columns(table.header)


def import_file(
    library: Library,
    dataset: Dataset,
    path: Path,
    file_name: str | None = None,
    collection_name: str | None = None,
    on_progress: ReportProgress | None = None,
) -> ImportReport:
    """Import a CSV file into a collection, which is made if missing.

    Args:
        file_name: what to call the file, if not by its path.
        collection_name: the file's name if not given.

    Raises:
        UnreadableFile, MissingColumn: nothing was imported, or the batches before the broken line.
        ModelMismatch, EmbedderUnavailable, StoreUnavailable: what was committed before stays; the
            message says how to go on.
    """
    started = time.perf_counter()
    library.bound_dataset(dataset.id)
    shown = file_name or str(path)
    with open_table(path, shown) as table:
        columns = find_columns(table.header)
        name = collection_name or Path(shown).name
        collection = library.ensure_collection(dataset.id, name)
        report = ImportReport(shown, dataset.name, name, collection.id, table.encoding)
        try:
            for batch in _batches(table, lambda row, place: to_draft(row, columns, place)):
                report = _import_batch(library, collection, batch, report)
                report = replace(report, seconds=time.perf_counter() - started)
                if on_progress:
                    on_progress(report, table.share_read)
        except QuotebaseError as error:
            done = f"{report.read} rows of {shown} are done and safe; start the same import again to go on"
            error.args = (f"{error}. {done}",)
            raise
    return report


def _batches(
    table: Table, convert: Callable[[Row, int], RecordDraft | RowProblem]
) -> Iterator[list[RecordDraft | RowProblem]]:
    batch: list[RecordDraft | RowProblem] = []
    for place, row in enumerate(table.rows):
        batch.append(convert(row, place))
        if len(batch) == BATCH_RECORDS:
            yield batch
            batch = []
    if batch:
        yield batch


def _import_batch(
    library: Library, collection: Collection, batch: list[RecordDraft | RowProblem], report: ImportReport
) -> ImportReport:
    problems = tuple(item for item in batch if isinstance(item, RowProblem))
    result = library.add_records(collection, [item for item in batch if isinstance(item, RecordDraft)])
    return replace(
        report,
        read=report.read + len(batch),
        added=report.added + len(result.added),
        unchanged=report.unchanged + result.unchanged,
        rejected=report.rejected + len(problems),
        embedded=report.embedded + result.embedded,
        problems=report.problems + problems,
    )
