"""Labelled queries on disk, with or without the documents that they are about.

Labels are BEIR's ``queries.jsonl`` (``_id``, ``text``) and a qrels file (``query-id``, ``corpus-id``, ``score``
between tabs), or one table with the columns ``query`` and ``q`` or ``record``. A folder in BEIR's layout also
has ``corpus.jsonl`` (``_id``, ``title``, ``text``); without it the documents are the rows of the q/a table
beside the folder (``NAME.csv``), and their ids are the row numbers from 1.
"""

import csv
import json
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ingest.mapping import RowProblem, find_columns, to_draft
from ingest.rows import BrokenRow, Row
from ingest.tables import open_table
from retrieval.errors import MissingColumn, UnreadableFile
from retrieval.evaluation import Qrels
from retrieval.labels import Labels, Listed
from retrieval.passages import custom_texts
from retrieval.quotes import content_key
from retrieval.store import Store
from retrieval.types import RecordDraft

CORPUS = "corpus.jsonl"

PAGE = 500
"""Records that are read at a time."""


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """``documents`` by id; ``queries`` are those that the split judges."""

    name: str
    split: str
    documents: dict[str, RecordDraft]
    queries: dict[str, str]
    qrels: Qrels


def read_labelled(folder: Path, split: str) -> LabelledSet:
    """Read a set. A document's title becomes q and its text a.

    Raises:
        UnreadableFile: a file is missing or not of the layout, or the split names unknown queries.
    """
    labels = read_labels(folder / "queries.jsonl", folder / "qrels" / f"{split}.tsv")
    return LabelledSet(folder.name, split, dict(_read_documents(folder)), dict(labels.queries), labels.qrels)


def read_labels(queries: Path, qrels: Path | None = None) -> Labels:
    """Those queries that are judged. In a table, rows of one query name one relevant record each, or none.

    Documents beside the queries, in ``corpus.jsonl``, tell records by their content.

    Raises:
        UnreadableFile: a file cannot be read; the message names the line.
        MissingColumn: the table has no such columns.
    """
    if qrels is None:
        return _read_table(queries)
    judged, texts = _read_qrels(qrels), dict(_read_texts(queries))
    for query_id in judged:
        if query_id not in texts:
            raise UnreadableFile(
                f"{qrels} judges the query {query_id!r}, which {queries} does not have: add it there"
            )
    names = {name for documents in judged.values() for name in documents}
    contents = dict(_read_contents(queries.with_name(CORPUS), names))
    return Labels({query_id: texts[query_id] for query_id in judged}, judged, contents=contents)


def hash_of(files: Sequence[Path]) -> str:
    """The beginning of a SHA-256 of their contents, in this order."""
    digest = sha256()
    for file in files:
        digest.update(sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def list_records(store: Store, dataset_id: str) -> Iterator[Listed]:
    """All of a dataset, with their custom texts. Raises DatasetNotFound."""
    for collection in store.list_collections(dataset_id):
        for records in store.record_pages(collection.id, PAGE):
            passages = store.passages_of([record.id for record in records])
            for record in records:
                yield Listed(record, tuple(custom_texts(record, passages.get(record.id, ()))))


def _read_table(path: Path) -> Labels:
    ids: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    with open_table(path, str(path)) as table:
        header = [name.strip().lower() for name in table.header]
        names = [name for name in ("q", "record") if name in header]
        if "query" not in header or len(names) != 1:
            raise MissingColumn(
                f"{path} has the columns {', '.join(table.header)}: labels are in columns query and q, or query and record; "
                "BEIR's queries need --qrels, too"
            )
        for row in table.rows:
            query, name = (_cell(path, row, header.index(column)) for column in ("query", *names))
            if not query:
                raise UnreadableFile(f"{path}, line {row.line}: the query is empty")
            judged = qrels.setdefault(ids.setdefault(query, str(len(ids) + 1)), {})
            if name:
                judged[name] = 1
    return Labels({query_id: text for text, query_id in ids.items()}, qrels, by_question=names == ["q"])


def _cell(path: Path, row: Row | BrokenRow, place: int) -> str:
    if isinstance(row, BrokenRow):
        raise UnreadableFile(f"{path}, line {row.line}: {row.reason}")
    return row.cells[place].strip() if place < len(row.cells) else ""


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    expected = (
        "query-id, corpus-id and a whole score are expected, between tabs, under a header that names them"
    )
    with _readable(path), path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        for row in rows:
            try:
                qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
            except (KeyError, TypeError, ValueError):
                raise UnreadableFile(f"{path}, line {rows.line_num}: {expected}") from None
    if not qrels:
        raise UnreadableFile(f"{path} judges no query: {expected}")
    return qrels


def _read_texts(path: Path) -> Iterator[tuple[str, str]]:
    for line, item in _read_lines(path):
        if not item["text"].strip():
            raise UnreadableFile(f"{path}, line {line}: the text is empty")
        yield item["_id"], item["text"]


def _read_contents(corpus: Path, names: Set[str]) -> Iterator[tuple[str, str]]:
    """The content key of each of the documents, as far as they are there."""
    if corpus.exists():
        yield from ((name, content_key(draft)) for name, draft in _read_corpus(corpus) if name in names)


def _read_corpus(path: Path) -> Iterator[tuple[str, RecordDraft]]:
    for _, item in _read_lines(path):
        title, text = item.get("title") or "", item["text"]
        yield item["_id"], RecordDraft(title, text) if title.strip() else RecordDraft(text)


def _read_documents(folder: Path) -> Iterator[tuple[str, RecordDraft]]:
    if (folder / CORPUS).exists():
        yield from _read_corpus(folder / CORPUS)
        return
    beside = folder.with_suffix(".csv")
    with open_table(beside, str(beside)) as table:
        columns = find_columns(table.header)
        for number, row in enumerate(table.rows, start=1):
            draft = to_draft(row, columns, number - 1)
            if isinstance(draft, RowProblem):
                raise UnreadableFile(f"{beside}, line {draft.line}: {draft.reason}")
            yield str(number), draft


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line and the object of each."""
    with _readable(path), path.open(encoding="utf-8-sig") as stream:
        for line, text in enumerate(stream, start=1):
            if text.strip():
                yield line, _object(path, line, text)


def _object(path: Path, line: int, text: str) -> dict[str, str]:
    try:
        item = json.loads(text)
    except ValueError:
        item = None
    if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in ("_id", "text")):
        raise UnreadableFile(f'{path}, line {line}: an object with the texts "_id" and "text" is expected')
    return item


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
