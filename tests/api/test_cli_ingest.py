"""Imports on the command line: every option, what is left over, interruptions, and the same through a server."""

import csv
import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import api.output
from api.remote import connect
from api.settings import Settings
from api.wiring import open_documents
from ingest.batches import BATCH_RECORDS
from ingest.jobs import Jobs
from retrieval.errors import DatasetNotFound, DirectoryInUse
from retrieval.library import lock_directory
from retrieval.passages import custom_texts
from tests.api.commands import Cli, RunHere, complaint, json_of
from tests.api.conftest import DATA
from tests.api.imports import Gate, embedded_texts, questions, table, workbook
from tests.api.processes import Ran, Server, finish, serving, start
from tests.openai_server import OpenAIServer, openai_server

COUNTS = ("read", "added", "updated", "unchanged", "rejected", "removed", "embedded")


def counts_of(report: Any) -> tuple[int, ...]:
    return tuple(report[count] for count in COUNTS)


def records() -> list[dict[str, Any]]:
    """All records of the data directory of the last command, dataset by dataset."""
    with open_documents(Settings()) as store:
        found = [
            record
            for dataset in store.list_datasets()
            for collection in store.list_collections(dataset.id)
            for record in store.list_records(collection.id, limit=10_000)
        ]
        passages = store.passages_of([record.id for record in found])
        return [
            {
                "q": record.q,
                "a": record.a,
                "indexes": tuple(custom_texts(record, passages[record.id])),
                "key": record.key,
                "metadata": dict(record.metadata),
            }
            for record in found
        ]


def pairs() -> list[tuple[str, str]]:
    return [(record["q"], record["a"]) for record in records()]


# How a table is read

ODD = "Nr;Frage;Antwort;auch;noch;Thema;Quelle\nA7;Wie heiß?;Sehr, fast 100 °C;Temperatur;Hitze;Kaffee, Tee;Buch\n"
ODD_RECORD = {
    "q": "Wie heiß?",
    "a": "Sehr, fast 100 °C",
    "indexes": ("Temperatur", "Hitze"),
    "key": "A7",
    "metadata": {"tags": ["Kaffee", "Tee"], "Quelle": "Buch"},
}


def roles(*columns: str) -> list[str]:
    names = ("--q", "--a", "--index", "--index", "--key", "--tags", "--meta")
    return [word for pair in zip(names, columns, strict=True) for word in pair]


@pytest.mark.parametrize(
    "columns",
    [
        ("Frage", "Antwort", "auch", "noch", "Nr", "Thema", "Quelle"),
        ("frage", " ANTWORT ", "AUCH", "noch", "nr", "thema", "quelle"),
        ("2", "3", "4", "5", "1", "6", "7"),
    ],
)
def test_columns_are_chosen_by_name_or_position(cli: Cli, tmp_path: Path, columns: tuple[str, ...]) -> None:
    path = tmp_path / "a.csv"
    path.write_text(ODD)

    report = json_of(cli("ingest", path, "--dataset", "d", *roles(*columns), "--json"))

    assert counts_of(report) == (1, 1, 0, 0, 0, 0, 3)
    assert records() == [ODD_RECORD]


def test_without_a_header_columns_have_positions(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(ODD.splitlines()[1])

    cli("ingest", path, "--dataset", "d", "--no-header", *roles("2", "3", "4", "5", "1", "6", "7"))

    assert records() == [{**ODD_RECORD, "metadata": {"tags": ["Kaffee", "Tee"], "7": "Buch"}}]


def test_without_a_header_and_a_choice_the_first_columns_are_q_and_a(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("one,1,uno,eins\ntwo,2\n")

    cli("ingest", path, "--dataset", "d", "--no-header")

    assert [(record["q"], record["indexes"]) for record in records()] == [
        ("one", ("uno", "eins")),
        ("two", ()),
    ]


def test_columns_that_nothing_is_taken_from_are_told(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,a,author,year\n1,2,x,y\n")

    ran = cli("ingest", path, "--dataset", "d", "--q", "q")

    assert (ran.code, ran.err) == (0, "  columns that nothing was taken from: author, year\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--q", "Frage"), "there is no column 'Frage' for q: the header has 'q', 'a'; give one of these"),
        (("--index", "3"), "there is no column '3' for index: the header has 'q', 'a'"),
        (("--q", "0"), "there is no column '0' for q"),
        (("--q", "q", "--a", "2", "--index", "1"), "column 'q' is chosen for two roles: give each its own"),
        (("--mode", "upsert"), "upsert needs a column of keys: name it by --key (the header has 'q', 'a')"),
        (("--encoding", "klingon"), "'klingon' is no encoding: "),
        (("--delimiter", "::"), "'::' cannot be a delimiter: it is one character, or tab"),
        (("--chunk-size", "1"), "the chunk size 1 is out of range: "),
        (("--splitter", "/(/"), "the splitter /(/ "),
    ],
)
def test_options_that_do_not_fit_the_file_name_the_mend(
    filled: Cli, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,a\n1,2\n")

    assert complaint(filled("ingest", path, "--dataset", "suzume", *options)).startswith(said)

    assert len(records()) == 45


@pytest.mark.parametrize(
    "options",
    [
        ("--q", "Frage"),
        ("--encoding", "klingon"),
        ("--delimiter", "::"),
        ("--mode", "replace", "--vectors", "v.npy"),
        ("--rejects", "r.csv", "--collection", "c", "--chunk-size", "1"),
    ],
)
def test_options_that_do_not_fit_make_no_dataset(cli: Cli, tmp_path: Path, options: tuple[str, ...]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,a\n1,2\n")

    complaint(cli("ingest", path, "--dataset", "d", *options))

    assert json_of(cli("datasets", "list", "--json")) == []


def test_the_encoding_can_be_given(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("q,a\nпривет,мир\n".encode("cp866"))

    report = json_of(cli("ingest", path, "--dataset", "d", "--encoding", "cp866", "--json"))

    assert report["files"][0]["encoding"] == "cp866"
    assert pairs() == [("привет", "мир")]


def test_the_delimiter_can_be_given(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q\ta\none, or two, or three\tyes, no\n")

    report = json_of(cli("ingest", path, "--dataset", "d", "--delimiter", "tab", "--json"))

    assert report["files"][0]["delimiter"] == "\t"
    assert pairs() == [("one, or two, or three", "yes, no")]


def test_bytes_that_cannot_be_decoded_are_refused_or_replaced(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("q,a\n一,1\n二\xff".encode() + b"\xff,2\n")
    arguments = ("ingest", path, "--dataset", "d", "--encoding", "utf-8")

    refused = complaint(cli(*arguments))
    report = json_of(cli(*arguments, "--errors", "replace", "--json"))

    assert "line 3" in refused
    assert "0xff" in refused
    assert "--errors replace" in refused
    assert (report["added"], report["files"][0]["replaced"]) == (2, 1)
    assert pairs() == [("一", "1"), ("二\xff\ufffd", "2")]


def test_a_sheet_is_chosen_by_name(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(workbook(["q", "a"], ["first", 1], 第二=[["q", "a"], ["second", 2.5]]))

    unknown = complaint(cli("ingest", path, "--dataset", "d", "--sheet", "third"))
    report = json_of(cli("ingest", path, "--dataset", "d", "--sheet", "第二", "--json"))

    assert "'third'" in unknown
    assert "第二" in unknown
    assert report["files"][0]["kind"] == "xlsx"
    assert pairs() == [("second", "2.5")]


def test_a_document_is_cut_as_told(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Coffee\n\nGrind.\n\n%%\n\nBrew.\n\n%%\n\nDrink.\n")

    whole = json_of(cli("ingest", path, "--dataset", "d", "--collection", "whole", "--json"))
    cut = json_of(
        cli(
            "ingest",
            path,
            "--dataset",
            "d",
            "--collection",
            "cut",
            "--splitter",
            "%%",
            "--chunk-size",
            "64",
            "--json",
        )
    )

    assert (whole["added"], whole["files"][0]["kind"]) == (1, "md")
    assert cut["added"] == 3


# Modes


def keyed(tmp_path: Path, **answers: str) -> Path:
    path = tmp_path / "keyed.csv"
    path.write_text(
        "key,q,a\n" + "".join(f"{key},question {key},{answer}\n" for key, answer in answers.items())
    )
    return path


def test_append_keeps_what_is_there(cli: Cli, tmp_path: Path) -> None:
    cli("ingest", keyed(tmp_path, a="1", b="2"), "--dataset", "d")

    report = json_of(cli("ingest", keyed(tmp_path, b="2", c="3"), "--dataset", "d", "--json"))

    assert counts_of(report) == (2, 1, 0, 1, 0, 0, 1)
    assert [record["key"] for record in records()] == ["a", "b", "c"]


def test_upsert_exchanges_what_has_changed(cli: Cli, tmp_path: Path) -> None:
    cli("ingest", keyed(tmp_path, a="1", b="2"), "--dataset", "d")
    path = keyed(tmp_path, a="changed", b="2", c="3")

    report = json_of(cli("ingest", path, "--dataset", "d", "--mode", "upsert", "--json"))
    again = json_of(cli("ingest", path, "--dataset", "d", "--mode", "upsert", "--json"))

    assert counts_of(report) == (3, 1, 1, 1, 0, 0, 2)
    assert counts_of(again) == (3, 0, 0, 3, 0, 0, 0)
    assert {record["key"]: record["a"] for record in records()} == {"a": "changed", "b": "2", "c": "3"}
    assert len(records()) == 3


def test_replace_makes_the_collection_what_the_file_says(cli: Cli, tmp_path: Path) -> None:
    cli("ingest", DATA / "coffee.csv", "--dataset", "d")
    cli("ingest", keyed(tmp_path, a="1", b="2", c="3"), "--dataset", "d")
    path = keyed(tmp_path, b="2", c="changed")

    report = json_of(cli("ingest", path, "--dataset", "d", "--mode", "replace", "--json"))

    assert report["read"] == report["added"] + report["updated"] + report["unchanged"] == 2
    assert (report["unchanged"], report["removed"], report["embedded"]) == (1, 1, 1)
    kept = {record["key"]: record["a"] for record in records() if record["key"]}
    assert (kept, len(records())) == ({"b": "2", "c": "changed"}, 47)


def test_a_key_that_comes_twice_is_a_problem_of_its_row(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,q\n7,one\n8,two\n7,three\n,four\n")

    ran = cli("ingest", path, "--dataset", "d", "--q", "q", "--key", "id", "--mode", "upsert")

    assert ran.code == 0
    assert "read 4, added 2, updated 0, unchanged 0, rejected 2" in ran.out
    assert ran.err == (
        "  line 4, key: the key '7' is that of line 2 already\n  line 5, key: the key is empty\n"
    )


def test_files_of_one_name_do_not_replace_each_other(cli: Cli, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text(f"q,a\n{folder},1\n")
    arguments = ("ingest", tmp_path / "x", tmp_path / "y", "--dataset", "d")

    said = complaint(cli(*arguments, "--mode", "replace"))
    cli(*arguments)

    assert said == (
        "files of the same name would replace each other: import them one by one, each with --collection"
    )
    assert sorted(pairs()) == [("x", "1"), ("y", "1")]


# Rejected rows


def test_rejected_rows_are_mended_and_imported_again(cli: Cli, tmp_path: Path) -> None:
    path, rejects = tmp_path / "a.csv", tmp_path / "rejects.csv"
    path.write_text('q,a\n1,"one\nline"\n,"no, question"\n2,two,too many\n3,three\n')
    arguments = ("--dataset", "d", "--collection", "c")

    ran = cli("ingest", path, *arguments, "--rejects", rejects)
    with rejects.open(encoding="utf-8", newline="") as file:
        header, first, second = csv.reader(file)

    assert "read 4, added 2, updated 0, unchanged 0, rejected 2" in ran.out
    assert [line.split(":")[0] for line in ran.err.splitlines()] == ["  line 4, q", "  line 5, cell 3"]
    assert header == ["#line", "#reason", "q", "a"]
    assert first == ["4", "q: q is empty", "", "no, question"]
    assert second[0] == "5"
    assert second[2:] == ["2", "two", "too many"]

    with rejects.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, [*first[:2], "mended", first[3]], second[:4]])
    report = json_of(cli("ingest", rejects, *arguments, "--json"))

    assert counts_of(report) == (2, 2, 0, 0, 0, 0, 2)
    assert sorted(pairs()) == [("1", "one\nline"), ("2", "two"), ("3", "three"), ("mended", "no, question")]


def test_without_rejected_rows_there_is_a_header_alone(cli: Cli, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.csv"
    rejects.write_text("what was here before")

    cli("ingest", DATA / "suzume.csv", "--dataset", "d", "--rejects", rejects)

    assert rejects.read_text() == f"#line,#reason,{(DATA / 'suzume.csv').read_text().splitlines()[0]}\n"


def test_rejects_that_cannot_be_written_are_told_in_one_line(cli: Cli, tmp_path: Path) -> None:
    rejects = tmp_path / "no" / "such" / "folder.csv"

    said = complaint(cli("ingest", DATA / "suzume.csv", "--dataset", "d", "--rejects", rejects))

    assert said == f"{rejects} cannot be written: No such file or directory"
    assert len(records()) == 45


# Dry runs


def test_a_dry_run_writes_nothing_and_needs_no_dataset(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("q;a\n水温？;九十度\n;no question\n;\n".encode("gb18030"))

    ran = cli("ingest", path, "--dry-run")

    assert ran.code == 0
    summary, question, answer = ran.out.splitlines()
    assert summary.startswith(
        f"{path} (csv, gb18030, delimiter ;): 1 records, 1 rows rejected, 1 blank, some "
    )
    assert (question, answer) == ("  q: 水温？", "  a: 九十度")
    assert ran.err == "  line 3, q: q is empty\n"
    assert not cli.data_dir.exists()


def test_a_dry_run_counts_what_the_import_then_counts(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "1", "a": "x", "indexes": ["i", "j"]}\n{"a": "none"}\n\n{broken\n{"q": "2"}\n')

    (preview,) = json_of(cli("ingest", path, "--dry-run", "--json"))["files"]
    report = json_of(cli("ingest", path, "--dataset", "d", "--json"))

    assert list(preview) == [
        *("file", "kind", "encoding", "delimiter", "header", "ignored", "read", "records", "rejected"),
        *("blank", "replaced", "tokens", "seconds", "first", "problems"),
    ]
    assert (preview["read"], preview["records"], preview["rejected"]) == (4, 2, 2)
    assert (report["read"], report["added"], report["rejected"]) == (4, 2, 2)
    assert preview["problems"] == report["files"][0]["problems"]
    assert preview["first"][0]["indexes"] == ["i", "j"]
    assert preview["tokens"] > 0


@pytest.mark.parametrize(
    ("content", "encoding", "delimiter"),
    [
        pytest.param("q,a\n水温，多少？,九十度\n".encode("utf-8-sig"), "utf-8", ",", id="byte order mark"),
        pytest.param(
            "q\ta\n水温，多少？\t九十度\n".encode("utf-16"), "utf-16", "\t", id="Excel's Unicode text"
        ),
        pytest.param("q,a\n水温，多少？,九十度\n".encode("utf-16-be"), "utf-16", ",", id="no mark"),
        pytest.param("q;a\r\n水温，多少？;九十度\r\n".encode("gb18030"), "gb18030", ";", id="GBK"),
        pytest.param("q|a\r水温，多少？|九十度\r".encode(), "utf-8", "|", id="old line ends"),
    ],
)
def test_a_dry_run_tells_how_a_file_is_read(
    cli: Cli, tmp_path: Path, content: bytes, encoding: str, delimiter: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)

    (preview,) = json_of(cli("ingest", path, "--dry-run", "--json"))["files"]

    assert preview["encoding"].startswith(encoding)
    assert (preview["delimiter"], preview["header"], preview["records"]) == (delimiter, ["q", "a"], 1)
    assert (preview["first"][0]["q"], preview["first"][0]["a"]) == ("水温，多少？", "九十度")


def test_a_dry_run_of_a_bad_file_says_what_the_import_would(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,answer\n1,2\n")

    assert complaint(cli("ingest", path, "--dry-run")).startswith(
        "the header has the columns 'question', 'answer'; expected is "
    )


def test_a_dry_run_of_several_files_goes_on_after_a_bad_one(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "a.csv"
    bad.write_text("question,answer\n1,2\n")

    ran = cli("ingest", bad, DATA / "suzume.csv", "--dry-run", "--json")

    assert ran.code == 1
    assert [preview["records"] for preview in json.loads(ran.out)["files"]] == [45]
    first, last = ran.err.splitlines()
    assert first.startswith(f"{bad}: the header has the columns 'question', 'answer'")
    assert last == f"quotebase: 1 of 2 files cannot be imported: {bad}"


def test_a_dry_run_looks_at_the_vectors_too(cli: Cli, tmp_path: Path) -> None:
    vectors = tmp_path / "v.npy"
    vectors.write_bytes(b"nothing of the kind")

    said = complaint(cli("ingest", DATA / "suzume.csv", "--dry-run", "--vectors", vectors))

    assert said.startswith("v.npy cannot be read as a .npy file: ")


def test_a_dry_run_knows_the_mode(cli: Cli, tmp_path: Path) -> None:
    """What the import would say of it, in the same words, and nothing if it would say nothing."""
    path, other = tmp_path / "a.csv", tmp_path / "other" / "a.csv"
    other.parent.mkdir()
    for file in (path, other):
        file.write_text("id,q,a\n1,2,3\n")

    for options in (
        ("--mode", "upsert", "--q", "q"),
        ("--mode", "replace", "--vectors", path),
        (other, "--mode", "replace"),
    ):
        said = complaint(cli("ingest", path, *options, "--dry-run"))
        assert said == complaint(cli("ingest", path, *options, "--dataset", "d"))
    assert json_of(cli("datasets", "list", "--json")) == []

    assert cli("ingest", path, "--mode", "upsert", "--key", "id", "--q", "q", "--dry-run").code == 0


# Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four files to import, one of them bad, and three to pass over."""
    root = tmp_path / "folder"
    (root / "deeper" / "still").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "a.csv").write_text("q,a\n1,one\n")
    (root / "bad.csv").write_text("question,answer\n1,2\n")
    (root / "deeper" / "b.md").write_text("# Brewing\n\nHot water.\n")
    (root / "deeper" / "still" / "c.JSONL").write_text('{"q": "3", "a": "three"}\n')
    (root / "picture.png").write_bytes(b"\x89PNG")
    (root / ".hidden.csv").write_text("q,a\nhidden,1\n")
    (root / ".git" / "d.csv").write_text("q,a\nhidden,1\n")
    return root


def test_a_folder_is_imported_but_for_a_bad_file(cli: Cli, folder: Path) -> None:
    ran = cli("ingest", folder, "--dataset", "d")

    assert ran.code == 1
    assert [line.split(":")[0] for line in ran.out.splitlines()] == [
        f"{folder}/a.csv → d/a.csv",
        f"{folder}/deeper/b.md → d/deeper/b.md",
        f"{folder}/deeper/still/c.JSONL → d/deeper/still/c.JSONL",
    ]
    first, last = ran.err.splitlines()
    assert first.startswith(f"{folder}/bad.csv: the header has the columns 'question', 'answer'")
    assert last == f"quotebase: 1 of 4 files were not imported: {folder}/bad.csv"
    assert len(records()) == 3


def test_a_folder_with_a_bad_file_as_json(cli: Cli, folder: Path) -> None:
    ran = cli("ingest", folder, "--dataset", "d", "--json")

    report = json.loads(ran.out)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert (report["read"], report["added"]) == (3, 3)
    assert [file["state"] for file in report["files"]] == ["done", "failed", "done", "done"]
    assert "'question', 'answer'" in report["files"][1]["error"]


def test_a_folder_again_costs_nothing(cli: Cli, folder: Path, endpoint: OpenAIServer) -> None:
    (folder / "bad.csv").write_text("q,a\nmended,1\n")
    cli("ingest", folder, "--dataset", "d")
    before = len(embedded_texts(endpoint))

    report = json_of(cli("ingest", folder, "--dataset", "d", "--json"))

    assert counts_of(report) == (4, 0, 0, 4, 0, 0, 0)
    assert embedded_texts(endpoint)[before:] == ["dimension"]


def test_a_folder_of_bad_files_makes_no_dataset(cli: Cli, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / name).write_text("question,answer\n1,2\n")

    assert "'question', 'answer'" in complaint(cli("ingest", tmp_path / "folder", "--dataset", "d"))

    assert json_of(cli("datasets", "list", "--json")) == []


def test_a_folder_with_nothing_to_import_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "picture.png").write_bytes(b"\x89PNG")

    said = complaint(cli("ingest", tmp_path / "folder", "--dataset", "d"))

    assert said.startswith(f"the folder {tmp_path / 'folder'} has no file to import: .md, ")


# Jobs


def test_jobs_are_listed(filled: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "a.csv"
    bad.write_text("question,answer\n1,2\n")
    filled("ingest", bad, "--dataset", "suzume")

    done, failed = json_of(filled("jobs", "list", "--json"))
    header, first, second = filled("jobs", "list").out.splitlines()

    assert list(done)[:4] == ["id", "created", "file", "dataset"]
    assert (done["file"], done["state"], done["added"]) == (str(DATA / "suzume.csv"), "done", 45)
    assert (failed["file"], failed["state"]) == (str(bad), "failed")
    assert "'question', 'answer'" in failed["error"]
    assert header.split() == ["id", "state", "dataset", "collection", "file", "read", "rejected", "error"]
    assert first.split()[:4] == [done["id"], "done", "suzume", "suzume.csv"]
    assert second.split()[:4] == [failed["id"], "failed", "suzume", "a.csv"]


def test_the_same_import_is_one_job(filled: Cli) -> None:
    filled("ingest", DATA / "suzume.csv", "--dataset", "suzume")
    filled("ingest", DATA / "suzume.csv", "--dataset", "suzume", "--collection", "another")

    assert [job["collection"] for job in json_of(filled("jobs", "list", "--json"))] == [
        "suzume.csv",
        "another",
    ]


def test_the_list_of_jobs_needs_no_model(filled: Cli, endpoint: OpenAIServer) -> None:
    before = len(endpoint.requests)

    assert len(json_of(filled("jobs", "list", "--json"))) == 1

    assert len(endpoint.requests) == before


def test_a_job_that_is_over_stays_as_it_is(filled: Cli) -> None:
    (job,) = json_of(filled("jobs", "list", "--json"))

    assert filled("jobs", "cancel", job["id"]) == Ran(0, f"{job['id']} done\n", "")


def test_what_a_kill_left_running_is_cancelled_and_started_again(filled: Cli) -> None:
    with open_documents(Settings()) as store:
        (job,) = Jobs(store).list()
        Jobs(store).save(replace(job, report=replace(job.report, state="running")))

    assert filled("jobs", "cancel", job.id) == Ran(0, f"{job.id} cancelled\n", "")
    assert [one["state"] for one in json_of(filled("jobs", "list", "--json"))] == ["cancelled"]
    report = json_of(filled("ingest", DATA / "suzume.csv", "--dataset", "suzume", "--json"))

    assert [file["state"] for file in report["files"]] == ["done"]
    assert report["read"] == len(records()) == 45


# Export


def test_an_export_can_be_imported_again(cli: Cli, tmp_path: Path) -> None:
    source, exported = tmp_path / "a.csv", tmp_path / "exported.csv"
    source.write_text(
        'q,a,indexes,\n"a ""quoted"", one","two\nlines",first,second\n'
        "numbered,1,1. one 2. two,\n  spaced  ,=1+1,单独,\n@alone,,,\n"
    )
    cli("ingest", source, "--dataset", "one", "--collection", "c")
    before = records()

    assert cli("datasets", "export", "one", exported) == Ran(0, f"exported one to {exported}\n", "")
    cli("datasets", "delete", "one")
    report = json_of(cli("ingest", exported, "--dataset", "two", "--json"))

    assert exported.read_bytes().startswith(b"\xef\xbb\xbfq,a,indexes\r\n")
    assert (report["added"], report["rejected"]) == (4, 0)
    assert records() == before
    # Beside another cell, though an empty one, a cell is one text.
    assert before[1]["indexes"] == ("1. one 2. two",)


def test_the_samples_come_back_unchanged(filled: Cli, tmp_path: Path) -> None:
    filled("datasets", "export", "suzume", tmp_path / "exported.csv")

    arguments = ("ingest", tmp_path / "exported.csv", "--dataset", "suzume", "--collection", "suzume.csv")

    assert counts_of(json_of(filled(*arguments, "--json"))) == (45, 0, 0, 45, 0, 0, 0)


# Progress and interruptions


def test_progress_is_in_lines_where_stderr_is_no_terminal(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.output, "LOGGED_S", 0.0)
    path, rows = tmp_path / "a.csv", BATCH_RECORDS + 88
    path.write_text(table(rows))

    ran = cli("ingest", path, "--dataset", "d", "--json")

    lines = ran.err.splitlines()
    assert (ran.code, json.loads(ran.out)["added"]) == (0, rows)
    assert any(line.startswith("a.csv: ") and f", {BATCH_RECORDS} rows, " in line for line in lines)
    assert lines[-1].startswith(f"a.csv: 100%, {rows} rows, ")
    assert lines[-1].endswith(" texts/s")


def interrupted(settings: dict[str, str], data_dir: Path, path: Path, gate: Gate) -> Ran:
    """An import that gets Ctrl-C while it waits at the gate."""
    process = start(["ingest", path, "--dataset", "d", "--json"], data_dir, **settings)
    gate.wait()
    process.send_signal(signal.SIGINT)
    gate.open()
    return finish(process)


def test_an_interrupted_import_goes_on_by_the_same_command(
    cli: Cli, endpoint: OpenAIServer, tmp_path: Path
) -> None:
    path, rows = tmp_path / "a.csv", 2 * BATCH_RECORDS + 100
    path.write_text(table(rows))
    gate = Gate(endpoint)
    gate.shut(f"question {BATCH_RECORDS}\nanswer")

    ran = interrupted(cli.settings, cli.data_dir, path, gate)
    (cancelled,) = json_of(cli("jobs", "list", "--json"))
    done = len(records())
    asked = len(embedded_texts(endpoint))
    report = json_of(cli("ingest", path, "--dataset", "d", "--json"))

    assert (ran.code, ran.out) == (130, "")
    assert ran.err == (
        "quotebase: interrupted; what was committed stays, the same command goes on from there\n"
    )
    assert (cancelled["state"], cancelled["read"]) == ("cancelled", done)
    assert 0 < done < rows
    assert done % BATCH_RECORDS == 0
    assert (report["read"], report["added"], report["unchanged"]) == (rows, rows, 0)
    assert len(embedded_texts(endpoint)[asked:]) == rows - done + len(["dimension"])
    assert Counter(q for q, _ in pairs()) == Counter(questions(rows))


# The same through a server


@pytest.fixture(scope="module")
def shared_endpoint() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture(scope="module")
def gate(shared_endpoint: OpenAIServer) -> Gate:
    return Gate(shared_endpoint)


@pytest.fixture(scope="module")
def running(shared_endpoint: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("served") / "data"
    settings = {"EMBEDDING_BASE_URL": shared_endpoint.url, "EMBEDDING_MODEL": "scripted"}
    with serving(data_dir, **settings) as server:
        yield server


@pytest.fixture
def remote(running: Server, run_here: RunHere) -> Cli:
    """``quotebase`` on the directory of a running server, without the settings of its model."""
    return Cli(run_here, running.data_dir, {})


def told(ran: Ran) -> tuple[int, Any, str]:
    """What a command printed, but for ids, times and the part of a file's name that is a path."""
    if not ran.out.startswith("{"):
        return ran.code, [line.rpartition(" (")[0] or line for line in ran.out.splitlines()], ran.err
    report = json.loads(ran.out)
    del report["seconds"]
    for file in report["files"]:
        for name in ("seconds", "job", "collection_id"):
            del file[name]
    return ran.code, report, ran.err


def test_imports_through_a_server_print_the_same(cli: Cli, remote: Cli, tmp_path: Path, folder: Path) -> None:
    odd, twice, sheets = tmp_path / "odd.csv", tmp_path / "twice.csv", tmp_path / "s.xlsx"
    odd.write_bytes(ODD.encode("cp1252"))
    twice.write_bytes(b"q;a\n11;eleven;XI\n;none\n12;\xffx\n")
    sheets.write_bytes(workbook(["q"], 第二=[["q", "a"], ["second", 2.5]]))
    rejects = [tmp_path / "local.csv", tmp_path / "remote.csv"]
    commands: list[tuple[str | Path, ...]] = [
        (odd, *roles("2", "3", "4", "5", "1", "6", "7"), "--encoding", "cp1252"),
        (odd, *roles("2", "3", "4", "5", "1", "6", "7"), "--encoding", "cp1252", "--mode", "upsert"),
        (twice, "--encoding", "utf-8", "--errors", "replace", "--delimiter", ";", "--no-header"),
        (twice, "--encoding", "utf-8", "--errors", "replace", "--json"),
        (keyed(tmp_path, a="1", b="2"), "--mode", "replace", "--json"),
        (sheets, "--sheet", "第二", "--json"),
        (folder, "--json"),
        (
            folder / "deeper" / "b.md",
            "--chunk-size",
            "64",
            "--overlap",
            "8",
            "--splitter",
            "/(?=Hot)/",
            "--json",
        ),
    ]

    for command in commands:
        assert told(cli("ingest", *command, "--dataset", "d")) == told(
            remote("ingest", *command, "--dataset", "d")
        )
    for each, path in zip((cli, remote), rejects, strict=True):
        each("ingest", twice, "--errors", "replace", "--dataset", "d", "--rejects", path)
    assert rejects[0].read_bytes() == rejects[1].read_bytes() != b""
    for each, path in zip((cli, remote), rejects, strict=True):
        assert each("datasets", "export", "d", path) == Ran(0, f"exported d to {path}\n", "")
    assert rejects[0].read_bytes() == rejects[1].read_bytes() != b""
    local_jobs, remote_jobs = (json_of(each("jobs", "list", "--json")) for each in (cli, remote))
    assert [(job["state"], job["collection"]) for job in local_jobs] == [
        (job["state"], job["collection"]) for job in remote_jobs
    ]
    remote("datasets", "delete", "d")


def test_what_cannot_be_written_is_told_the_same_with_a_server(remote: Cli, tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "such" / "folder.csv"
    said = f"{nowhere} cannot be written: No such file or directory"

    assert complaint(remote("ingest", DATA / "coffee.csv", "--dataset", "w", "--rejects", nowhere)) == said
    assert complaint(remote("datasets", "export", "w", nowhere)) == said
    assert complaint(remote("datasets", "export", "nope", nowhere)).startswith(
        "there is no dataset named 'nope'"
    )
    assert complaint(remote("jobs", "cancel", "nope")).startswith("there is no job with the id 'nope'")


def test_what_the_server_refuses_to_send_leaves_no_file(running: Server, tmp_path: Path) -> None:
    path = tmp_path / "exported.csv"

    with (
        connect(running.data_dir, DirectoryInUse()) as server,
        pytest.raises(DatasetNotFound, match="'nope'"),
    ):
        server.export("nope", path)

    assert not path.exists()


def test_a_running_job_is_listed_and_cancelled_through_the_server(
    remote: Cli, running: Server, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = tmp_path / "waiting.csv", 20 * BATCH_RECORDS
    path.write_text(table(rows).replace("question", "cancelled"))
    gate.shut("cancelled 0\nanswer")
    monkeypatch.setattr(gate, "pause_s", 0.05)
    process = start(["ingest", path, "--dataset", "cancelled"], running.data_dir)
    gate.wait()

    (job,) = [job for job in json_of(remote("jobs", "list", "--json")) if job["file"] == "waiting.csv"]
    gate.open()
    cancelled, ran = remote("jobs", "cancel", job["id"]), finish(process)

    assert (job["state"], job["dataset"], job["collection"]) == ("running", "cancelled", "waiting.csv")
    assert cancelled == Ran(0, f"{job['id']} cancelled\n", "")
    read = len(records_of("cancelled"))
    assert read < rows
    assert read % BATCH_RECORDS == 0
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"quotebase: the import of {path} was cancelled after {read} rows: start it again to go on\n"
    )


def records_of(dataset: str) -> list[str]:
    with open_documents(Settings()) as store:
        (found,) = [one for one in store.list_datasets() if one.name == dataset]
        return [
            record.q
            for collection in store.list_collections(found.id)
            for record in store.list_records(collection.id, limit=10_000)
        ]


def test_an_interrupt_ends_the_import_in_the_server_too(
    remote: Cli, running: Server, gate: Gate, tmp_path: Path
) -> None:
    path, rows = tmp_path / "stopped.csv", 3 * BATCH_RECORDS
    path.write_text(table(rows).replace("question", "interrupted"))
    gate.shut(f"interrupted {BATCH_RECORDS}\nanswer")

    ran = interrupted({}, running.data_dir, path, gate)
    (job,) = [job for job in json_of(remote("jobs", "list", "--json")) if job["file"] == "stopped.csv"]
    report = json_of(remote("ingest", path, "--dataset", "d", "--json"))

    assert (ran.code, ran.out) == (130, "")
    assert "the same command goes on from there" in ran.err
    assert (job["state"], job["read"] < rows) == ("cancelled", True)
    assert (report["read"], report["added"]) == (rows, rows)
    assert len({q for q in records_of("d") if q.startswith("interrupted ")}) == rows


def test_two_processes_importing_one_file_at_once_give_each_row_once(cli: Cli, tmp_path: Path) -> None:
    """The second waits until the first has let go of the directory, and says so."""
    path = tmp_path / "rows.csv"
    path.write_text(table(300), encoding="utf-8")
    lock = lock_directory(cli.data_dir)
    arguments = ("ingest", path, "--dataset", "d", "--json")
    both = [start(arguments, cli.data_dir, **cli.settings) for _ in range(2)]
    for process in both:
        assert process.stderr
        assert process.stderr.readline().startswith("waiting for another quotebase process")
    lock.release()
    reports = [json.loads(finish(process).out) for process in both]
    assert sorted((report["added"], report["unchanged"]) for report in reports) == [(0, 300), (300, 0)]
