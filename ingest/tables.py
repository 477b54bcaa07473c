"""Bytes to rows: a CSV or JSONL file as a header and a lazy sequence of rows that know their line."""

import codecs
import csv
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from retrieval.errors import UnreadableFile

SAMPLE_BYTES = 1 << 20

JSONL_SUFFIXES = (".jsonl", ".ndjson")

JSONL_HEADER = ("q", "a", "indexes")

ENOUGH_LETTERS = 8
"""So many characters beyond ASCII that are good UTF-8 are no accident: the file is UTF-8, with damage."""


@dataclass(frozen=True, slots=True)
class Row:
    """Cells as they stand, and the line of the file that the row begins on, from 1."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """An open table. ``rows`` can be gone through once; blank rows are left out."""

    encoding: str
    header: tuple[str, ...]
    rows: Iterator[Row]
    source: BinaryIO
    size: int

    @property
    def share_read(self) -> float:
        """0 to 1, by bytes."""
        return min(1.0, self.source.tell() / self.size) if self.size else 1.0


@dataclass(frozen=True, slots=True)
class _Undecodable:
    """The line and the byte where decoding fails, and the characters beyond ASCII that came before."""

    line: int
    byte: int
    letters_before: int


@contextmanager
def open_table(path: Path, name: str) -> Iterator[Table]:
    """Open a comma-separated file with a header, in UTF-8 (with or without BOM) or GB18030.

    A file named .jsonl has an object ``{"q": …, "a": …, "indexes": […]}`` on each line instead; of
    these only q has to be there.

    Args:
        name: what to call the file in messages; its suffix says what it is.

    Raises:
        UnreadableFile: there is no such file, it is no text, it is in another encoding, it is
            empty, or (while the rows are read) its quoting or JSON is broken; the message names the
            line.
    """
    with _translated(name):
        size = path.stat().st_size
        source = path.open("rb")
    with source:
        with _translated(name):
            encoding = _detect_encoding(source, name)
        text = io.TextIOWrapper(source, "utf-8-sig" if encoding == "utf-8" else encoding, newline="")
        if Path(name).suffix.lower() in JSONL_SUFFIXES:
            yield Table(encoding, JSONL_HEADER, _read_objects(text, name), source, size)
            return
        rows = _read_rows(text, name)
        header = next(rows, None)
        if header is None:
            raise UnreadableFile(f"{name} is empty: a header line q,a is expected")
        yield Table(encoding, header.cells, rows, source, size)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be read: {error.strerror or error}") from error


def _detect_encoding(source: BinaryIO, name: str) -> str:
    """``utf-8`` or ``gb18030``, whichever the whole file decodes in; leaves ``source`` at its beginning."""
    sample = source.read(SAMPLE_BYTES)
    source.seek(0)
    if sample.startswith(b"PK\x03\x04"):
        raise UnreadableFile(f"{name} is a spreadsheet or zip archive, not a CSV file: save it as CSV first")
    if b"\x00" in sample:
        raise UnreadableFile(f"{name} is not a CSV file: it has NUL bytes, as binary files and UTF-16 do")
    problem = _first_undecodable(source, "utf-8")
    if problem is None:
        return "utf-8"
    # UTF-8 refuses what it is not; GB18030 takes almost anything, and so comes second.
    is_damaged = sample.startswith(codecs.BOM_UTF8) or problem.letters_before >= ENOUGH_LETTERS
    if not is_damaged and _first_undecodable(source, "gb18030") is None:
        return "gb18030"
    what = "is UTF-8, but" if is_damaged else "is neither UTF-8 nor GB18030:"
    raise UnreadableFile(
        f"{name} {what} line {problem.line} has the byte 0x{problem.byte:02x} where UTF-8 has no such byte; "
        "save it as UTF-8"
    )


def _first_undecodable(source: BinaryIO, encoding: str) -> _Undecodable | None:
    """Where decoding fails, or ``None``; leaves ``source`` at its beginning."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line, letters, is_last = 1, 0, False
    try:
        while not is_last:
            block = source.read(SAMPLE_BYTES)
            is_last = not block
            try:
                text = decoder.decode(block, is_last)
            except UnicodeDecodeError as error:
                good = error.object[: error.start].decode(encoding)
                line += good.count("\n")
                return _Undecodable(line, error.object[error.start], letters + _count_letters(good))
            line += text.count("\n")
            letters += _count_letters(text)
        return None
    finally:
        source.seek(0)


def _count_letters(text: str) -> int:
    """Characters beyond ASCII."""
    return len(text) - len(text.encode("ascii", "ignore"))


def _read_rows(text: io.TextIOWrapper, name: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(text, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            with _translated(name):
                cells = next(reader, None)
        except csv.Error as error:
            raise UnreadableFile(
                f"{name}, line {line}: the quoting is broken ({error}): a quoted cell ends with a quote, and quotes "
                "inside it are doubled"
            ) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield Row(line, tuple(cells))


def _read_objects(text: io.TextIOWrapper, name: str) -> Iterator[Row]:
    for line, content in enumerate(text, start=1):
        if content.strip():
            try:
                yield Row(line, _cells(json.loads(content)))
            except (ValueError, RecursionError) as error:
                reason = (
                    f"broken JSON ({error.msg})" if isinstance(error, json.JSONDecodeError) else str(error)
                )
                raise UnreadableFile(
                    f"{name}, line {line}: {reason}; expected is an object with the texts q and a and a list of "
                    "texts, indexes"
                ) from error


def _cells(item: object) -> tuple[str, ...]:
    """Raises ValueError if something is of another name or type than it should be, or no Unicode text."""
    if not isinstance(item, dict):
        raise ValueError("this is no JSON object")
    unknown = item.keys() - set(JSONL_HEADER)
    if unknown:
        raise ValueError(f"the object has the keys {', '.join(map(repr, item))}")
    q, a, indexes = (item.get(name) for name in JSONL_HEADER)
    cells = ("" if q is None else q, "" if a is None else a, *([] if indexes is None else indexes))
    if not isinstance(indexes, list | None) or not all(isinstance(cell, str) for cell in cells):
        raise ValueError("q, a or indexes is not of its type")
    if any("\ud800" <= character <= "\udfff" for cell in cells for character in cell):
        raise ValueError("a text has half a surrogate pair in it, which is no Unicode text")
    return cells
