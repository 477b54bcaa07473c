"""``quotebase search`` with all its options, on the directory itself and through the server that holds it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.store.sqlite import SqliteStore
from tests.api.commands import Cli, complaint, json_of
from tests.api.processes import Ran, serving
from tests.openai_server import OpenAIServer, answer, openai_server

FIRST = "What is the price of the steel kettle?"
SECOND = "Is the steel kettle guaranteed?"
THIRD = "Which jug is of glass?"


@pytest.fixture
def search(cli: Cli, tmp_path: Path) -> Callable[..., Ran]:
    """``search tea …`` over two collections, the second tagged ``glass``."""
    kettles = tmp_path / "kettles.csv"
    kettles.write_text(f"q,a\n{FIRST},Twelve.\n{SECOND},For ten years.\n{THIRD},The large one.\n")
    assert cli("ingest", kettles, "--dataset", "tea").code == 0
    store = SqliteStore(cli.data_dir / "quotebase.sqlite")
    dataset = store.find_dataset("tea")
    assert dataset
    store.create_collection(dataset.id, "tagged", ["glass", "new"])
    store.close()
    jugs = tmp_path / "jugs.csv"
    jugs.write_text("q,a\nWhat is the price of the glass jug?,Nine.\n")
    assert cli("ingest", jugs, "--dataset", "tea", "--collection", "tagged").code == 0
    return lambda *arguments: cli("search", "tea", *arguments)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """For reranking and completion."""
    with openai_server() as running:
        yield running


def questions(ran: Ran) -> list[str]:
    return [quote["q"] for quote in json_of(ran)["list"]]


@pytest.mark.parametrize("mode", ["embedding", "fullTextRecall", "mixedRecall"])
def test_mode(search: Callable[..., Ran], mode: str) -> None:
    reply = json_of(search(FIRST, "--mode", mode, "--json"))

    assert reply["searchMode"] == mode
    assert reply["list"][0]["q"] == FIRST
    kinds = {"embedding": "embedding", "fullTextRecall": "fullText", "mixedRecall": "rrf"}
    assert {quote["score"][0]["type"] for quote in reply["list"]} == {kinds[mode]}


def test_tags_and_sources(search: Callable[..., Ran]) -> None:
    assert questions(search("price", "--tag", "glass", "--json")) == ["What is the price of the glass jug?"]
    assert questions(search("price", "--tag", "glass", "--tag", "new", "--json")) != []
    assert questions(search("price", "--tag", "glass", "--tag", "old", "--json")) == []
    assert len(questions(search("price", "--per-source", "1", "--similarity", "0", "--json"))) == 2
    assert len(questions(search("price", "--mode", "fullTextRecall", "--top-k", "1", "--json"))) == 1


def test_weight_and_fusion(search: Callable[..., Ran]) -> None:
    options = ("steel kettle", "--mode", "mixedRecall", "--explain", "--json")

    joined = json_of(search(*options, "--embedding-weight", "0.75", "--fusion", "ranks"))

    parts = [part for one in joined["explain"]["candidates"] for part in one["parts"]]
    assert {part["weight"] for part in parts} == {0.75, 0.25}
    assert {part["normalised"] for part in parts} <= {1 / (61 + rank) for rank in range(4)}
    assert joined["explain"]["candidates"][0]["score"][0]["value"] < 0.02


def test_explain_says_it_in_a_table(search: Callable[..., Ran]) -> None:
    ran = search(FIRST, "--mode", "mixedRecall", "--top-k", "1", "--explain", "--similarity", "0")

    quotes, _, table = ran.out.partition("\n\n")
    assert quotes.startswith("1. 1.0000  ")
    header, first, second, *_ = table.splitlines()
    assert header.split() == ["decision", "score", "from", "q"]
    assert first.split()[:3] == ["1", "kept", "1.0000"]
    assert "0.5 × 1.0000 (embedding 0." in first
    assert " + 0.5 × 1.0000 (fullText " in first
    assert "rank 1: what is the price of steel kettl)" in first
    assert second.split()[:2] == ["2", "topK:"]
    assert "topK: 1 quotes are better" in second
    assert (ran.code, ran.err[:12]) == (0, "1 quotes in ")


def test_why(search: Callable[..., Ran]) -> None:
    every = json_of(search("steel kettle", "--similarity", "0", "--json"))["list"]
    last = every[-1]["id"]

    dropped = search("steel kettle", "--top-k", "1", "--similarity", "0", "--why", last)
    unknown = search("steel kettle", "--why", "0" * 24)
    filtered = search("steel kettle", "--tag", "glass", "--why", every[0]["id"])
    there = json_of(search("steel kettle", "--why", last, "--json"))

    lines = dropped.out.partition("\n\n")[2].splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["kept", "topK:"]
    assert unknown.out.splitlines()[-1].startswith(f"{'0' * 24} was not looked at: there is no record ")
    assert filtered.out.splitlines()[-1] == (
        f"{every[0]['id']} was not looked at: its collection 'kettles.csv' does not match the filter"
    )
    assert last in {one["id"] for one in there["explain"]["candidates"]}
    assert there["explain"]["absent"] == ""


def relevance(handler: Any, body: Any) -> None:
    """Of guarantees."""
    results = [
        {"index": place, "relevance_score": 0.9 if "guarantee" in document else 0.1}
        for place, document in enumerate(body["documents"])
    ]
    handler.send_json({"results": results})


def test_rerank(search: Callable[..., Ran], cli: Cli, server: OpenAIServer) -> None:
    plain = search("price", "--rerank", "--json")
    cli.settings |= {"RERANK_URL": f"{server.url}/rerank", "RERANK_MODEL": "scripted-reranker"}
    server.script(relevance)

    reply = json_of(search("price", "--rerank", "--rerank-weight", "1", "--similarity", "0.5", "--json"))

    assert [quote["q"] for quote in reply["list"]] == [SECOND]
    assert (reply["rerankModel"], reply["filteredBy"]) == ("scripted-reranker", "reRank")
    assert json_of(plain)["notes"] == [
        "nothing was reranked: set QUOTEBASE_RERANK_MODEL or QUOTEBASE_RERANK_URL"
    ]


def test_extend(search: Callable[..., Ran], cli: Cli, server: OpenAIServer) -> None:
    unextended = search("cost", "--extend", "--mode", "fullTextRecall")
    cli.settings |= {"COMPLETION_BASE_URL": server.url, "COMPLETION_MODEL": "scripted"}
    server.script(answer('["cost", "price"]'), answer('["cost", "price"]'))

    reply = json_of(search("cost", "--extend", "--mode", "fullTextRecall", "--json"))
    asked = json_of(search("cost", "--background", "a tea shop", "--json"))

    assert reply["phrasings"] == asked["phrasings"] == ["cost", "price"]
    assert FIRST in {quote["q"] for quote in reply["list"]}
    assert "a tea shop" in str(server.asked("chat/completions")[1].body["messages"])
    assert unextended.code == 0
    assert unextended.err.startswith("the question was searched as it is: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--embedding-weight", "2"), "embeddingWeight is 2.0, it must be from 0 to 1"),
        (("--rerank-weight", "-1"), "rerankWeight is -1.0, it must be from 0 to 1"),
        (("--per-source", "0"), "perSource is 0, it must be at least 1"),
    ],
)
def test_values_out_of_range(search: Callable[..., Ran], options: tuple[str, ...], said: str) -> None:
    assert complaint(search("x", *options)) == said


@pytest.mark.parametrize("options", [("--mode", "both"), ("--fusion", "votes")])
def test_bad_usage(search: Callable[..., Ran], options: tuple[str, ...]) -> None:
    assert search("x", *options).code == 2


def test_a_server_answers_as_the_directory_does(
    search: Callable[..., Ran], cli: Cli, server: OpenAIServer
) -> None:
    """Each option goes through it."""
    cli.settings |= {
        "RERANK_URL": f"{server.url}/rerank",
        "COMPLETION_BASE_URL": server.url,
        "COMPLETION_MODEL": "scripted",
    }
    record_id = json_of(search("jug", "--json"))["list"][0]["id"]
    commands = [
        ("steel kettle", "--mode", "mixedRecall", "--embedding-weight", "0.3", "--fusion", "ranks"),
        ("price", "--tag", "glass", "--per-source", "1", "--top-k", "1"),
        ("price", "--mode", "fullTextRecall", "--explain", "--limit", "30"),
        ("price", "--why", record_id, "--similarity", "0.25"),
        ("price", "--rerank", "--rerank-weight", "0.75"),
        ("cost", "--extend", "--background", "tea", "--mode", "mixedRecall"),
    ]

    def run_all(*options: str) -> list[Ran]:
        server.script_anew()
        server.script(relevance, answer('["cost", "price"]'))
        return [search(*command, *options) for command in commands]

    replies, printed = run_all("--json"), run_all()
    with serving(cli.data_dir, **cli.settings):
        remote_replies, remote_printed = run_all("--json"), run_all()

    for reply, remote in zip(replies, remote_replies, strict=True):
        assert {**json_of(remote), "duration": ""} == {**json_of(reply), "duration": ""}
    assert [ran.out for ran in remote_printed] == [ran.out for ran in printed]
    assert [ran.code for ran in (*printed, *remote_printed)] == [0] * 12
