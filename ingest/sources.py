"""What an import reads: a table or a document, as one lazy sequence of records and problems.

table → rows → records          document → text → chunks → records
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ingest.chunking import Chunk, ChunkOptions, split_text
from ingest.documents import DOCUMENT_SUFFIXES, read_document
from ingest.mapping import ColumnChoice, Columns, RowProblem, draft_all, find_columns, texts_of
from ingest.pairs import MakePairs
from ingest.qa_split import FailedChunk
from ingest.rows import BrokenRow, Row, TableOptions
from ingest.tables import Table, open_table
from retrieval.errors import InvalidRequest, MissingColumn, UnreadableFile
from retrieval.types import RecordDraft

AMBIGUOUS = (".txt",)
"""Suffixes of documents that are tables if their first line is the header of one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is read.

    Args:
        columns: which is what; ``None`` finds out by the header.
        chunks: how a document is cut.
        is_qa: whether a model makes q/a pairs of the chunks of a document.
        qa_prompt: what it is told to do; empty for our own instructions.
    """

    table: TableOptions = field(default_factory=TableOptions)
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    chunks: ChunkOptions = field(default_factory=ChunkOptions)
    is_qa: bool = False
    qa_prompt: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """What became of a row or a chunk.

    Args:
        line: of the file; of a document, the place of the chunk from 1.
        cells: of the row, or the text of the chunk, to give it back if it is rejected.
        texts: how many embeddings a file of ready-made ones has for it.
    """

    outcome: RecordDraft | RowProblem
    line: int
    cells: tuple[str, ...] = ()
    texts: int = 0


@dataclass(frozen=True, slots=True)
class Format:
    """What a file turned out to be; empty where that says nothing of its kind."""

    kind: str
    encoding: str = ""
    delimiter: str = ""
    header: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    """Columns that nothing is taken from."""
    has_key: bool = False
    """Whether there is a column of keys."""


@dataclass(frozen=True, slots=True)
class Source:
    """An open file. ``items`` can be gone through once.

    Args:
        blank: rows so far that have cells, all of them blank.
        replaced: U+FFFD put in so far for what could not be decoded.
        share_read: 0 to 1.
    """

    format: Format
    items: Iterator[Item]
    blank: Callable[[], int]
    replaced: Callable[[], int]
    share_read: Callable[[], float]


@contextmanager
def open_source(
    path: Path, name: str, reading: Reading, make_pairs: MakePairs | None = None
) -> Iterator[Source]:
    """Open a file by its suffix; what is no document is a table.

    Args:
        name: what to call the file in messages; its suffix says what it is.
        make_pairs: makes q/a pairs of chunks; without it a document is its chunks.

    Raises:
        UnreadableFile, InvalidRequest: see :func:`ingest.tables.open_table`.
        MissingColumn: see :func:`ingest.mapping.find_columns`.
    """
    if _is_document(path, name, reading):
        yield _document(path, name, reading, make_pairs)
        return
    if reading.is_qa:
        raise InvalidRequest(f"{name} is a table: q/a pairs are made of documents")
    with open_table(path, name, reading.table) as table:
        columns = find_columns(table.header, reading.columns, splits=table.kind != "jsonl")
        yield _table(table, columns)


def _is_document(path: Path, name: str, reading: Reading) -> bool:
    suffix = Path(name).suffix.lower()
    if suffix not in DOCUMENT_SUFFIXES:
        return False
    if suffix not in AMBIGUOUS:
        return True
    if reading.columns.is_made or reading.table.delimiter:
        return False
    try:
        with open_table(path, name, reading.table) as table:
            find_columns(table.header)
    except (MissingColumn, UnreadableFile):
        return True
    return False


def _table(table: Table, columns: Columns) -> Source:
    return Source(
        Format(
            table.kind,
            table.encoding,
            table.delimiter,
            table.header,
            columns.ignored,
            columns.key is not None,
        ),
        _rows(table, columns),
        lambda: table.blank,
        lambda: table.replaced,
        lambda: table.share_read,
    )


def _rows(table: Table, columns: Columns) -> Iterator[Item]:
    seen: list[Row | BrokenRow] = []

    def note() -> Iterator[Row | BrokenRow]:
        for row in table.rows:
            seen.append(row)
            yield row

    for outcome in draft_all(note(), columns):
        row = seen.pop()
        if isinstance(row, BrokenRow):
            yield Item(outcome, row.line, (row.text,), 0)
        else:
            yield Item(outcome, row.line, row.cells, 1 + len(texts_of(row, columns)))


def _document(path: Path, name: str, reading: Reading, make_pairs: MakePairs | None) -> Source:
    document = read_document(path, name, reading.table.encoding, reading.table.errors == "replace")
    done = _Share(len(document.text))
    chunks = split_text(document.text, reading.chunks)
    items = _pairs(list(chunks), make_pairs, done) if make_pairs else _chunks(chunks, done)
    suffix = Path(name).suffix.lower().removeprefix(".")
    return Source(Format(suffix), items, lambda: 0, lambda: document.replaced, done.share)


class _Share:
    """How much of a text is through."""

    def __init__(self, total: int) -> None:
        self._total = max(1, total)
        self._done = 0

    def note(self, text: str) -> None:
        self._done += len(text)

    def end(self) -> None:
        """Blank text between chunks, and what they repeat, do not count."""
        self._done = self._total

    def share(self) -> float:
        return min(1.0, self._done / self._total)


def _chunks(chunks: Iterable[Chunk], done: _Share) -> Iterator[Item]:
    for place, chunk in enumerate(chunks):
        done.note(chunk.text)
        draft = RecordDraft(chunk.text, chunk_index=place, title=" > ".join(chunk.titles))
        yield Item(draft, place + 1, (chunk.text,), 1)
    done.end()


def _pairs(chunks: Sequence[Chunk], make_pairs: MakePairs, done: _Share) -> Iterator[Item]:
    for place, (chunk, result) in enumerate(
        zip(chunks, make_pairs([chunk.text for chunk in chunks]), strict=True)
    ):
        done.note(chunk.text)
        if isinstance(result, FailedChunk):
            yield Item(RowProblem(place + 1, "", result.reason), place + 1, (chunk.text,))
        else:
            for pair in result.pairs:
                yield Item(RecordDraft(pair.q, pair.a, chunk_index=place), place + 1, (pair.q, pair.a))
    done.end()
