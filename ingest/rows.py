"""What every kind of table gives: rows, rows that could not be read, and counts along the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""What workbooks begin with: those of today, and old or encrypted ones."""

TEXT_LIMIT = 4096
"""Characters of a broken row that are shown."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How to read a table, where that shall not be found out.

    Args:
        encoding: a Python codec; ``None`` to detect it. JSONL is always UTF-8.
        delimiter: one character, or ``tab`` or ``\\t``; ``None`` to detect it.
        errors: ``replace`` puts U+FFFD where bytes cannot be decoded, ``strict`` refuses the file.
        has_header: whether the first row that is not blank names the columns.
        sheet: the sheet of a workbook, by name; ``None`` for the one that it opens with.
    """

    encoding: str | None = None
    delimiter: str | None = None
    errors: Literal["strict", "replace"] = "strict"
    has_header: bool = True
    sheet: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Cells to the letter, and the line of the file (in a workbook: the row) they begin on, from 1."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """One that could not be read. ``text`` is raw, its first TEXT_LIMIT characters."""

    line: int
    reason: str
    text: str


@dataclass(slots=True)
class Tally:
    """What was left out or put in so far; see :class:`ingest.tables.Table`."""

    blank: int = 0
    replaced: int = 0


def is_blank(cells: Sequence[str]) -> bool:
    """Whether all cells are empty or white space."""
    return not any(cell and not cell.isspace() for cell in cells)
