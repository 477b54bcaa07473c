"""JSON lines to rows: one object a line; the keys of the first are the columns."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ingest.rows import TEXT_LIMIT, BrokenRow, Row, Tally, is_blank
from retrieval.errors import UnreadableFile

INDEXES = "indexes"
"""The key that is the last column whatever it holds."""


class _Float(float):
    """A number that keeps how it was written."""

    def __new__(cls, text: str) -> "_Float":
        value = super().__new__(cls, text)
        value.text = text
        return value

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Columns:
    """``last`` is the column that a list spreads over, from there to the right; or ``None``."""

    names: tuple[str, ...]
    last: str | None


class JsonlReader:
    """Rows of a text of one object a line; blank lines are left out, and rows of blank cells counted.

    Raises:
        UnreadableFile: there is no object, or the first is broken.
    """

    def __init__(self, lines: Iterator[str], name: str, tally: Tally) -> None:
        self._tally = tally
        self._lines = ((line, text) for line, text in enumerate(lines, start=1) if text.strip())
        found = next(self._lines, None)
        if found is None:
            raise UnreadableFile(f"{name} is empty: a JSON object on each line is expected")
        line, text = found
        try:
            first = _object(text)
            self._columns = _columns(first)
            self._first = Row(line, _cells(first, self._columns))
        except (ValueError, RecursionError) as error:
            raise UnreadableFile(
                f"{name}, line {line}: {_reason(error)}; expected is a JSON object on each line"
            ) from error

    @property
    def header(self) -> tuple[str, ...]:
        return self._columns.names

    def __iter__(self) -> Iterator[Row | BrokenRow]:
        rows = chain([self._first], map(self._row, self._lines))
        for row in rows:
            if isinstance(row, Row) and is_blank(row.cells):
                self._tally.blank += 1
            else:
                yield row

    def _row(self, numbered: tuple[int, str]) -> Row | BrokenRow:
        line, text = numbered
        try:
            return Row(line, _cells(_object(text), self._columns))
        except (ValueError, RecursionError) as error:
            return BrokenRow(line, _reason(error), text[:TEXT_LIMIT].rstrip("\r\n"))


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    return f"broken JSON ({error.msg})" if isinstance(error, json.JSONDecodeError) else str(error)


def _object(text: str) -> dict[str, Any]:
    """Raises ValueError: it is no JSON, no object, or has a key twice."""
    item = _DECODER.decode(text)
    if not isinstance(item, dict):
        raise ValueError("this is no JSON object")
    return item


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the object has the key {twice!r} twice")
    return item


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_Float, parse_constant=_no_constant)


def _columns(item: dict[str, Any]) -> Columns:
    """Raises ValueError if there are none."""
    if not item:
        raise ValueError("the object has no keys")
    lists = (name for name, value in item.items() if isinstance(value, list))
    last = INDEXES if INDEXES in item else next(lists, None)
    names = tuple(name for name in item if name != last)
    _check_unicode(item)
    return Columns(names if last is None else (*names, last), last)


def _cells(item: dict[str, Any], columns: Columns) -> tuple[str, ...]:
    """Raises ValueError for an unknown key, a list of something else than texts, or no Unicode text."""
    if not item.keys() <= set(columns.names):
        unknown = next(name for name in item if name not in columns.names)
        raise ValueError(f"the key {unknown!r} is none of the first object")
    cells = [_text(name, item.get(name)) for name in columns.names if name != columns.last]
    if columns.last is not None:
        value = item.get(columns.last)
        cells += _texts(columns.last, value) if isinstance(value, list) else [_text(columns.last, value)]
    _check_unicode(cells)
    return tuple(cells)


def _check_unicode(texts: Iterable[str]) -> None:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text has half a surrogate pair in it, which is no Unicode text") from error


def _text(name: str, value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return "\n".join(_texts(name, value))
        case dict():
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def _texts(name: str, values: list[Any]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name!r} is a list of something else than texts")
    return values
