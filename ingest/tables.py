"""Any table file as a header and a lazy sequence of rows: delimited text, XLSX or JSONL."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal

from ingest.delimited import DelimitedReader
from ingest.dialects import detect_dialect
from ingest.encodings import JSONL, check_codec, detect_encoding
from ingest.jsonl import JsonlReader
from ingest.lines import MAX_CELL, read_lines
from ingest.rows import OLE, ZIP, BrokenRow, Row, TableOptions, Tally
from retrieval.errors import UnreadableFile

__all__ = ["BrokenRow", "Row", "Table", "TableOptions", "open_table"]

JSONL_SUFFIXES = (".jsonl", ".ndjson")
WORKBOOK_SUFFIXES = (".xlsx", ".xlsm")

DIALECT_CHARACTERS = 1 << 16
"""How much of a text its delimiter is told by, in whole lines."""


class Table:
    """An open table.

    Attributes:
        kind: what the file is.
        encoding: the Python codec used; empty for a workbook.
        delimiter: empty but for delimited text.
        header: empty if the options say that there is none.
        rows: what follows the header; can be gone through once.
    """

    def __init__(
        self,
        kind: Literal["csv", "xlsx", "jsonl"],
        rows: Iterator[Row | BrokenRow],
        tally: Tally,
        share: Callable[[], float],
        *,
        header: tuple[str, ...] = (),
        encoding: str = "",
        delimiter: str = "",
    ) -> None:
        self.kind = kind
        self.encoding = encoding
        self.delimiter = delimiter
        self.header = header
        self.rows = rows
        self._tally = tally
        self._share = share

    @property
    def blank(self) -> int:
        """Rows so far that have cells, all of them blank: they are left out of ``rows``."""
        return self._tally.blank

    @property
    def replaced(self) -> int:
        """U+FFFD put in so far for what could not be decoded."""
        return self._tally.replaced

    @property
    def share_read(self) -> float:
        """0 to 1, by bytes; in a workbook by rows, as far as it says how many it has."""
        return self._share()


_DETECTED = TableOptions()


@contextmanager
def open_table(path: Path, name: str, options: TableOptions = _DETECTED) -> Iterator[Table]:
    """Open a table of any size; what is not given is detected.

    Args:
        name: what to call the file in messages; its suffix says what it is: .xlsx, .jsonl or
            .ndjson, and delimited text otherwise. Workbooks are known by their first bytes, too.

    Raises:
        UnreadableFile: there is no such file, it is no table, empty, or damaged; while the rows are
            read, that bytes cannot be decoded or a quote is never closed. The message names the line.
        InvalidRequest: an option cannot be.
    """
    suffix = Path(name).suffix.lower()
    with _translated(name):
        source = path.open("rb")
        start = source.read(len(OLE))
        source.seek(0)
    with source:
        if suffix in WORKBOOK_SUFFIXES or start.startswith((ZIP, OLE)):
            with _open_workbook(source, name, options) as table:
                yield table
        elif suffix in JSONL_SUFFIXES:
            yield _open_jsonl(source, name, options)
        else:
            yield _open_delimited(source, name, options)


@contextmanager
def _open_workbook(source: BinaryIO, name: str, options: TableOptions) -> Iterator[Table]:
    from ingest.workbooks import open_sheet

    tally = Tally()
    with open_sheet(source, name, options.sheet, tally) as sheet:
        header, rows = _split(sheet.rows, name, options)

        def share() -> float:
            return min(1.0, sheet.line / sheet.last) if sheet.last else 0.0

        yield Table("xlsx", rows, tally, share, header=header)


def _open_jsonl(source: BinaryIO, name: str, options: TableOptions) -> Table:
    tally = Tally()
    lines = read_lines(source, name, "utf-8", tally, options.errors == "replace", JSONL)
    reader = JsonlReader(lines, name, tally)
    return Table("jsonl", iter(reader), tally, _by_bytes(source), header=reader.header, encoding="utf-8")


def _open_delimited(source: BinaryIO, name: str, options: TableOptions) -> Table:
    csv.field_size_limit(MAX_CELL)
    tally, replace = Tally(), options.errors == "replace"
    given = options.encoding
    with _translated(name):
        encoding = check_codec(given) if given else detect_encoding(source, name, replace)
    lines = read_lines(source, name, encoding, tally, replace)
    sample, is_all = _take(lines, DIALECT_CHARACTERS)
    dialect = detect_dialect(sample, options.delimiter, is_all)
    reader = DelimitedReader(chain(sample, lines), name, dialect, tally)
    header, rows = _split(iter(reader), name, options)
    return Table(
        "csv",
        rows,
        tally,
        _by_bytes(source),
        header=header,
        encoding=encoding,
        delimiter=dialect.delimiter,
    )


def _take(lines: Iterator[str], characters: int) -> tuple[list[str], bool]:
    """Lines of so many characters, and whether these are all."""
    taken: list[str] = []
    for line in lines:
        taken.append(line)
        characters -= len(line)
        if characters <= 0:
            return taken, False
    return taken, True


def _split(
    rows: Iterator[Row | BrokenRow] | Iterator[Row], name: str, options: TableOptions
) -> tuple[tuple[str, ...], Iterator[Row | BrokenRow]]:
    """The header, and the rows after it."""
    first = next(rows, None)
    if first is None:
        raise UnreadableFile(f"{name} is empty: a header and rows are expected")
    if not options.has_header:
        return (), chain([first], rows)
    if isinstance(first, BrokenRow):
        raise UnreadableFile(f"{name}, line {first.line}: the header cannot be read, {first.reason}")
    return first.cells, iter(rows)


def _by_bytes(source: BinaryIO) -> Callable[[], float]:
    size = Path(source.name).stat().st_size
    return lambda: min(1.0, source.tell() / size) if size else 1.0


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be read: {error.strerror or error}") from error
