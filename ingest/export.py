"""A dataset as a table that can be imported again: q, a and a cell for each custom index."""

import csv
import io
from collections.abc import Iterator, Sequence

from ingest.mapping import split_cell
from retrieval.passages import custom_texts as custom_texts
from retrieval.store import Store
from retrieval.types import Passage, Record

HEADER = ("q", "a", "indexes")

PAGE = 500
"""Records that are read at a time."""


def export_rows(store: Store, dataset_id: str) -> Iterator[tuple[str, ...]]:
    """The header, then a row for each record, collection by collection, oldest first.

    Adds and deletes may go on meanwhile: a record that stays has one row.

    Raises:
        DatasetNotFound
    """
    yield HEADER
    for collection in store.list_collections(dataset_id):
        for records in store.record_pages(collection.id, PAGE):
            passages = store.passages_of([record.id for record in records])
            for record in records:
                # One without passages was deleted since the page was read.
                if record.id in passages:
                    yield (record.q, record.a, *_index_cells(record, passages[record.id]))


def export_csv(store: Store, dataset_id: str) -> Iterator[bytes]:
    """The same as UTF-8 with a byte order mark, which spreadsheet programs know it by."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    buffer.write("\ufeff")
    for number, row in enumerate(export_rows(store, dataset_id)):
        writer.writerow(row)
        if number % PAGE == 0:
            yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _index_cells(record: Record, passages: Sequence[Passage]) -> tuple[str, ...]:
    """The custom texts; a text that would be split if it stood alone has an empty cell beside it."""
    texts = tuple(custom_texts(record, passages))
    return (*texts, "") if len(texts) == 1 and split_cell(texts[0]) != texts else texts
