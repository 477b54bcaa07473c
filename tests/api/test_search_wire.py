"""``searchTest``: what is read of a request, every field of the reply, and both ways between the two."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.search import SearchTest, read_search, search_body, search_reply
from retrieval.completion.endpoint import EndpointCompletion
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.library import Library
from retrieval.rerank.endpoint import EndpointReranker
from retrieval.types import CollectionMatch, Extension, RecordDraft, SearchRequest
from tests.api.conftest import opened
from tests.api.wire import DATASETS, Api, data_of, error_of
from tests.doubles import HashEmbedder
from tests.openai_server import OpenAIServer, answer, openai_server, refusal

QUESTION = "导演是谁"
SEARCH = f"{DATASETS}/searchTest"

REPLY = {
    "list": list,
    "duration": str,
    "limit": int,
    "searchMode": str,
    "usingReRank": bool,
    "similarity": float,
    "usingSimilarityFilter": bool,
    "filteredBy": str,
    "rerankModel": str,
    "phrasings": list,
    "notes": list,
}
QUOTE = {
    "id": str,
    "q": str,
    "a": str,
    "chunkIndex": int,
    "datasetId": str,
    "collectionId": str,
    "sourceName": str,
    "sourceId": str,
    "updateTime": str,
    "tokens": int,
    "score": list,
}
CANDIDATE = {
    "id": str,
    "q": str,
    "collectionId": str,
    "sourceName": str,
    "tokens": int,
    "kept": bool,
    "droppedBy": str,
    "detail": str,
    "score": list,
    "passage": dict,
    "parts": list,
}
SCORE = {"type": str, "value": float, "index": int}
PASSAGE = {"id": str, "text": str, "terms": list}
PART = {
    "source": str,
    "phrasing": str,
    "passage": dict,
    "raw": float,
    "rank": (int, type(None)),
    "normalised": float,
    "weight": float,
    "value": float,
}


def assert_shape(item: dict[str, Any], shape: dict[str, Any]) -> None:
    """These fields in this order, of these types; a whole number is no truth value."""
    assert list(item) == list(shape)
    for name, kind in shape.items():
        assert isinstance(item[name], kind), name
        assert isinstance(item[name], bool) == (kind is bool), name


MODES = ("embedding", "fullTextRecall", "mixedRecall")


@pytest.mark.parametrize("mode", MODES)
def test_every_field_of_a_reply(api: Api, mode: str) -> None:
    reply = api.search("suzume", QUESTION, searchMode=mode, limit=20_000, similarity=0.0)

    assert_shape(reply, REPLY)
    assert re.fullmatch(r"\d+\.\d{3}s", reply["duration"])
    assert (reply["limit"], reply["searchMode"], reply["usingReRank"]) == (20_000, mode, False)
    filtered_by = "" if mode == "fullTextRecall" else "embedding"
    assert (reply["usingSimilarityFilter"], reply["filteredBy"]) == (bool(filtered_by), filtered_by)
    assert (reply["phrasings"], reply["notes"], reply["rerankModel"]) == ([QUESTION], [], "")
    assert reply["list"]
    places = [item["score"][0]["index"] for item in reply["list"]]
    assert places[0] == 0
    assert places == sorted(set(places))
    for item in reply["list"]:
        assert_shape(item, QUOTE)
        assert item["datasetId"] == api.dataset_id("suzume")
        assert (item["sourceName"], item["sourceId"]) == ("suzume.csv", item["collectionId"])
        assert item["tokens"] > 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item["updateTime"])
        for score in item["score"]:
            assert_shape(score, SCORE)
        kinds = [score["type"] for score in item["score"]]
        if mode == "mixedRecall":
            assert kinds in (["rrf", "embedding"], ["rrf", "embedding", "fullText"])
        else:
            assert kinds == ["embedding" if mode == "embedding" else "fullText"]


def test_a_record_without_an_answer_has_an_empty_one(api: Api) -> None:
    library = api.service.library
    collection = library.ensure_collection(api.dataset_id("suzume"), "plain")
    library.add_records(collection, [RecordDraft("no answer to this", chunk_index=7)])

    best = api.search("suzume", "no answer to this")["list"][0]

    assert (best["q"], best["a"], best["chunkIndex"]) == ("no answer to this", "", 7)


@pytest.mark.parametrize("mode", MODES)
def test_every_field_of_an_explanation(api: Api, mode: str) -> None:
    plain = api.search("suzume", QUESTION, searchMode=mode, topK=3)
    reply = api.search("suzume", QUESTION, searchMode=mode, topK=3, explain=True)

    assert_shape(reply, {**REPLY, "explain": dict})
    assert reply["list"] == plain["list"]
    assert list(reply["explain"]) == ["candidates", "absent"]
    candidates = reply["explain"]["candidates"]
    assert len(candidates) > 3
    assert [one["id"] for one in candidates if one["kept"]] == [item["id"] for item in reply["list"]]
    for candidate in candidates:
        assert_shape(candidate, CANDIDATE)
        assert candidate["kept"] == (candidate["droppedBy"] == "") == (candidate["detail"] == "")
        assert_shape(candidate["passage"], PASSAGE)
        assert candidate["passage"]["text"]
        for part in candidate["parts"]:
            assert_shape(part, PART)
            assert part["value"] == part["weight"] * part["normalised"]
        if mode == "mixedRecall":
            parts = sum(part["value"] for part in candidate["parts"])
            assert candidate["score"][0]["value"] == pytest.approx(parts, abs=1e-6)
        else:
            assert candidate["parts"] == []


def test_why_a_record_is_not_there(api: Api) -> None:
    quote = api.search("coffee", "water", topK=1)["list"][0]

    reply = api.search("suzume", QUESTION, explainRecord=quote["id"])
    unknown = api.search("suzume", QUESTION, explainRecord="0" * 24)
    nothing = api.search("suzume", QUESTION, explainRecord="")

    assert reply["explain"]["absent"] == "it is in the dataset 'coffee', which was not searched"
    assert "0" * 24 in unknown["explain"]["absent"]
    assert "explain" not in nothing


def test_numbers_and_truth_values_may_come_as_texts(api: Api) -> None:
    plain = api.search("suzume", QUESTION, limit=300, similarity=0.25, topK=2, searchMode="mixedRecall")

    texts = {"limit": "300", "similarity": "0.25", "topK": "2", "embeddingWeight": "0.5", "perSource": "9"}
    reply = api.search(
        "suzume", QUESTION, searchMode="mixedRecall", usingReRank="false", explain="0", **texts
    )

    assert {**reply, "duration": ""} == {**plain, "duration": ""}


def test_null_and_unknown_fields_are_as_if_left_out(api: Api) -> None:
    plain = api.search("suzume", QUESTION)

    nulls = dict.fromkeys(
        [
            *("datasetIds", "limit", "similarity", "searchMode", "embeddingWeight", "usingReRank"),
            *("rerankWeight", "rerankModel", "datasetSearchUsingExtensionQuery"),
            *("datasetSearchExtensionModel", "datasetSearchExtensionBg", "collectionFilterMatch"),
            *("history", "topK", "perSource", "fusion", "explain", "explainRecord"),
        ]
    )
    reply = api.search("suzume", QUESTION, **nulls, rerankModelName="x", appId={"deep": [1]})

    assert {**reply, "duration": ""} == {**plain, "duration": ""}
    assert (plain["limit"], plain["searchMode"], plain["similarity"]) == (1500, "embedding", 0.0)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"searchMode": "both"}, "searchMode"),
        ({"limit": "many"}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"embeddingWeight": 1.5}, "embeddingWeight"),
        ({"rerankWeight": -1}, "rerankWeight"),
        ({"perSource": 0}, "perSource"),
        ({"topK": -1}, "topK"),
        ({"fusion": "votes"}, "fusion"),
        ({"usingReRank": "perhaps"}, "usingReRank"),
        ({"collectionFilterMatch": '{"tag": 1}'}, "collectionFilterMatch"),
        (
            {"datasetSearchUsingExtensionQuery": True, "history": [{"role": "robot", "content": "x"}]},
            "history",
        ),
    ],
)
def test_what_cannot_be_read_is_named(api: Api, fields: dict[str, Any], param: str) -> None:
    body = {"datasetId": api.dataset_id("suzume"), "text": QUESTION, **fields}

    response = api.post(SEARCH, body)

    assert response.status_code == 422
    assert error_of(response)["param"].startswith(param)
    assert param in error_of(response)["message"]


def test_filters_and_sources(api: Api) -> None:
    library = api.service.library
    suzume = api.dataset_id("suzume")
    tagged = library.store.create_collection(suzume, "tagged", ["film"])
    library.add_records(tagged, [RecordDraft("导演是谁呢"), RecordDraft("导演又是谁")])

    for given_filter in ({"tags": {"$and": ["film"]}}, f'{{"collectionIds": ["{tagged.id}"]}}'):
        for mode in MODES:
            reply = api.search("suzume", QUESTION, searchMode=mode, collectionFilterMatch=given_filter)
            assert {item["sourceName"] for item in reply["list"]} == {"tagged"}
            assert len(reply["list"]) == 2
    reply = api.search("suzume", QUESTION, searchMode="mixedRecall", perSource=1)
    assert sorted(item["sourceName"] for item in reply["list"]) == ["suzume.csv", "tagged"]


def test_several_datasets(api: Api) -> None:
    ids = [api.dataset_id(name) for name in ("suzume", "coffee")]
    for mode in MODES:
        body = {"datasetIds": ids, "text": "水温 water 导演", "searchMode": mode, "limit": 20_000}
        reply = data_of(api.post(SEARCH, body))
        assert {item["datasetId"] for item in reply["list"]} == set(ids)


# With a reranker and a completion backend


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as running:
        yield running


@pytest.fixture
def equipped(tmp_path: Path, server: OpenAIServer) -> Iterator[Api]:
    reranker = EndpointReranker(f"{server.url}/rerank", "scripted-reranker", "")
    completion = EndpointCompletion("scripted", server.url, None, 5.0)
    folder = tmp_path / "equipped"
    with Library.open(folder, HashEmbedder(), reranker=reranker, completion=completion) as library:
        collection = library.ensure_collection(library.create_dataset("tea").id, "pots")
        library.add_records(collection, [RecordDraft(text) for text in ("a kettle", "a large jug", "cups")])
        with opened(library, ExtractiveCompletion()) as api:
            yield api


def relevance(handler: Any, body: Any) -> None:
    """The longer the better."""
    results = [
        {"index": place, "relevance_score": len(document) / 20}
        for place, document in enumerate(body["documents"])
    ]
    handler.send_json({"results": results})


def test_a_reranked_reply(equipped: Api, server: OpenAIServer) -> None:
    server.script(relevance, relevance)
    fields = {"usingReRank": True, "rerankWeight": 1, "similarity": 0.4, "searchMode": "mixedRecall"}

    reply = equipped.search("tea", "kettle", **fields)

    assert [item["q"] for item in reply["list"]] == ["a large jug", "a kettle"]
    assert [score["type"] for score in reply["list"][0]["score"]][:2] == ["rrf", "reRank"]
    assert [item["score"][1]["value"] for item in reply["list"]] == [0.55, 0.4]
    assert (reply["usingReRank"], reply["rerankModel"]) == (True, "scripted-reranker")
    assert (reply["usingSimilarityFilter"], reply["filteredBy"]) == (True, "reRank")
    told = equipped.search("tea", "kettle", **fields, explain=True)["explain"]["candidates"]
    assert {one["q"]: one["droppedBy"] for one in told} == {
        "a large jug": "",
        "a kettle": "",
        "cups": "similarity",
    }
    assert [part["source"] for part in told[0]["parts"]][-2:] == ["fused", "reRank"]


def test_a_reranker_that_fails_is_a_note(equipped: Api, server: OpenAIServer) -> None:
    plain = equipped.search("tea", "kettle", searchMode="mixedRecall")
    server.script(refusal(500, "broken"), refusal(500, "broken"))

    reply = equipped.search("tea", "kettle", searchMode="mixedRecall", usingReRank=True)

    assert reply["list"] == plain["list"]
    assert (reply["usingReRank"], reply["rerankModel"], reply["filteredBy"]) == (False, "", "embedding")
    assert len(reply["notes"]) == 1
    assert reply["notes"][0].startswith("nothing was reranked: the rerank endpoint failed: ")


def test_an_extended_reply(equipped: Api, server: OpenAIServer) -> None:
    server.script(answer('["Which kettle is there?", "a jug"]'))
    fields = {
        "datasetSearchUsingExtensionQuery": True,
        "datasetSearchExtensionModel": "small",
        "datasetSearchExtensionBg": "tea things",
        "history": [{"role": "user", "content": "I want to make tea"}],
        "searchMode": "fullTextRecall",
    }

    reply = equipped.search("tea", "which one?", **fields)

    assert reply["phrasings"] == ["Which kettle is there?", "which one?", "a jug"]
    assert {"a kettle", "a large jug"} <= {item["q"] for item in reply["list"]}
    (asked,) = server.asked("chat/completions")
    assert asked.body["model"] == "small"
    assert all(said in str(asked.body["messages"]) for said in ("tea things", "I want to make tea"))


def test_an_extension_that_fails_is_a_note(equipped: Api, server: OpenAIServer) -> None:
    plain = equipped.search("tea", "kettle")
    server.script(refusal(400, "no"))

    reply = equipped.search("tea", "kettle", datasetSearchUsingExtensionQuery=True)

    assert (reply["list"], reply["phrasings"]) == (plain["list"], ["kettle"])
    assert reply["notes"][0].startswith("the question was searched as it is: ")


# Both ways

moments = st.none() | st.integers(0, 4 * 10**9).map(lambda second: datetime.fromtimestamp(second, UTC))
tags = st.lists(st.none() | st.text(max_size=5), max_size=3, unique=True).map(tuple)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
shares = st.floats(0, 1)

matches = st.builds(
    CollectionMatch,
    ids=st.none() | st.frozensets(texts, min_size=1, max_size=3),
    all_of=tags,
    created_from=moments,
    created_to=moments,
) | st.builds(CollectionMatch, any_of=tags)

requests = st.builds(
    SearchRequest,
    text=texts,
    dataset_ids=st.lists(texts.filter(bool), max_size=3, unique=True).map(tuple),
    similarity=st.none() | shares,
    limit=st.integers(1, 20_000),
    top_k=st.none() | st.integers(1, 99),
    mode=st.sampled_from(MODES),
    embedding_weight=shares,
    fusion=st.sampled_from(("scores", "ranks")),
    per_source=st.none() | st.integers(1, 99),
    collections=st.none() | matches.filter(lambda match: match != CollectionMatch()),
    rerank=st.booleans(),
    rerank_weight=shares,
    extension=st.none()
    | st.builds(
        Extension,
        texts,
        st.lists(st.tuples(st.sampled_from(("user", "assistant")), texts), max_size=2).map(tuple),
        texts,
    ),
    explain=st.just(True),
    explain_record=st.none() | texts.filter(bool),
)


@given(requests)
def test_a_request_comes_as_it_was_sent(request_: SearchRequest) -> None:
    assert SearchTest.model_validate(search_body(request_)).to_request() == request_


def test_a_reply_is_read_as_it_was(sampled: Library) -> None:
    for mode in MODES:
        request = SearchRequest(QUESTION, (sampled.dataset_named("suzume").id,), 0.0, mode=mode)  # type: ignore[arg-type]
        result = sampled.search(request)
        read = read_search(search_reply(result), request, result.model)
        assert search_reply(read) == {**search_reply(result), "duration": f"{read.seconds:.3f}s"}
        assert [quote.record for quote in read.quotes] == [quote.record for quote in result.quotes]
        assert [quote.scores for quote in read.quotes] == [quote.scores for quote in result.quotes]
        assert (read.filtered_by, read.similarity) == (result.filtered_by, result.similarity)
