"""Reading labelled sets: BEIR folders, and labels of a table beside the folder."""

from pathlib import Path

import pytest

from ingest.labelled import read_labelled
from retrieval.errors import UnreadableFile
from retrieval.types import RecordDraft
from tests.conftest import ROOT


def write_set(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "7", "title": "T", "text": "body"}\n{"_id": "8", "title": "", "text": "alone"}\n'
    )
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "one"}\n{"_id": "2", "text": "two"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\t7\t1\n1\t8\t0\n")
    return folder


def test_beir_folder(tmp_path: Path) -> None:
    labelled = read_labelled(write_set(tmp_path / "set"), "test")
    assert labelled.name == "set"
    assert labelled.documents == {"7": RecordDraft("T", "body"), "8": RecordDraft("alone")}
    assert labelled.queries == {"1": "one"}
    assert labelled.qrels == {"1": {"7": 1, "8": 0}}


def test_missing_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="split 'dev'"):
        read_labelled(write_set(tmp_path / "set"), "dev")


def test_judged_query_without_text_is_an_error(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n3\t7\t1\n")
    with pytest.raises(UnreadableFile):
        read_labelled(folder, "test")


@pytest.mark.parametrize("name", ["suzume", "coffee"])
def test_samples_are_labelled_rows_of_their_table(name: str) -> None:
    labelled = read_labelled(ROOT / "data" / name, "test")
    assert len(labelled.documents) == 45
    assert len(labelled.queries) == 30
    judged = {document for judgements in labelled.qrels.values() for document in judgements}
    assert judged <= labelled.documents.keys()
    texts = {text for draft in labelled.documents.values() for text in (draft.q, *draft.indexes)}
    assert texts.isdisjoint(labelled.queries.values())
