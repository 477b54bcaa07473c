"""Labelled queries and sets read from disk: BEIR files, tables of labels, and the samples of this project."""

from pathlib import Path

import pytest

from ingest.labelled import hash_of, list_records, read_labelled, read_labels
from retrieval.errors import MissingColumn, UnreadableFile
from retrieval.labels import Labels
from retrieval.library import Library
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
    with pytest.raises(UnreadableFile, match=r"dev\.tsv cannot be read: No such file"):
        read_labelled(write_set(tmp_path / "set"), "dev")


def test_judged_query_without_text_is_an_error(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n3\t7\t1\n")
    with pytest.raises(UnreadableFile, match="judges the query '3', which"):
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


# Labels alone


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


QUERIES = '{"_id": "1", "text": "one"}\n\n{"_id": "2", "text": "two"}\n'
QRELS = "query-id\tcorpus-id\tscore\n1\t7\t1\n2\tab c\t2\n1\t8\t0\n"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_labels_of_beir(tmp_path: Path, mark: str, end: str) -> None:
    queries = written(tmp_path / "queries.jsonl", mark + QUERIES.replace("\n", end))
    qrels = written(tmp_path / "test.tsv", mark + QRELS.replace("\n", end))
    assert read_labels(queries, qrels) == Labels(
        {"1": "one", "2": "two"}, {"1": {"7": 1, "8": 0}, "2": {"ab c": 2}}
    )


def test_documents_beside_the_labels_tell_their_contents(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    labels = read_labels(folder / "queries.jsonl", folder / "qrels" / "test.tsv")
    assert labels == Labels({"1": "one"}, {"1": {"7": 1, "8": 0}}, contents={"7": "Tbody", "8": "alone"})


@pytest.mark.parametrize(
    "qrels",
    ["1\t7\t1\n2\t8\t1\n", "query-id\tcorpus-id\n1\t7\n", "query-id\tcorpus-id\tscore\n1\t7\n"]
    + [f"query-id\tcorpus-id\tscore\n1\t7\t{score}\n" for score in ("", "x", "0.5")],
)
def test_qrels_that_are_none(tmp_path: Path, qrels: str) -> None:
    queries = written(tmp_path / "queries.jsonl", QUERIES)
    with pytest.raises(UnreadableFile, match=r"test\.tsv, line [12]: query-id, corpus-id and a whole score"):
        read_labels(queries, written(tmp_path / "test.tsv", qrels))


@pytest.mark.parametrize("qrels", ["", "1\t7\t1\n", "query-id\tcorpus-id\tscore\n"])
def test_qrels_that_judge_nothing(tmp_path: Path, qrels: str) -> None:
    queries = written(tmp_path / "queries.jsonl", QUERIES)
    with pytest.raises(UnreadableFile, match=r"test\.tsv judges no query"):
        read_labels(queries, written(tmp_path / "test.tsv", qrels))


@pytest.mark.parametrize(
    "line", ["x", "[]", '{"_id": "1"}', '{"_id": 1, "text": "one"}', '{"_id": "1", "text": null}']
)
def test_queries_that_are_none(tmp_path: Path, line: str) -> None:
    queries = written(tmp_path / "queries.jsonl", f"{QUERIES}{line}\n")
    with pytest.raises(UnreadableFile, match=r"queries\.jsonl, line 4: an object with the texts"):
        read_labels(queries, written(tmp_path / "test.tsv", QRELS))


def test_a_query_without_text_is_an_error(tmp_path: Path) -> None:
    queries = written(tmp_path / "queries.jsonl", '{"_id": "1", "text": " "}\n')
    with pytest.raises(UnreadableFile, match="line 1: the text is empty"):
        read_labels(queries, written(tmp_path / "test.tsv", QRELS))


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    queries = written(tmp_path / "queries.jsonl", QUERIES)
    with pytest.raises(UnreadableFile, match=r"no\.tsv cannot be read"):
        read_labels(queries, tmp_path / "no.tsv")
    (tmp_path / "bad.jsonl").write_bytes(b'{"_id": "1", "text": "\xff"}')
    with pytest.raises(UnreadableFile, match="is not UTF-8: invalid start byte at byte 22"):
        read_labels(tmp_path / "bad.jsonl", written(tmp_path / "test.tsv", QRELS))


def test_a_table_names_records_by_their_question(tmp_path: Path) -> None:
    table = written(
        tmp_path / "labels.csv", "Query,q\nwho?,Who is it?\nwhere?, Where is it? \nwho?,Who was it?\n"
    )
    assert read_labels(table) == Labels(
        {"1": "who?", "2": "where?"},
        {"1": {"Who is it?": 1, "Who was it?": 1}, "2": {"Where is it?": 1}},
        by_question=True,
    )


def test_a_table_names_records(tmp_path: Path) -> None:
    table = written(tmp_path / "labels.csv", "note;record;query\nx;K-1;who?\n;;nobody asks\n;K-2;who?\n")
    assert read_labels(table) == Labels(
        {"1": "who?", "2": "nobody asks"}, {"1": {"K-1": 1, "K-2": 1}, "2": {}}
    )


@pytest.mark.parametrize("header", ["query", "q,a", "query,q,record", "question,record"])
def test_a_table_without_the_columns_of_labels(tmp_path: Path, header: str) -> None:
    with pytest.raises(MissingColumn, match="columns query and q, or query and record"):
        read_labels(written(tmp_path / "labels.csv", f"{header}\n1,2,3\n"))


def test_a_row_of_labels_without_a_query(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"labels\.csv, line 3: the query is empty"):
        read_labels(written(tmp_path / "labels.csv", "query,q\nwho?,Who?\n,Where?\n"))


def test_the_hash_is_of_all_files_in_order(tmp_path: Path) -> None:
    one, other = written(tmp_path / "one", "1"), written(tmp_path / "other", "2")
    hashes = [hash_of(files) for files in ([one], [one, other], [other, one])]
    assert len(set(hashes)) == 3
    assert hashes[0] == hash_of([written(tmp_path / "copy", "1")])


# Records of a dataset


def test_all_records_of_a_dataset_are_listed_with_their_custom_texts(library: Library) -> None:
    dataset = library.create_dataset("one")
    drafts = [
        RecordDraft("q1", "a1", ("x", "long " * 1000), chunk_index=0, key="K-1"),
        RecordDraft("q2", chunk_index=1, title="title", indexes=("y",)),
        RecordDraft("q3", chunk_index=0),
    ]
    library.add_records(library.ensure_collection(dataset.id, "first"), drafts[:2])
    library.add_records(library.ensure_collection(dataset.id, "second"), drafts[2:])

    listed = list(list_records(library.store, dataset.id))

    assert [(one.record.q, one.record.key, one.record.chunk_index) for one in listed] == [
        ("q1", "K-1", 0),
        ("q2", "", 1),
        ("q3", "", 0),
    ]
    assert [one.indexes for one in listed] == [("x", ("long " * 1000).strip()), ("y",), ()]
