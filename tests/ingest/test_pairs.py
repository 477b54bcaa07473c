"""Documents that become q/a pairs: a model is asked for each chunk once, and what it said is kept."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.chunking import ChunkOptions
from ingest.imports import import_file
from ingest.jobs import ImportSettings, Jobs
from ingest.pairs import MOST_FAILURES, PAIRS_FOLDER, KeptPairs
from ingest.qa_replies import QaPair
from ingest.qa_split import FailedChunk, SplitChunk
from ingest.sources import Reading
from retrieval.completion.endpoint import EndpointCompletion
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.errors import CompletionFailed, InvalidRequest
from retrieval.library import Library
from tests.doubles import HashEmbedder
from tests.ingest.importing import assert_balanced, records_of, write_csv
from tests.openai_server import Handler, OpenAIServer, answer, openai_server

MANY = 200


@pytest.fixture
def model() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def completion(model: OpenAIServer) -> EndpointCompletion:
    return EndpointCompletion("scripted", model.url, "key", 10.0)


def about(body: Any) -> str:
    """The word that a chunk of these tests is about."""
    found = re.search(r"about (\w+)", body["messages"][-1]["content"])
    assert found
    return found[1]


def two_pairs(handler: Handler, body: Any) -> None:
    word = about(body)
    answer(f"Q1: What is {word}?\nA1: A {word}.\nQ2: Who has {word}?\nA2: All.")(handler, body)


def but_for(*words: str) -> Any:
    """Two pairs for a chunk, and none for those about these."""

    def reply(handler: Handler, body: Any) -> None:
        if about(body) in words:
            answer("I would rather not.")(handler, body)
        else:
            two_pairs(handler, body)

    return reply


def document(path: Path, *words: str) -> Path:
    path.write_text("\n\n===\n\n".join(f"This is about {word}." for word in words), encoding="utf-8")
    return path


def settings(path: Path, prompt: str = "") -> ImportSettings:
    reading = Reading(chunks=ChunkOptions(splitter="==="), is_qa=True, qa_prompt=prompt)
    return ImportSettings(path.name, "all", reading=reading)


def asked(model: OpenAIServer) -> list[str]:
    return sorted(about(request.body) for request in model.asked("chat/completions"))


def test_a_document_becomes_the_pairs_of_its_chunks(
    library: Library, tmp_path: Path, model: OpenAIServer, completion: EndpointCompletion
) -> None:
    model.script(*[two_pairs] * 3)
    path = document(tmp_path / "d.md", "kettles", "lamps", "doors")
    dataset = library.create_dataset("d")
    report = import_file(library, dataset, path, settings(path, "Be brief."), completion=completion)
    assert (report.state, report.read, report.added, report.rejected) == ("done", 6, 6, 0)
    assert [(one.q, one.a, one.chunk_index) for one in records_of(library, report)] == [
        (question.format(word), said.format(word), place)
        for place, word in enumerate(("kettles", "lamps", "doors"))
        for question, said in (("What is {}?", "A {}."), ("Who has {}?", "All."))
    ]
    assert "Be brief." in str(model.requests[0].body["messages"][0])
    again = import_file(library, dataset, path, settings(path, "Be brief."), completion=completion)
    assert (again.unchanged, again.added, again.embedded) == (6, 0, 0)
    assert asked(model) == ["doors", "kettles", "lamps"]


def test_a_chunk_without_pairs_is_listed_and_asked_for_again(
    library: Library, tmp_path: Path, model: OpenAIServer, completion: EndpointCompletion
) -> None:
    model.script(*[but_for("lamps")] * 4)
    path = document(tmp_path / "d.md", "kettles", "lamps", "doors")
    dataset = library.create_dataset("d")
    report = import_file(library, dataset, path, settings(path), completion=completion)
    assert (report.read, report.added, report.rejected) == (5, 4, 1)
    assert_balanced(report)
    (problem,) = report.problems
    assert problem.line == 2
    assert "I would rather not." in problem.reason
    model.script(two_pairs)
    again = import_file(library, dataset, path, settings(path), completion=completion)
    assert (again.added, again.unchanged, again.rejected) == (2, 4, 0)
    assert asked(model) == ["doors", "kettles", "lamps", "lamps", "lamps"]


def test_a_model_that_gives_no_pairs_fails_the_job_which_goes_on_later(
    library: Library, tmp_path: Path, model: OpenAIServer, completion: EndpointCompletion
) -> None:
    words = [f"thing{n}" for n in range(12)]
    model.script(*[but_for(*words[2:])] * MANY)
    path = document(tmp_path / "d.md", *words)
    dataset = library.create_dataset("d")
    with pytest.raises(CompletionFailed, match=f"{MOST_FAILURES} chunks in a row"):
        import_file(library, dataset, path, settings(path), completion=completion)
    (job,) = Jobs(library.store).list()
    assert (job.state, job.error_code) == ("failed", "completion_failed")
    model.script_anew()
    before = len(model.requests)
    model.script(*[two_pairs] * MANY)
    report = import_file(library, dataset, path, settings(path), completion=completion)
    assert (report.state, report.read, report.added) == ("done", 24, 24)
    assert not {"thing0", "thing1"} & {about(request.body) for request in model.requests[before:]}


def test_what_was_kept_is_given_back(
    tmp_path: Path, completion: EndpointCompletion, model: OpenAIServer
) -> None:
    path = tmp_path / PAIRS_FOLDER / "job.jsonl"
    model.script(*[but_for("b")] * 4)
    texts = ["about a", "about b", "about c"]
    kept = KeptPairs(path, completion, "", is_new=True)
    first = list(kept(texts))
    assert [type(result) for result in first] == [SplitChunk, FailedChunk, SplitChunk]
    assert first[0] == SplitChunk(0, (QaPair("What is a?", "A a."), QaPair("Who has a?", "All.")))
    assert list(KeptPairs(path, completion, "", is_new=False)(texts)) == first
    assert len(model.requests) == 4
    # The last line was not written to its end.
    path.write_text(path.read_text()[:-10])
    model.script(two_pairs)
    assert list(KeptPairs(path, completion, "", is_new=False)(texts)) == first
    assert asked(model) == ["a", "b", "b", "c", "c"]
    model.script(two_pairs)
    assert [type(result) for result in KeptPairs(path, completion, "", is_new=True)(texts)] == [
        SplitChunk
    ] * 3
    assert asked(model) == ["a", "b", "b", "b", "c", "c"]


def test_what_cannot_be_split_is_refused(library: Library, tmp_path: Path) -> None:
    dataset = library.create_dataset("d")
    table = write_csv(tmp_path / "t.csv", [("q", "a")])
    with pytest.raises(InvalidRequest, match=r"t\.csv is a table"):
        import_file(library, dataset, table, settings(table), completion=ExtractiveCompletion())
    path = document(tmp_path / "d.md", "kettles")
    with pytest.raises(InvalidRequest, match="QUOTEBASE_COMPLETION_BASE_URL"):
        import_file(library, dataset, path, settings(path), completion=ExtractiveCompletion())
    with pytest.raises(InvalidRequest, match="completion backend"):
        import_file(library, dataset, path, settings(path))
    assert isinstance(library.embedder, HashEmbedder)
    assert library.embedder.texts_read == 0
