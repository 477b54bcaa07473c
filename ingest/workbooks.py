"""XLSX workbooks to rows, one sheet at a time and never all of it in memory."""

import re
import struct
import warnings
import zlib
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import BinaryIO
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile, LargeZipFile, ZipFile

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from ingest.archives import check_archive
from ingest.rows import OLE, ZIP, Row, Tally, is_blank
from retrieval.errors import UnreadableFile

MAX_ROWS = 1 << 20
"""The rows of a sheet that Excel can have."""

_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


@dataclass(slots=True)
class Sheet:
    """``rows`` can be gone through once; ``last`` is the last row by what the sheet says, or 0."""

    rows: Iterator[Row]
    last: int
    line: int = 0


@contextmanager
def open_sheet(source: BinaryIO, name: str, sheet: str | None, tally: Tally) -> Iterator[Sheet]:
    """The sheet of that name, or the one that the workbook opens with.

    Raises:
        UnreadableFile: it is no XLSX workbook, is damaged or protected, unpacks to too much, or has no
            such sheet; also while the rows are read.
    """
    _check(source, name)
    _keep_quiet()
    with _translated(name):
        book = load_workbook(source, read_only=True, data_only=True, keep_links=False)
    with closing(book):
        names = [item.title for item in book.worksheets]
        if not names or (sheet is not None and sheet not in names):
            listed = ", ".join(map(repr, names)) or "none"
            raise UnreadableFile(f"{name} has no sheet {sheet or ''!r}; its sheets are {listed}")
        active = book.active.title if book.active else None
        wanted = sheet if sheet is not None else active if active in names else names[0]
        chosen = next(item for item in book.worksheets if item.title == wanted)
        found = Sheet(iter(()), chosen.max_row or 0)
        chosen.reset_dimensions()  # what programs write there is not always so
        found.rows = _rows(found, chosen.iter_rows(values_only=True), name, tally)
        yield found


def _keep_quiet() -> None:
    """About what of a workbook is no text, such as colours and drop-down lists; not about dates that are lost."""
    # For good, and again each time: to turn it back would turn it back for other threads too.
    harmless = r"(?!Cell \S+ is marked as a date)"
    warnings.filterwarnings("ignore", message=harmless, category=UserWarning, module=r"openpyxl\.")


def _rows(sheet: Sheet, values: Iterator[tuple[object, ...]], name: str, tally: Tally) -> Iterator[Row]:
    with _translated(name):
        for sheet.line, row in enumerate(values, start=1):
            if sheet.line > MAX_ROWS:
                raise UnreadableFile(f"{name} has a sheet of more than {MAX_ROWS:,} rows: it is damaged")
            cells = tuple(map(_text, row))
            if not is_blank(cells):
                yield Row(sheet.line, _trimmed(cells))
            elif any(value is not None for value in row):
                tally.blank += 1


def _trimmed(cells: tuple[str, ...]) -> tuple[str, ...]:
    """Without the empty cells at the end, which are there for their format only."""
    end = len(cells)
    while not cells[end - 1]:
        end -= 1
    return cells[:end]


def _text(value: object) -> str:
    """What a person sees, but for number formats."""
    match value:
        case None:
            return ""
        case str():
            return _ESCAPED.sub(_unescaped, value) if "_x" in value else value
        case bool():
            return str(value).upper()
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
        case date() | time():
            return value.isoformat()
    return str(value)


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return found[0] if "\ud800" <= character <= "\udfff" else character


def _check(source: BinaryIO, name: str) -> None:
    start = source.read(len(OLE))
    source.seek(0)
    if start == OLE:
        raise UnreadableFile(f"{name} {_what_ole_is(source)}")
    if not start.startswith(ZIP):
        raise UnreadableFile(f"{name} is no XLSX workbook: save it as XLSX, or name a CSV file .csv")
    with _translated(name), ZipFile(source) as archive:
        _check_kind(archive.namelist(), name)
        check_archive(archive, name)
    source.seek(0)


def _what_ole_is(source: BinaryIO) -> str:
    before = b""
    while block := source.read(1 << 20):
        if _ENCRYPTED in before + block:
            return "is protected with a password: save it without one"
        before = block[-len(_ENCRYPTED) :]
    return "is an old Excel workbook (.xls): save it as XLSX or CSV"


def _check_kind(parts: Container[str], name: str) -> None:
    if "xl/workbook.xml" in parts:
        return
    if "xl/workbook.bin" in parts:
        what = "a binary Excel workbook (.xlsb): save it as XLSX or CSV"
    elif "content.xml" in parts:
        what = "an OpenDocument file (.ods): save it as XLSX or CSV"
    else:
        what = "a zip archive, no workbook: unpack it, and give the CSV, JSONL or XLSX file in it"
    raise UnreadableFile(f"{name} is {what}")


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """What openpyxl, zipfile and below raise for damaged files, as UnreadableFile."""
    try:
        yield
    except (
        BadZipFile,
        LargeZipFile,
        InvalidFileException,
        ParseError,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
        EOFError,
        OSError,
        RuntimeError,
        struct.error,
        zlib.error,
    ) as error:
        raise UnreadableFile(f"{name} is a damaged workbook ({error}): save it again, or as CSV") from error
