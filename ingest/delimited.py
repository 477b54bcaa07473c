"""Delimited text to rows: records are read strictly, and what is broken is told, never swallowed."""

import csv
import re
from collections.abc import Iterator

from ingest.dialects import Dialect
from ingest.lines import MAX_CELL
from ingest.rows import TEXT_LIMIT, BrokenRow, Row, Tally, is_blank
from retrieval.errors import UnreadableFile

_MEND = "a quoted cell ends with a quote, and quotes inside it are doubled"

_NEXT = "\n"
"""A line that a record which is whole does not run into."""


class DelimitedReader:
    """The records of a text, one after the other.

    A record is broken where text follows a closing quote. If it is of one line, it is read as
    Python's lenient reader does, which then cannot have run over other rows. Else a quote was left
    open in its first line, if all its other lines are good records as wide as the first (the last
    may be the beginning of one): that line is a broken row and the others are read as rows.
    Otherwise all lines together are one broken row, with those after it up to the next that is a
    record of itself.

    Args:
        lines: with their ends.
    """

    def __init__(self, lines: Iterator[str], name: str, dialect: Dialect, tally: Tally) -> None:
        self._lines = lines
        self._name = name
        self._dialect = dialect
        self._tally = tally
        self._record: list[str] = []
        self._width = 0
        self._again: list[str] = []
        self._offset = 1
        self._whole, self._begun = _sound_lines(dialect)

    def __iter__(self) -> Iterator[Row | BrokenRow]:
        """Blank rows are left out.

        Raises:
            UnreadableFile: a quote is never closed, or a cell is longer than MAX_CELL.
        """
        reader = self._dialect.read(self._kept(), strict=True)
        record = self._record
        while True:
            record.clear()
            line = reader.line_num + self._offset
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield from self._mend(line, error)
                continue
            if cells and ((cells[0] and not cells[0].isspace()) or not is_blank(cells)):
                self._width = self._width or len(cells)
                yield Row(line, tuple(cells))
            elif cells:
                self._tally.blank += 1

    def _kept(self) -> Iterator[str]:
        """The lines, and those to be read again; those of the record that is being read are kept."""
        keep, again = self._record.append, self._again
        for line in self._lines:
            keep(line)
            yield line
            while again:
                keep(again[0])
                yield again.pop()

    def _mend(self, line: int, error: csv.Error) -> Iterator[Row | BrokenRow]:
        """What the lines of a broken record are."""
        first, *others = self._record
        if "limit" in str(error):
            raise UnreadableFile(
                f"{self._name}, line {line}: a cell is longer than {MAX_CELL:,} characters; "
                "is a quote opened there and never closed?"
            ) from error
        is_open = "end of data" in str(error)
        if not others:
            yield self._one_line(line, first)
        elif all(map(self._is_row, others[:-1])) and (self._is_row(others[-1]) or self._is_begun(others[-1])):
            yield _broken(line, f"a quote is opened and not closed on its line; {_MEND}", [first])
            if not self._is_row(others[-1]):
                self._again.append(others.pop())
                self._offset -= 1
            for place, other in enumerate(others, start=line + 1):
                if other.strip():
                    yield Row(place, tuple(next(self._dialect.read([other], strict=True))))
        elif is_open:
            raise UnreadableFile(
                f"{self._name}, line {line}: a quote is opened and never closed; {_MEND}"
            ) from error
        else:
            yield self._several_lines(line)

    def _several_lines(self, line: int) -> BrokenRow:
        lines = [*self._record]
        for after in self._lines:
            if self._whole.fullmatch(after) and after.strip() and self._cells(after) >= min(2, self._width):
                self._again.append(after)
                break
            lines.append(after)
            self._offset += 1
        last = line + len(lines) - 1
        return _broken(line, f"text follows a closing quote in lines {line} to {last}; {_MEND}", lines)

    def _one_line(self, line: int, text: str) -> Row | BrokenRow:
        reader = self._dialect.read([text, _NEXT])
        cells = next(reader)
        if reader.line_num > 1:
            return _broken(line, f"a quote is opened and not closed; {_MEND}", [text])
        self._width = self._width or len(cells)
        return Row(line, tuple(cells))

    def _is_row(self, line: str) -> bool:
        """Whether a line is a record of itself that looks like the others, or empty."""
        if not line.strip():
            return True
        return bool(self._whole.fullmatch(line)) and 1 < self._width == self._cells(line)

    def _is_begun(self, line: str) -> bool:
        """Whether a record like the others begins in a line and its last cell goes on."""
        return bool(self._begun.fullmatch(line)) and 1 < self._cells(line) <= self._width

    def _cells(self, line: str) -> int:
        return len(next(self._dialect.read([line])))


def _broken(line: int, reason: str, lines: list[str]) -> BrokenRow:
    return BrokenRow(line, f"the quoting is broken: {reason}", "".join(lines)[:TEXT_LIMIT].rstrip("\r\n"))


def _sound_lines(dialect: Dialect) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A record on one line, with quotes only around cells and escaped within; and the beginning of one."""
    between = re.escape(dialect.delimiter)
    opened = r'"(?:[^"\\]++|""|\\.)*+' if dialect.escape else r'"(?:[^"]++|"")*+'
    cell = rf'(?:{opened}"|[^"{between}\r\n]*+)'
    whole = re.compile(rf"{cell}(?:{between}{cell})*+(?:\r\n?|\n)?", re.DOTALL)
    return whole, re.compile(rf"(?:{cell}{between})*+{opened}", re.DOTALL)
