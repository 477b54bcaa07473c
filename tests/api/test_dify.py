"""Dify's external knowledge API, spoken to as Dify does: its requests, its probe, its error codes."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.library import Library
from retrieval.types import RecordDraft
from tests.api.conftest import opened
from tests.api.wire import Api, Headers
from tests.doubles import DialEmbedder

SCORES = (1.0, 0.75, 0.5, 0.25)


@pytest.fixture
def dify(tmp_path: Path) -> Iterator[Api]:
    """The dataset ``films`` with two collections, and ``empty``; a record scores what its question says."""
    with Library.open(tmp_path / "data", DialEmbedder()) as library:
        films = library.create_dataset("films")
        library.create_dataset("empty")
        store = library.store
        first = store.create_collection(films.id, "one.csv", ["drama", "old"])
        second = store.create_collection(films.id, "two.csv", ["comedy"])
        library.add_records(
            first,
            [
                RecordDraft("q @1.0", "a", metadata={"year": 2022, "id": "theirs"}),
                RecordDraft("q @0.75", "with an answer"),
            ],
        )
        library.add_records(second, [RecordDraft("q @0.5"), RecordDraft("q @0.25"), RecordDraft("q @-0.5")])
        with opened(library, ExtractiveCompletion()) as api:
            yield api


def ask(
    api: Api,
    knowledge: str = "films",
    headers: Headers | None = None,
    top_k: int = 10,
    score_threshold: float | None = 0.0,
    **fields: Any,
) -> Response:
    setting = {"top_k": top_k, "score_threshold": score_threshold}
    body = {"knowledge_id": knowledge, "query": "anything", "retrieval_setting": setting, **fields}
    return api.post("/retrieval", body, headers)


def scores(response: Response) -> list[float]:
    assert response.status_code == 200, response.text
    return [record["score"] for record in response.json()["records"]]


def refused(response: Response, status: int, error_code: int) -> Mapping[str, Any]:
    """The body of a failure: Dify's two fields, then our envelope."""
    body: Mapping[str, Any] = response.json()
    assert list(body) == ["error_code", "error_msg", "code", "statusText", "message", "data", "error"]
    assert (response.status_code, body["error_code"], body["code"]) == (status, error_code, status)
    assert body["error_msg"] == body["message"] == body["error"]["message"] != ""
    return body


@pytest.mark.parametrize("known_by", ["id", "name"])
def test_a_knowledge_is_a_dataset_by_id_or_name(dify: Api, known_by: str) -> None:
    knowledge = dify.dataset_id("films") if known_by == "id" else "films"

    assert scores(ask(dify, knowledge)) == list(SCORES)


def test_an_id_counts_before_a_name(dify: Api) -> None:
    dify.service.library.create_dataset(dify.dataset_id("films"))

    assert scores(ask(dify, dify.dataset_id("films"))) == list(SCORES)


def test_a_record_has_what_dify_reads(dify: Api) -> None:
    first, second = ask(dify, top_k=2).json()["records"]

    record_id, collection_id = (first["metadata"].pop(name) for name in ("id", "collectionId"))
    assert first == {
        "content": "q @1.0\na",
        "score": 1.0,
        "title": "one.csv",
        "metadata": {"year": 2022, "datasetId": dify.dataset_id("films"), "q": "q @1.0", "a": "a"},
    }
    store = dify.service.library.store
    assert store.get_record(record_id).q == "q @1.0"
    assert store.get_collection(collection_id).name == "one.csv"
    assert set(second["metadata"]) == {"id", "collectionId", "datasetId", "q", "a"}


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.0, 4), (None, 4), (0.4999, 3), (0.5, 3), (0.5001, 2), (1.0, 1)],
)
def test_the_threshold_is_a_cosine_and_inclusive(dify: Api, threshold: float | None, expected: int) -> None:
    assert scores(ask(dify, score_threshold=threshold)) == list(SCORES[:expected])


@pytest.mark.parametrize("top_k", [1, 3, 4, 50])
def test_no_more_than_top_k(dify: Api, top_k: int) -> None:
    assert scores(ask(dify, top_k=top_k)) == list(SCORES[:top_k])


def test_nothing_found_is_an_empty_list(dify: Api) -> None:
    assert ask(dify, "empty").json() == {"records": []}


def condition(*conditions: dict[str, Any], **fields: str) -> dict[str, Any]:
    return {"metadata_condition": {"conditions": list(conditions), **fields}}


def compare(name: str | list[str], comparison: str, value: Any = None) -> dict[str, Any]:
    return {"name": name, "comparison_operator": comparison, "value": value}


ONE, TWO, BOTH, NONE = list(SCORES[:2]), list(SCORES[2:]), list(SCORES), list[float]()


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (compare("title", "is", "one.csv"), ONE),
        (compare("title", "=", "one"), NONE),
        (compare("title", "is not", "one.csv"), TWO),
        (compare("title", "≠", "one.csv"), TWO),
        (compare("title", "contains", "tw"), TWO),
        (compare("title", "not contains", "tw"), ONE),
        (compare("title", "start with", "on"), ONE),
        (compare("title", "end with", ".csv"), BOTH),
        (compare("title", "in", ["two.csv", "three.csv"]), TWO),
        (compare("title", "not in", ["two.csv", "three.csv"]), ONE),
        (compare("title", "empty"), NONE),
        (compare("tags", "is", "old"), ONE),
        (compare("tags", "not contains", "com"), ONE),
        (compare("tags", "not empty"), BOTH),
        (compare(["title", "tags"], "contains", "comedy"), TWO),
        (compare("title", "is"), BOTH),
    ],
)
def test_a_condition_chooses_collections(
    dify: Api, comparison: dict[str, Any], expected: list[float]
) -> None:
    assert scores(ask(dify, **condition(comparison))) == expected


@pytest.mark.parametrize(("operator", "expected"), [("and", NONE), ("or", BOTH)])
def test_conditions_are_joined(dify: Api, operator: str, expected: list[float]) -> None:
    both = (compare("tags", "is", "old"), compare("tags", "is", "comedy"))

    assert scores(ask(dify, **condition(*both, logical_operator=operator))) == expected


def test_a_condition_by_time_of_creation(dify: Api) -> None:
    store = dify.service.library.store
    created = max(one.created_at for one in store.list_collections(dify.dataset_id("films")))
    later = created + timedelta(seconds=1)

    assert scores(ask(dify, **condition(compare("createTime", "before", later.isoformat())))) == BOTH
    assert scores(ask(dify, **condition(compare("createTime", "≥", later.timestamp())))) == NONE


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        (
            compare("year", "=", 2022),
            "there is no filter by 'year', only by title, collectionId, tags, createTime",
        ),
        (compare("title", "like", "x"), "title cannot be compared by 'like'"),
        (compare("createTime", "before", "noon"), "createTime is compared with 'noon': give a time"),
    ],
)
def test_a_condition_that_cannot_be_met_is_named(dify: Api, comparison: dict[str, Any], message: str) -> None:
    body = refused(ask(dify, **condition(comparison)), 422, 422)

    assert body["statusText"] == "invalid_request"
    assert message in body["error_msg"]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic abc", "qb-admin-abc"])
def test_1001_for_a_header_of_another_form(dify: Api, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}

    body = refused(ask(dify, headers=headers), 403, 1001)

    assert body["statusText"] == "unauthorized"
    assert "Authorization: Bearer <key>" in body["error_msg"]


def test_1002_for_a_key_that_is_not_known(dify: Api) -> None:
    body = refused(ask(dify, headers={"Authorization": "Bearer qb-admin-abc"}), 403, 1002)

    assert body["statusText"] == "unauthorized"


def test_1002_for_a_key_that_may_not(dify: Api) -> None:
    writer = dify.new_key("dataset", capabilities=("write",))[1]
    app_key = dify.new_key("app", app_id=dify.new_app("films").id)[1]

    assert "may not search" in refused(ask(dify, headers=writer), 403, 1002)["error_msg"]
    assert "app key" in refused(ask(dify, headers=app_key), 403, 1002)["error_msg"]


@pytest.mark.parametrize("knowledge", ["films", "no such"])
def test_1002_for_a_dataset_that_the_key_does_not_open(dify: Api, knowledge: str) -> None:
    """Whether there is one of that name is not told."""
    key = dify.new_key("dataset", dataset_ids=(dify.dataset_id("empty"),))[1]

    body = refused(ask(dify, knowledge, key), 403, 1002)

    assert body["error_msg"] == f"this key does not open the dataset {knowledge}: use a key that names it"
    assert scores(ask(dify, "empty", key)) == []


def test_2001_for_a_knowledge_that_is_not_there(dify: Api) -> None:
    body = refused(ask(dify, "no such"), 404, 2001)

    assert body["statusText"] == "dataset_not_found"
    assert "'no such' (there are: films, empty)" in body["error_msg"]


def test_the_probe_of_a_new_connection(dify: Api) -> None:
    """Dify asks without a body: 403 is a wrong key to it, 404 and 502 a wrong address, all else is well."""
    good = dify.client.post("/retrieval", headers=dify.admin)
    bad = dify.client.post("/retrieval", headers={"Authorization": "Bearer wrong"})

    refused(good, 422, 422)
    refused(bad, 403, 1002)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": None}, "query"),
        ({"retrieval_setting": None}, "retrieval_setting"),
        ({"retrieval_setting": {"score_threshold": 0.5}}, "retrieval_setting.top_k"),
        ({"retrieval_setting": {"top_k": 0}}, "retrieval_setting.top_k"),
        ({"retrieval_setting": {"top_k": 1, "score_threshold": 1.5}}, "retrieval_setting.score_threshold"),
        ({"query": " "}, "text"),
    ],
)
def test_a_wrong_field_is_named(dify: Api, change: dict[str, Any], param: str) -> None:
    assert refused(ask(dify, **change), 422, 422)["error"]["param"] == param
