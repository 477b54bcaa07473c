"""The commands, run in this process over an embedding endpoint that is quick."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import ingest.refusals
from api.cli import app
from api.output import describe_differences, describe_index
from api.settings import Settings
from api.wiring import open_documents
from ingest.batches import BATCH_RECORDS
from retrieval.library import lock_directory
from retrieval.types import EmbeddedDraft, IndexDifferences, IndexStatus, PassageDraft, RecordDraft
from tests.api.commands import Cli, complaint, json_of
from tests.api.conftest import DATA
from tests.api.processes import Ran
from tests.doubles import GridEmbedder
from tests.openai_server import (
    Handler,
    OpenAIServer,
    answer,
    cut_off,
    refusal,
    well_behaved_embeddings,
)

# ingest


def test_ingest_reports_what_became_of_each_file(cli: Cli, endpoint: OpenAIServer) -> None:
    suzume, coffee = DATA / "suzume.csv", DATA / "coffee.csv"

    report = json_of(cli("ingest", suzume, coffee, "--dataset", "both", "--json"))

    counts = {
        "read": 90,
        "added": 90,
        "updated": 0,
        "unchanged": 0,
        "rejected": 0,
        "removed": 0,
        "embedded": 114,
    }
    assert list(report) == [*counts, "seconds", "files"]
    assert {name: report[name] for name in counts} == counts
    assert [file["file"] for file in report["files"]] == [str(suzume), str(coffee)]
    assert list(report["files"][0]) == [
        *("file", "dataset", "collection", "collection_id", "job", "state", "kind", "encoding", "delimiter"),
        *("ignored", *counts, "blank", "replaced", "share", "seconds", "problems", "error"),
    ]
    assert [(file["state"], file["share"]) for file in report["files"]] == [("done", 1.0)] * 2
    assert [(file["dataset"], file["collection"]) for file in report["files"]] == [
        *(("both", "suzume.csv"), ("both", "coffee.csv"))
    ]
    assert sum(len(request.body["input"]) for request in endpoint.asked("embeddings")) == 114 + 1


def test_ingest_again_adds_and_embeds_nothing(filled: Cli, endpoint: OpenAIServer) -> None:
    before = len(endpoint.requests)

    report = json_of(filled("ingest", DATA / "suzume.csv", "--dataset", "suzume", "--json"))

    assert (report["read"], report["added"], report["unchanged"], report["embedded"]) == (45, 0, 45, 0)
    # The dimension is asked for; nothing else is.
    assert [request.body["input"] for request in endpoint.requests[before:]] == [["dimension"]]


def test_ingest_says_it_in_a_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("q,a\n1,2\n,no question\n3,4\n")

    ran = cli("ingest", path, "--dataset", "d", "--collection", "my c")

    counts = "read 3, added 2, updated 0, unchanged 0, rejected 1, removed 0, embedded 2"
    assert ran.code == 0
    assert ran.out.startswith(f"{path} → d/my c: {counts} (")
    assert ran.out.count("\n") == 1
    assert ran.err == "  line 3, q: q is empty\n"


# search and ask


def test_search_prints_the_reply_of_the_http_api(filled: Cli) -> None:
    reply = json_of(filled("search", "suzume", "文字脚本的作者", "--limit", "40", "--json"))

    assert list(reply) == [
        *("list", "duration", "limit", "searchMode", "usingReRank", "similarity", "usingSimilarityFilter"),
        *("filteredBy", "rerankModel", "phrasings", "notes"),
    ]
    (quote,) = reply["list"]
    assert (quote["q"], quote["tokens"], quote["sourceName"]) == ("剧本出自何人之手？", 34, "suzume.csv")
    assert (reply["limit"], reply["similarity"]) == (40, 0.0)


def test_search_prints_quotes_for_people(filled: Cli) -> None:
    ran = filled("search", "suzume", "文字脚本的作者", "--top-k", "1")

    first, second, third = ran.out.splitlines()
    assert first.startswith("1. 0.99")
    assert first.endswith("  剧本出自何人之手？")
    assert second == "   剧本由新海诚亲自撰写，他同时写了同名小说。"
    assert third.startswith("   suzume.csv · 34 tokens · ")
    assert (ran.code, ran.err[:12]) == (0, "1 quotes in ")


def test_search_takes_similarity_inclusively(filled: Cli) -> None:
    every = json_of(filled("search", "suzume", "导演是谁", "--json"))["list"]
    second = every[1]["score"][0]["value"]

    kept = json_of(filled("search", "suzume", "导演是谁", "--similarity", str(second), "--json"))["list"]

    assert kept == every[:2]


def test_ask_answers_with_the_best_quote(filled: Cli) -> None:
    reply = json_of(filled("ask", "suzume", "文字脚本的作者", "--limit", "40", "--json"))

    assert list(reply) == ["answer", "quotes"]
    assert reply["answer"] == "剧本由新海诚亲自撰写，他同时写了同名小说。"
    assert [quote["q"] for quote in reply["quotes"]] == ["剧本出自何人之手？"]


@pytest.mark.parametrize("options", [(), ("--stream",)])
def test_ask_prints_the_answer_alone_on_stdout(
    filled: Cli, backend: OpenAIServer, options: tuple[str, ...]
) -> None:
    filled.settings["COMPLETION_BASE_URL"] = backend.url
    filled.settings["COMPLETION_MODEL"] = "scripted-model"
    backend.script(answer("剧本由", "新海诚", "撰写。"))

    ran = filled("ask", "suzume", "文字脚本的作者", "--limit", "40", *options)

    assert (ran.code, ran.out) == (0, "剧本由新海诚撰写。\n")
    assert "1. 0.99" in ran.err
    assert backend.requests[-1].body["model"] == "scripted-model"


# datasets


def test_datasets_are_listed(filled: Cli) -> None:
    (fresh,) = json_of(filled("datasets", "list", "--json"))
    filled("search", "suzume", "导演是谁")
    (row,) = json_of(filled("datasets", "list", "--json"))

    # Not searched yet, it has no files.
    assert (fresh["bytes_per_passage"], fresh["index"]) == (0, "57 flat")
    assert (fresh["parts"]["sealed"], fresh["parts"]["flat"], fresh["parts"]["disk_bytes"]) == (0, 57, 0)

    assert list(row) == [
        *("id", "name", "records", "passages", "bytes_per_passage", "index", "model", "parts")
    ]
    assert (row["name"], row["records"], row["passages"], row["model"]) == ("suzume", 45, 57, "scripted")
    assert row["index"] == "57 sealed exact"
    parts = row["parts"]
    size = parts.pop("disk_bytes")
    assert parts == {
        "passages": 57,
        "sealed": 57,
        "has_graph": False,
        "flat": 0,
        "removed": 0,
        "memory_bytes": 0,
        "is_loaded": False,
        "load_seconds": 0.0,
        "folding": None,
    }
    # fp16 vectors of 64 numbers, and what else belongs to a passage.
    assert row["bytes_per_passage"] == round(size / 57)
    assert 128 < row["bytes_per_passage"] < 256
    header, line = filled("datasets", "list").out.splitlines()
    assert header.split() == ["name", "records", "passages", "bytes_per_passage", "index", "model", "id"]
    assert line.split() == [
        *("suzume", "45", "57", str(row["bytes_per_passage"]), "57", "sealed", "exact", "scripted", row["id"])
    ]


def test_the_list_needs_no_model(filled: Cli, endpoint: OpenAIServer) -> None:
    before = len(endpoint.requests)

    assert len(json_of(filled("datasets", "list", "--json"))) == 1

    assert len(endpoint.requests) == before


def test_datasets_are_listed_while_another_process_has_the_directory(filled: Cli, tmp_path: Path) -> None:
    free = json_of(filled("datasets", "list", "--json"))
    # Of a server that was killed.
    (tmp_path / "data" / "server.json").write_text('{"url": "http://127.0.0.1:9", "token": "t", "pid": 1}')
    lock = lock_directory(tmp_path / "data")
    try:
        assert json_of(filled("datasets", "list", "--json")) == free
    finally:
        lock.release()


def test_without_datasets_the_list_is_empty(cli: Cli) -> None:
    assert json_of(cli("datasets", "list", "--json")) == []
    assert cli("datasets", "list").out.split() == [
        *("name", "records", "passages", "bytes_per_passage", "index", "model", "id")
    ]


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (IndexStatus(0, 0, False, 0, 0, 0, 0, False, 0.0, None), "0 flat"),
        (IndexStatus(7, 0, False, 7, 0, 0, 0, True, 0.0, None), "7 flat"),
        (IndexStatus(7, 7, False, 0, 0, 0, 0, True, 0.0, None), "7 sealed exact"),
        (IndexStatus(7, 7, True, 0, 0, 0, 0, True, 0.0, 0.0), "7 sealed in a graph, folding 0%"),
        (
            IndexStatus(7, 6, True, 3, 2, 0, 0, True, 0.0, 0.256),
            "6 sealed in a graph, 3 flat, 2 removed, folding 26%",
        ),
    ],
)
def test_an_index_in_words(index: IndexStatus, said: str) -> None:
    assert describe_index(index) == said


def test_tables_cut_nothing(cli: Cli) -> None:
    name = "a rather long note of what this key is for " * 8
    key = json_of(cli("keys", "create", "--datasets", "--name", name, "--json"))

    table = cli("keys", "list").out

    assert key["id"] in table
    assert name.strip() in table
    assert key["created_at"] in table


def test_datasets_are_deleted_by_name(filled: Cli) -> None:
    assert filled("datasets", "delete", "suzume") == Ran(0, "deleted suzume\n", "")

    assert json_of(filled("datasets", "list", "--json")) == []
    assert json_of(filled("jobs", "list", "--json")) == []


def test_verify_says_what_it_found(filled: Cli) -> None:
    report = json_of(filled("datasets", "verify", "--json"))

    assert report == {
        "clean": True,
        "repaired_batches": 0,
        "orphans_removed": 0,
        "differences": {},
        "text_differences": {},
        "passages": {"suzume": 57},
    }
    assert filled("datasets", "verify") == Ran(0, "suzume: 57 passages\nclean\n", "")


def lose_a_record() -> int:
    """Delete one behind the back of its index; the passages that it had."""
    with open_documents(Settings()) as store:
        (dataset,) = store.list_datasets()
        (collection,) = store.list_collections(dataset.id)
        (record,) = store.list_records(collection.id, limit=1)
        own = store.records_in(dataset.id, [record.id])
        passages = len(store.passage_ids_of(own))
        store.delete_records(own)
    return passages


def add_behind_its_back() -> None:
    """A record that no index has been told of."""
    with open_documents(Settings()) as store:
        (dataset,) = store.list_datasets()
        (collection,) = store.list_collections(dataset.id)
        embedding = np.full((1, 64), 0.125, dtype=np.float16)
        passages = (PassageDraft("late", is_default=True),)
        store.add_records(collection, [EmbeddedDraft(RecordDraft("late"), 1, passages, embedding)])


def test_what_the_store_did_alone_is_caught_up_with(filled: Cli) -> None:
    """The store says what happened after the snapshot: no difference to tell of."""
    filled("search", "suzume", "导演是谁")
    gone = lose_a_record()
    add_behind_its_back()

    assert filled("datasets", "verify") == Ran(0, f"suzume: {58 - gone} passages\nclean\n", "")


def test_verify_mends_a_damaged_snapshot_and_says_so(filled: Cli, tmp_path: Path) -> None:
    before = json_of(filled("search", "suzume", "导演是谁", "--json"))["list"]
    (codes,) = (tmp_path / "data" / "indexes").glob("*/*.codes")
    content = bytearray(codes.read_bytes())
    content[len(content) // 2] ^= 1
    codes.write_bytes(content)

    ran = filled("datasets", "verify")

    first, last = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert first.startswith("suzume: 57 passages, not in its index as in the store (")
    assert "snapshot: " in first
    assert first.endswith("): the index is made again")
    assert last == "0 half-written batches and 0 orphans mended"
    assert filled("datasets", "verify").out == "suzume: 57 passages\nclean\n"
    assert json_of(filled("search", "suzume", "导演是谁", "--json"))["list"] == before


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (IndexDifferences(missing=1), "1 missing"),
        (
            IndexDifferences(1, 2, 3, 4, "cut off"),
            "1 missing, 2 surplus, 3 misfiled, 4 changed, snapshot: cut off",
        ),
        (IndexDifferences(surplus=2, changed=1), "2 surplus, 1 changed"),
        (IndexDifferences(snapshot="cut off"), "snapshot: cut off"),
    ],
)
def test_differences_in_words(found: IndexDifferences, said: str) -> None:
    assert describe_differences(found, "its index") == (
        f", not in its index as in the store ({said}): the index is made again"
    )


def test_an_index_is_rebuilt_by_name(filled: Cli, endpoint: OpenAIServer) -> None:
    before = json_of(filled("search", "suzume", "导演是谁", "--json"))["list"]
    asked = len(endpoint.requests)

    assert filled("datasets", "rebuild", "suzume") == Ran(0, "suzume: 57 passages, 57 sealed exact\n", "")
    status = json_of(filled("datasets", "rebuild", "suzume", "--json"))

    assert len(endpoint.requests) == asked
    assert list(status) == [field.name for field in fields(IndexStatus)]
    assert (status["passages"], status["sealed"], status["flat"], status["removed"]) == (57, 57, 0, 0)
    assert json_of(filled("search", "suzume", "导演是谁", "--json"))["list"] == before


def test_a_rebuild_mends_a_damaged_snapshot(filled: Cli, tmp_path: Path) -> None:
    filled("search", "suzume", "导演是谁")
    (codes,) = (tmp_path / "data" / "indexes").glob("*/*.codes")
    codes.write_bytes(codes.read_bytes()[:-1])

    assert filled("datasets", "rebuild", "suzume").out == "suzume: 57 passages, 57 sealed exact\n"

    assert filled("datasets", "verify").out == "suzume: 57 passages\nclean\n"


# Ready-made embeddings and JSONL


def beside(tmp_path: Path, table: str, *texts: str, name: str = "t.csv") -> tuple[Path, Path]:
    """A table and a file of vectors, a distinct one for each text."""
    (tmp_path / name).write_text(table)
    np.save(tmp_path / "v.npy", GridEmbedder().embed_passages(texts))
    return tmp_path / name, tmp_path / "v.npy"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("t.csv", "q,a,indexes\nq1,a1,x\n,refused,\nq2,,\n"),
        ("t.jsonl", '{"q": "q1", "a": "a1", "indexes": ["x"]}\n{"a": "refused"}\n{"q": "q2"}\n'),
    ],
)
def test_ingest_takes_ready_made_vectors(
    cli: Cli, endpoint: OpenAIServer, tmp_path: Path, name: str, table: str
) -> None:
    path, vectors = beside(tmp_path, table, "q1\na1", "x", "out", "q2", name=name)
    options = ("--dataset", "d", "--vectors", vectors, "--json")

    first, second = (json_of(cli("ingest", path, *options)) for _ in range(2))

    counts = ("read", "added", "unchanged", "rejected", "embedded")
    assert [first[count] for count in counts] == [3, 2, 0, 1, 0]
    assert [second[count] for count in counts] == [3, 0, 2, 1, 0]
    # The dimension is asked for; nothing else is.
    assert [request.body["input"] for request in endpoint.requests] == [["dimension"]] * 2
    (row,) = json_of(cli("datasets", "list", "--json"))
    assert (row["records"], row["passages"]) == (2, 3)


def test_ingest_takes_csv_and_jsonl_together(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "q1", "a": "a1"}\n')

    report = json_of(cli("ingest", DATA / "suzume.csv", path, "--dataset", "d", "--json"))

    assert [file["added"] for file in report["files"]] == [45, 1]


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (
            np.ones((1, 64)),
            "v.npy has 1 vectors and the table 2 texts: give one for each text of each row, in order",
        ),
        (
            np.ones((3, 64)),
            "v.npy has 3 vectors and the table 2 texts: give one for each text of each row, in order",
        ),
        (np.ones((2, 63)), "v.npy has vectors of 63 numbers, the dataset takes 64: make them with its model"),
        (np.eye(2, 64)[::-1] * [[1], [0]], "vector 2 of v.npy is zero or not finite: it has no direction"),
        (np.ones(2), "v.npy is no .npy file of rows of floating-point numbers: save it with numpy.save"),
        (
            np.ones((2, 64), int),
            "v.npy is no .npy file of rows of floating-point numbers: save it with numpy.save",
        ),
    ],
)
def test_vectors_that_do_not_fit_are_told_in_one_line(
    filled: Cli, tmp_path: Path, vectors: np.ndarray, said: str
) -> None:
    path, file = beside(tmp_path, "q,a\nq1,a1\nq2,a2\n", "placeholder")
    np.save(file, vectors)
    before = json_of(filled("datasets", "list", "--json"))

    assert complaint(filled("ingest", path, "--dataset", "suzume", "--vectors", file)).startswith(said)

    assert json_of(filled("datasets", "list", "--json")) == before


@pytest.mark.parametrize("content", [b"", b"q,a\n", None])
def test_vectors_that_cannot_be_read_are_told_in_one_line(
    filled: Cli, tmp_path: Path, content: bytes | None
) -> None:
    path, file = beside(tmp_path, "q,a\nq1,a1\n", "placeholder")
    file.unlink()
    if content is not None:
        file.write_bytes(content)

    said = complaint(filled("ingest", path, "--dataset", "suzume", "--vectors", file))

    assert said.startswith("v.npy cannot be read")


def test_vectors_that_do_not_fit_make_no_dataset(filled: Cli, tmp_path: Path) -> None:
    path, file = beside(tmp_path, "q,a\nq1,a1\n", "one", "two")

    assert "2 vectors" in complaint(filled("ingest", path, "--dataset", "fresh", "--vectors", file))

    assert [row["name"] for row in json_of(filled("datasets", "list", "--json"))] == ["suzume"]


def test_a_broken_first_object_makes_no_dataset(filled: Cli, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("q,a\n")

    assert "line 1: broken JSON" in complaint(filled("ingest", path, "--dataset", "fresh"))

    assert [row["name"] for row in json_of(filled("datasets", "list", "--json"))] == ["suzume"]


# apps and keys


def test_an_app_is_made_listed_and_deleted(filled: Cli) -> None:
    made = json_of(
        filled(
            *("apps", "create", "film", "--dataset", "suzume", "--system-prompt", "be brief", "--json"),
            *("--limit-prompt", "be kind", "--model", "m", "--temperature", "0.5", "--max-tokens", "99"),
            *("--similarity", "0.25", "--limit", "300", "--empty-reply", "nothing"),
        )
    )
    (dataset,) = json_of(filled("datasets", "list", "--json"))

    (listed,) = json_of(filled("apps", "list", "--json"))

    expected = {
        "name": "film",
        "dataset_ids": [dataset["id"]],
        "system_prompt": "be brief",
        "limit_prompt": "be kind",
        "model": "m",
        "temperature": 0.5,
        "max_tokens": 99,
        "similarity": 0.25,
        "limit": 300,
        "empty_reply": "nothing",
    }
    assert {name: made[name] for name in expected} == expected
    assert listed == {**made, "datasets": "suzume"}
    assert filled("apps", "delete", "film") == Ran(0, "deleted film\n", "")
    assert json_of(filled("apps", "list", "--json")) == []


def test_a_key_is_made_listed_and_revoked(filled: Cli) -> None:
    filled("apps", "create", "film", "--dataset", "suzume")
    (app_row,) = json_of(filled("apps", "list", "--json"))
    (dataset,) = json_of(filled("datasets", "list", "--json"))

    made = [
        json_of(filled("keys", "create", *options, "--name", "note", "--json"))
        for options in (("--app", "film"), ("--datasets",), ("--dataset", "suzume"), ("--admin",))
    ]

    assert [list(key) for key in made] == [
        [*("id", "kind", "name", "prefix", "created_at", "app_id", "dataset_ids", "capabilities", "key")]
    ] * 4
    assert [(key["kind"], key["app_id"], key["dataset_ids"]) for key in made] == [
        ("app", app_row["id"], []),
        ("dataset", "", []),
        ("dataset", "", [dataset["id"]]),
        ("admin", "", []),
    ]
    secrets = [key.pop("key") for key in made]
    for key, may in zip(made, ("chat", *["search, write, export"] * 3), strict=True):
        key |= {"may": may, "last_used_at": ""}
    assert json_of(filled("keys", "list", "--json")) == made
    assert filled("keys", "revoke", made[0]["id"]) == Ran(0, f"revoked {made[0]['id']}\n", "")
    assert json_of(filled("keys", "list", "--json")) == made[1:]
    with open_documents(Settings()) as store:
        assert not [secret for secret in secrets if secret in repr(store.list_documents("key"))]


def test_a_key_is_printed_alone(cli: Cli) -> None:
    ran = cli("keys", "create", "--admin")

    assert ran.code == 0
    assert ran.out.startswith("qb-admin-")
    assert ran.out.count("\n") == 1
    assert ran.err == "keep it: only its hash is stored, it cannot be shown again\n"


# What is wrong is said in one line

TWO = (str(DATA / "suzume.csv"), str(DATA / "coffee.csv"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            ("search", "nope", "x"),
            "there is no dataset named 'nope' (there are: suzume): create it by importing a file into it",
            id="unknown dataset",
        ),
        pytest.param(
            ("ask", "nope", "x"),
            "there is no dataset named 'nope' (there are: suzume): create it by importing a file into it",
            id="unknown dataset to ask",
        ),
        pytest.param(
            ("datasets", "delete", "nope"),
            "there is no dataset named 'nope' (there are: suzume): create it by importing a file into it",
            id="unknown dataset to delete",
        ),
        pytest.param(
            ("search", "suzume", ""),
            "the question is empty: give some text to search for",
            id="empty query",
        ),
        pytest.param(
            ("ask", "suzume", " "), "the last message has no text to search with", id="empty question"
        ),
        pytest.param(
            ("search", "suzume", "x", "--similarity", "1.5"),
            "similarity is 1.5, it must be from 0 to 1",
            id="similarity above 1",
        ),
        pytest.param(
            ("ask", "suzume", "x", "--similarity", "1.5"),
            "similarity is 1.5, it must be from 0 to 1",
            id="similarity above 1 to ask",
        ),
        pytest.param(
            ("search", "suzume", "x", "--limit", "0"),
            "limit is 0 tokens, it must be from 1 to 20000",
            id="limit 0",
        ),
        pytest.param(
            ("search", "suzume", "x", "--top-k", "0"), "topK is 0, it must be at least 1", id="top_k 0"
        ),
        pytest.param(
            ("ingest", "no such.csv", "--dataset", "suzume"),
            "there is no file no such.csv",
            id="missing file",
        ),
        pytest.param(
            ("ingest", *TWO, "--dataset", "suzume", "--collection", "c"),
            "--collection takes one file: import the files one by one, or leave it out",
            id="two files into one collection",
        ),
        pytest.param(
            ("ingest", *TWO, "--dataset", "suzume", "--vectors", "c"),
            "--vectors takes one file: import the files one by one, or leave it out",
            id="two files with one file of vectors",
        ),
        pytest.param(
            ("ingest", *TWO, "--dataset", "suzume", "--rejects", "c"),
            "--rejects takes one file: import the files one by one, or leave it out",
            id="two files with one file of rejected rows",
        ),
        pytest.param(
            ("ingest", TWO[0]),
            "no dataset was named: give --dataset, or --dry-run",
            id="no dataset",
        ),
        pytest.param(
            ("ingest", TWO[0], "--dataset", "suzume", "--mode", "upsert", "--vectors", "v.npy"),
            "ready-made embeddings can be appended only: upsert takes none",
            id="vectors that are not appended",
        ),
        pytest.param(
            ("datasets", "export", "nope", "a.csv"),
            "there is no dataset named 'nope' (there are: suzume): create it by importing a file into it",
            id="unknown dataset to export",
        ),
        pytest.param(
            ("datasets", "export", "suzume", "/no/such/folder/a.csv"),
            "/no/such/folder/a.csv cannot be written: No such file or directory",
            id="nowhere to export to",
        ),
        pytest.param(
            ("jobs", "cancel", "nope"),
            "there is no job with the id 'nope': `quotebase jobs list` has those there are",
            id="unknown job",
        ),
        pytest.param(
            ("datasets", "rebuild", "nope"),
            "there is no dataset named 'nope' (there are: suzume): create it by importing a file into it",
            id="unknown dataset to rebuild",
        ),
        pytest.param(
            ("apps", "create", "x", "--dataset", "nope"),
            "there is no dataset named 'nope' (there are: suzume): create it by importing a file into it",
            id="app over an unknown dataset",
        ),
        pytest.param(
            ("apps", "create", " ", "--dataset", "suzume"), "an app needs a name", id="app without a name"
        ),
        pytest.param(
            ("apps", "create", "x", "--temperature", "3"),
            "temperature is 3.0, it must be from 0 to 2",
            id="temperature 3",
        ),
        pytest.param(
            ("apps", "create", "x"),
            "an app needs a dataset to answer from: name at least one",
            id="app without a dataset",
        ),
        pytest.param(
            ("apps", "create", "x", "--max-tokens", "0"),
            "maxTokens is 0, it must be from 1 to 2147483647",
            id="maxTokens 0",
        ),
        pytest.param(
            ("apps", "delete", "nope"),
            "there is no app named 'nope' (there are: none yet)",
            id="unknown app",
        ),
        pytest.param(
            ("keys", "create", "--app", "nope"),
            "there is no app named 'nope' (there are: none yet)",
            id="key to an unknown app",
        ),
        pytest.param(
            ("keys", "create"),
            "say what the key is for: --app NAME, --datasets, --dataset NAME, or --admin",
            id="key to nothing",
        ),
        pytest.param(
            ("keys", "create", "--admin", "--datasets"),
            "say what the key is for: --app NAME, --datasets, --dataset NAME, or --admin",
            id="key to two things",
        ),
        pytest.param(
            ("keys", "revoke", "nope"),
            "there is no key with the id 'nope': see the ids with quotebase keys list",
            id="unknown key",
        ),
    ],
)
def test_bad_input_is_told_in_one_line(filled: Cli, arguments: tuple[str, ...], said: str) -> None:
    assert complaint(filled(*arguments)) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"\x89PNG\r\n\x1a\n\x00\x00",
            "{} is a binary file, no table: save it as CSV, JSONL or XLSX",
        ),
        (
            b"question,answer\n1,2\n",
            "the header has the columns 'question', 'answer'; expected is q,a  or  q,a,indexes  or  index,content, "
            "with columns key and tags if wanted: rename or remove columns, or say which is which by --q, --a, "
            "--index, --key, --tags and --meta",
        ),
    ],
)
def test_bad_file_is_told_in_one_line(filled: Cli, tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)

    assert complaint(filled("ingest", path, "--dataset", "suzume")).startswith(said.format(path))


def test_messages_of_many_lines_become_one(filled: Cli) -> None:
    assert complaint(filled("ingest", "a\nb\r\n\nc", "--dataset", "suzume")) == "there is no file a b  c"


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "\udcff", "x"),
        ("ingest", "\udcd6.csv", "--dataset", "d"),
        ("keys", "create", "--name", "\udcff"),
    ],
)
def test_an_argument_that_is_no_text_is_told_in_one_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert complaint(cli(*arguments)).endswith(" is not UTF-8: give it, and name the file, in UTF-8")


def test_an_app_takes_a_name_once(filled: Cli) -> None:
    filled("apps", "create", "film", "--dataset", "suzume")

    assert complaint(filled("apps", "create", "film", "--dataset", "suzume")) == (
        "there is an app named 'film' already: choose another name"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "suzume", "x"),
        ("ask", "suzume", "x"),
        ("ingest", DATA / "suzume.csv", "--dataset", "suzume"),
    ],
)
def test_a_dataset_of_another_model_is_told_in_one_line(filled: Cli, arguments: tuple[str, ...]) -> None:
    filled.settings["EMBEDDING_MODEL"] = "another"

    said = complaint(filled(*arguments))

    assert said.startswith("dataset 'suzume' was made with the embedding model scripted (64 dimensions, ")
    assert "and this process runs another (64 dimensions, " in said
    assert "set QUOTEBASE_EMBEDDING_MODEL to the model of the dataset" in said


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("PORT", "many", "the setting QUOTEBASE_PORT is not usable: Input should be a valid integer"),
        ("PORT", "65536", "the setting QUOTEBASE_PORT is not usable: Input should be less than or equal"),
        ("LOG_LEVEL", "loud", "the setting QUOTEBASE_LOG_LEVEL is not usable: "),
        (
            "INDEX_MEMORY",
            "0",
            "the setting QUOTEBASE_INDEX_MEMORY is not usable: Input should be greater than 0",
        ),
        ("INDEX_MEMORY", "-1GiB", "the setting QUOTEBASE_INDEX_MEMORY is not usable: "),
        ("INDEX_MEMORY", "plenty", "the setting QUOTEBASE_INDEX_MEMORY is not usable: "),
        ("EMBEDDING_MAX_TOKENS", "1", "the setting QUOTEBASE_EMBEDDING_MAX_TOKENS is not usable: "),
        ("COMPLETION_TIMEOUT_S", "0", "the setting QUOTEBASE_COMPLETION_TIMEOUT_S is not usable: "),
    ],
)
def test_a_bad_setting_is_told_by_its_name(cli: Cli, setting: str, value: str, said: str) -> None:
    cli.settings[setting] = value

    assert complaint(cli("datasets", "list")).startswith(said)


def test_an_endpoint_that_refuses_is_told_in_one_line(filled: Cli, endpoint: OpenAIServer) -> None:
    endpoint.script(refusal(401, "wrong\nkey"))

    said = complaint(filled("search", "suzume", "x"))

    assert said.startswith(f"the embedding endpoint failed: {endpoint.url} answered 401: ")
    assert "wrong key" in said
    assert "QUOTEBASE_EMBEDDING_API_KEY" in said


def test_a_backend_that_refuses_is_told_in_one_line(filled: Cli, backend: OpenAIServer) -> None:
    filled.settings["COMPLETION_BASE_URL"] = backend.url
    backend.script(refusal(401, "wrong key"))

    said = complaint(filled("ask", "suzume", "x"))

    assert said.startswith(f"the completion backend failed: {backend.url} answered 401: ")
    assert "QUOTEBASE_COMPLETION_API_KEY" in said


def test_a_backend_that_breaks_off_leaves_what_was_printed(filled: Cli, backend: OpenAIServer) -> None:
    filled.settings["COMPLETION_BASE_URL"] = backend.url
    backend.script(cut_off("half an ", "ans"))

    ran = filled("ask", "suzume", "x", "--stream")

    assert (ran.code, ran.out) == (1, "half an ans")
    assert ran.err.startswith("quotebase: the completion backend failed: ")


def test_an_import_that_fails_says_how_far_it_came(
    cli: Cli, endpoint: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest.refusals, "WAITS_S", ())
    path, rows = tmp_path / "a.csv", BATCH_RECORDS + 88
    path.write_text("q,a\n" + "".join(f"question {number},\n" for number in range(rows)))
    cli("ingest", DATA / "suzume.csv", "--dataset", "d")
    asked = len(endpoint.requests)

    def refuse_the_last(handler: Handler, body: Any) -> None:
        """From the second batch on, and then a plain text, too."""
        refused = {"quotebase", *(f"question {number}" for number in range(BATCH_RECORDS, rows))}
        (refusal(401) if refused & set(body["input"]) else well_behaved_embeddings)(handler, body)

    endpoint.script(*[refuse_the_last] * 100)

    said = complaint(cli("ingest", path, "--dataset", "d"))

    endpoint.script_anew()
    assert said.endswith(
        f"{BATCH_RECORDS} rows of {path} are done and safe; start the same import again to go on"
    )
    report = json_of(cli("ingest", path, "--dataset", "d", "--json"))
    assert (report["read"], report["added"], report["unchanged"], report["embedded"]) == (rows, rows, 0, rows)
    assert len(endpoint.requests) > asked


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "suzume", "x"),
        ("ask", "suzume", "x"),
        ("datasets", "delete", "suzume"),
        ("datasets", "verify"),
        ("datasets", "rebuild", "suzume"),
        ("serve", "--port", "0"),
    ],
)
def test_a_directory_that_another_process_has_is_told_in_one_line(
    filled: Cli, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    lock = lock_directory(tmp_path / "data")
    try:
        assert complaint(filled(*arguments)) == (
            f"the data directory {tmp_path / 'data'} is in use by another quotebase process: stop that one, or set "
            "QUOTEBASE_DATA_DIR to another directory"
        )
    finally:
        lock.release()


def test_what_a_dead_server_left_behind_does_not_mislead(filled: Cli, tmp_path: Path) -> None:
    (tmp_path / "data" / "server.json").write_text('{"url": "http://127.0.0.1:9", "token": "t", "pid": 1}')
    assert filled("search", "suzume", "x").code == 0

    lock = lock_directory(tmp_path / "data")
    try:
        assert "is in use by another quotebase process" in complaint(filled("search", "suzume", "x"))
        (tmp_path / "data" / "server.json").write_text("{broken")
        assert "is in use by another quotebase process" in complaint(filled("search", "suzume", "x"))
    finally:
        lock.release()


# Bad usage


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nope",),
        ("search",),
        ("search", "suzume"),
        ("search", "suzume", "x", "--limit", "many"),
        ("search", "suzume", "x", "--nope"),
        ("ingest",),
        ("ingest", "a.csv", "--dataset", "d", "--mode", "merge"),
        ("ingest", "a.csv", "--dataset", "d", "--errors", "ignore"),
        ("ingest", "a.csv", "--dataset", "d", "--chunk-size", "big"),
        ("datasets",),
        ("datasets", "export"),
        ("datasets", "export", "suzume"),
        ("jobs",),
        ("jobs", "cancel"),
        ("datasets", "nope"),
        ("datasets", "rebuild"),
        ("keys", "revoke"),
        ("serve", "--port", "65536"),
        ("serve", "--port", "-1"),
    ],
)
def test_bad_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, list(arguments)).exit_code == 2


def test_help_exits_with_0() -> None:
    ran = CliRunner().invoke(app, ["--help"])

    assert ran.exit_code == 0
    assert all(command in ran.output for command in ("ingest", "search", "ask", "serve", "datasets"))


def test_a_file_that_cannot_be_imported_makes_no_dataset(filled: Cli, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("question,answer\nq,a\n")
    assert "'question', 'answer'" in complaint(filled("ingest", str(path), "--dataset", "fresh"))
    assert "fresh" not in filled("datasets", "list").out
