"""Rows to records: which column is what, and what is wrong with a row."""

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.tables import Row
from retrieval.errors import MissingColumn
from retrieval.types import RecordDraft

FORMS = "q,a  or  q,a,indexes  or  index,content"


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row was not imported."""

    line: int
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Positions of the columns. Cells from ``indexes`` on are custom index texts, if the header says so."""

    q: int
    a: int
    indexes: int
    has_indexes: bool


def find_columns(header: Sequence[str]) -> Columns:
    """The roles that a header gives: ``q,a[,indexes[,…]]`` or ``index,content``, in any case.

    With an ``indexes`` column, all cells from there to the right are index texts.

    Raises:
        MissingColumn: the header is of neither form; the message lists what it has.
    """
    names = [name.strip().lower() for name in header]
    while names and not names[-1]:
        names.pop()
    if names == ["index", "content"] or (
        names[:2] == ["q", "a"] and set(names[2:]) <= {"indexes", "index", ""}
    ):
        return Columns(0, 1, 2, has_indexes=len(header) > 2)
    found = ", ".join(repr(name) for name in header)
    raise MissingColumn(
        f"the header has the columns {found}; expected is {FORMS}: rename, move or remove columns"
    )


def count_texts(row: Row, columns: Columns) -> int:
    """Texts of a row, whether it becomes a record or not: q and a are one, each index cell is another."""
    return 1 + sum(1 for cell in row.cells[columns.indexes :] if cell.strip())


def to_draft(row: Row, columns: Columns, chunk_index: int) -> RecordDraft | RowProblem:
    """The record of a row; q and a are taken to the letter."""
    cells = row.cells
    q = cells[columns.q]
    if not q.strip():
        return RowProblem(row.line, "q", "q is empty")
    a = cells[columns.a] if len(cells) > columns.a else ""
    indexes = tuple(cell.strip() for cell in cells[columns.indexes :] if cell.strip())
    if indexes and not columns.has_indexes:
        reason = (
            f"the row has {len(cells)} cells, the header {columns.indexes}: put cells with commas in quotes"
        )
        return RowProblem(row.line, f"cell {columns.indexes + 1}", reason)
    return RecordDraft(q, a, indexes, chunk_index)
