"""Labelled retrieval sets on disk: documents, queries and relevance judgements.

A folder in BEIR's layout: ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl``
(``_id``, ``text``) and ``qrels/<split>.tsv``. Without ``corpus.jsonl`` the documents are the rows
of the q/a table beside the folder (``NAME.csv``), and their ids are the row numbers from 1.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ingest.mapping import RowProblem, find_columns, to_draft
from ingest.tables import open_table
from retrieval.errors import UnreadableFile
from retrieval.evaluation import Qrels
from retrieval.types import RecordDraft


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
    try:
        qrels = _read_qrels(folder / "qrels" / f"{split}.tsv")
        texts = {item["_id"]: item["text"] for item in _read_lines(folder / "queries.jsonl")}
        documents = dict(_read_documents(folder))
        queries = {query_id: texts[query_id] for query_id in qrels}
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableFile(
            f"{folder} is not a labelled set with a split {split!r} ({error}): it has corpus.jsonl (or a CSV of its "
            "name beside it), queries.jsonl and qrels/<split>.tsv"
        ) from error
    return LabelledSet(folder.name, split, documents, queries, qrels)


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    table = pd.read_csv(path, sep="\t", dtype={"query-id": str, "corpus-id": str, "score": int})
    qrels: dict[str, dict[str, int]] = {}
    for query_id, document_id, score in zip(
        table["query-id"], table["corpus-id"], table["score"], strict=True
    ):
        qrels.setdefault(query_id, {})[document_id] = int(score)
    return qrels


def _read_documents(folder: Path) -> Iterator[tuple[str, RecordDraft]]:
    corpus = folder / "corpus.jsonl"
    if corpus.exists():
        for item in _read_lines(corpus):
            title, text = item.get("title") or "", item["text"]
            yield item["_id"], RecordDraft(title, text) if title.strip() else RecordDraft(text)
        return
    beside = folder.with_suffix(".csv")
    with open_table(beside, str(beside)) as table:
        columns = find_columns(table.header)
        for number, row in enumerate(table.rows, start=1):
            draft = to_draft(row, columns, number - 1)
            if isinstance(draft, RowProblem):
                raise UnreadableFile(f"{beside}, line {draft.line}: {draft.reason}")
            yield str(number), draft


def _read_lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.strip():
                yield json.loads(line)
