"""Bytes to rows: a CSV file as a header and a lazy sequence of rows that know their line."""

import codecs
import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from retrieval.errors import UnreadableFile

SAMPLE_BYTES = 1 << 20

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

    Args:
        name: what to call the file in messages.

    Raises:
        UnreadableFile: there is no such file, it is no text, it is in another encoding, it is
            empty, or (while the rows are read) its quoting is broken; the message names the line.
    """
    with _translated(name):
        size = path.stat().st_size
        source = path.open("rb")
    with source:
        with _translated(name):
            encoding = _detect_encoding(source, name)
        text = io.TextIOWrapper(source, "utf-8-sig" if encoding == "utf-8" else encoding, newline="")
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
