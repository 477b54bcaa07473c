"""Rows to records: which column is what, and what is wrong with a row."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from ingest.rows import BrokenRow, Row
from retrieval.errors import InvalidRequest, MissingColumn
from retrieval.types import RecordDraft

FORMS = "q,a  or  q,a,indexes  or  index,content, with columns key and tags if wanted"

NOTES = ("#line", "#reason")
"""Columns of a file of rejected rows, which say where they come from and what is wrong."""

# A point with a digit behind it is that of a number, as in 2.5.
_MARK = re.compile(r"(?:^|(?<=[\s;；。.]))(\d{1,3})(?:[)、）]|[.．](?!\d))\s*")
_BULLET = re.compile(r"\s*[-*•·]\s+")
_TAG_BREAK = re.compile(r"[,，;；|\n]")
_POSITION = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a row was not imported."""

    line: int
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """Columns by name or, where no column is named so, by position from 1; what is not named is found by header.

    Args:
        key: what a row is known by, if not by its content.
        metadata: kept with the record, by the columns' names.
    """

    q: str | None = None
    a: str | None = None
    indexes: tuple[str, ...] = ()
    key: str | None = None
    tags: str | None = None
    metadata: tuple[str, ...] = ()

    @property
    def is_made(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class Columns:
    """Positions of the columns, from 0.

    Args:
        width: how many columns the header has.
        takes_rest: whether cells beyond the header are index texts.
        splits: whether an index cell that stands alone may hold several texts.
        ignored: names of columns that nothing is taken from.
    """

    q: int
    a: int | None
    indexes: tuple[int, ...] = ()
    key: int | None = None
    tags: int | None = None
    metadata: tuple[tuple[str, int], ...] = ()
    width: int = 2
    takes_rest: bool = False
    splits: bool = True
    ignored: tuple[str, ...] = ()


def find_columns(
    header: Sequence[str], choice: ColumnChoice = ColumnChoice(), *, splits: bool = True
) -> Columns:
    """The roles of the columns: as chosen, else by the names in the header, in any case and order.

    Where neither ``q`` nor ``a`` is among them, ``index`` and ``content`` are these. Without a header,
    and where nothing is chosen, q and a are the first two columns, and all further cells are index
    texts. Columns that are neither chosen nor known by name are ignored where something was chosen,
    else refused: no data is lost unasked.

    Raises:
        MissingColumn: a chosen column is not there, or there is none for q; the message lists the header.
        InvalidRequest: a column is chosen for two roles.
    """
    named = _Header(header)
    if choice.is_made:
        return _chosen(named, choice, splits)
    if not header:
        return Columns(0, 1, takes_rest=True, splits=splits)
    first, second = ("q", "a") if {"q", "a"} & set(named.all) else ("index", "content")
    q, a = named.find(first), named.find(second)
    if q is None or a is None or set(named.all) - {first, second, "key", "tags", *INDEX_NAMES, *NOTES}:
        raise MissingColumn(
            f"the header has the columns {named.listed}; expected is {FORMS}: rename or remove columns, or say which "
            "is which by --q, --a, --index, --key, --tags and --meta"
        )
    indexes = tuple(place for place in named.places(INDEX_NAMES) if place != q)
    return Columns(
        q,
        a,
        indexes,
        named.find("key"),
        named.find("tags"),
        width=len(header),
        takes_rest=len(header) - 1 in indexes,
        splits=splits,
    )


INDEX_NAMES = ("indexes", "index", "")
"""A column without a name beside those with one is for further index texts, as spreadsheets leave it."""


class _Header:
    """Names of columns without regard to case and white space around them."""

    def __init__(self, header: Sequence[str]) -> None:
        self.header = header
        self.all = [name.strip().lower() for name in header]

    @property
    def listed(self) -> str:
        return ", ".join(repr(name) for name in self.header) or "none"

    def places(self, names: Sequence[str]) -> list[int]:
        """Of the columns that have one of the names."""
        return [place for place, name in enumerate(self.all) if name in names]

    def find(self, name: str) -> int | None:
        """Raises MissingColumn if two columns have the name."""
        count = self.all.count(name)
        if count > 1:
            raise MissingColumn(
                f"{count} columns are named {name!r} (the header has {self.listed}): rename them, or give a position"
            )
        return self.all.index(name) if count else None

    def place(self, column: str, role: str) -> int:
        """By name, else by position, in which notes do not count. Raises MissingColumn."""
        found = self.find(column.strip().lower())
        if found is not None:
            return found
        if _POSITION.fullmatch(column):
            position = int(column) - 1
            places = [place for place, name in enumerate(self.all) if name not in NOTES]
            if not self.header:
                return position
            if position < len(places):
                return places[position]
        raise MissingColumn(
            f"there is no column {column!r} for {role}: the header has {self.listed}; give one of these, or a position "
            "from 1"
        )


def _chosen(header: _Header, choice: ColumnChoice, splits: bool) -> Columns:
    """What is not chosen is found by its name, unless that column was chosen for something else."""
    roles = ("q", "a", "key", "tags")
    named = {role: getattr(choice, role) for role in roles}
    places = {role: header.place(column, role) for role, column in named.items() if column is not None}
    indexes = tuple(header.place(column, "index") for column in choice.indexes)
    metadata = tuple(
        (_name(header, place), place) for place in (header.place(c, "meta") for c in choice.metadata)
    )
    _check_once([*places.values(), *indexes], header)
    taken = {*places.values(), *indexes, *(place for _, place in metadata)}
    for role in roles:
        found = header.find(role) if role not in places else None
        if found is not None and found not in taken:
            places[role] = found
    if "q" not in places:
        raise MissingColumn(f"no column is q: the header has {header.listed}; name one by --q")
    if not choice.indexes:
        indexes = tuple(place for place in header.places(INDEX_NAMES[:2]) if place not in taken)
    taken |= {*places.values(), *indexes, *header.places(NOTES)}
    return Columns(
        places["q"],
        places.get("a"),
        indexes,
        places.get("key"),
        places.get("tags"),
        metadata,
        width=len(header.header) or 1 << 20,
        takes_rest=bool(header.header) and len(header.header) - 1 in indexes,
        splits=splits,
        ignored=tuple(name for place, name in enumerate(header.header) if place not in taken),
    )


def _name(header: _Header, place: int) -> str:
    return header.header[place].strip() if header.header else str(place + 1)


def _check_once(places: Sequence[int], header: _Header) -> None:
    for place in places:
        if places.count(place) > 1:
            raise InvalidRequest(
                f"column {_name(header, place)!r} is chosen for two roles: give each its own"
            )


def texts_of(row: Row, columns: Columns) -> tuple[str, ...]:
    """Index texts of a row, whether it becomes a record or not."""
    cells = row.cells
    places = [place for place in columns.indexes if place < len(cells)]
    found = [cells[place] for place in places]
    if columns.takes_rest:
        found += cells[columns.width :]
    if columns.splits and len(found) == 1:
        return split_cell(found[0])
    return tuple(cell.strip() for cell in found if not cell.isspace() and cell)


def split_cell(cell: str) -> tuple[str, ...]:
    """The texts of an index cell: several if they are numbered from 1, or on lines of their own."""
    numbered = _numbered(cell)
    if numbered:
        return numbered
    lines = [line.strip() for line in cell.splitlines()]
    if len(lines) > 1 and all(not line or _BULLET.match(line) for line in lines):
        lines = [_BULLET.sub("", line, count=1) for line in lines]
    return tuple(line for line in lines if line)


def _numbered(cell: str) -> tuple[str, ...]:
    """The texts behind 1. 2. 3. …, or nothing if that is not what the cell begins with."""
    marks: list[re.Match[str]] = []
    for found in _MARK.finditer(cell):
        if int(found[1]) == len(marks) + 1:
            marks.append(found)
    if len(marks) < 2 or cell[: marks[0].start()].strip():
        return ()
    ends = [*(mark.start() for mark in marks[1:]), len(cell)]
    texts = [
        cell[mark.end() : end].strip().rstrip(";；").strip() for mark, end in zip(marks, ends, strict=True)
    ]
    return tuple(text for text in texts if text)


def to_draft(row: Row | BrokenRow, columns: Columns, chunk_index: int) -> RecordDraft | RowProblem:
    """The record of a row; q and a are taken to the letter."""
    if isinstance(row, BrokenRow):
        return RowProblem(row.line, "", row.reason)
    cells = row.cells
    q = _cell(cells, columns.q)
    if not q or q.isspace():
        return RowProblem(row.line, "q", "q is empty")
    beyond = [cell for cell in cells[columns.width :] if cell and not cell.isspace()]
    if beyond and not columns.takes_rest:
        reason = (
            f"the row has {len(cells)} cells, the header {columns.width}: put cells with delimiters in quotes"
        )
        return RowProblem(row.line, f"cell {columns.width + 1}", reason)
    key = _cell(cells, columns.key).strip()
    if columns.key is not None and not key:
        return RowProblem(row.line, "key", "the key is empty")
    return RecordDraft(
        q,
        _cell(cells, columns.a),
        texts_of(row, columns),
        chunk_index,
        key,
        metadata=_metadata(cells, columns),
    )


def _metadata(cells: Sequence[str], columns: Columns) -> dict[str, object]:
    found: dict[str, object] = {
        name: cell for name, place in columns.metadata if (cell := _cell(cells, place))
    }
    tags = [tag for part in _TAG_BREAK.split(_cell(cells, columns.tags)) if (tag := part.strip())]
    return {**found, "tags": tags} if tags else found


def _cell(cells: Sequence[str], place: int | None) -> str:
    return cells[place] if place is not None and place < len(cells) else ""


def draft_all(rows: Iterator[Row | BrokenRow], columns: Columns) -> Iterator[RecordDraft | RowProblem]:
    """What each row becomes. In a column of keys, the second row of a key is a problem: one would hide the other."""
    lines: dict[str, int] = {}
    for place, row in enumerate(rows):
        made = to_draft(row, columns, place)
        if isinstance(made, RecordDraft) and made.key:
            first = lines.setdefault(made.key, row.line)
            if first != row.line:
                made = RowProblem(row.line, "key", f"the key {made.key!r} is that of line {first} already")
        yield made
