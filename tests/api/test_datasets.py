"""Datasets and what is put into them, over HTTP."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.library import Library
from tests.api.conftest import DATA, opened
from tests.api.wire import DATASETS, Api, data_of, error_of
from tests.doubles import HashEmbedder

ID = re.compile(r"[0-9a-f]{24}")
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

PUSH = f"{DATASETS}/data/pushData"
COLLECTION = f"{DATASETS}/collection/create"
TEMPLATE = f"{DATASETS}/collection/create/template"


def new_dataset(api: Api, name: str = "new", **fields: Any) -> str:
    dataset_id: str = data_of(api.post(f"{DATASETS}/create", {"name": name, **fields}))
    return dataset_id


def new_collection(api: Api, name: str = "by hand", **fields: Any) -> str:
    body = {"datasetId": new_dataset(api), "name": name, "type": "virtual", **fields}
    collection_id: str = data_of(api.post(COLLECTION, body))
    return collection_id


def push(api: Api, collection_id: str, *items: dict[str, Any]) -> Any:
    return data_of(api.post(PUSH, {"collectionId": collection_id, "data": items}))


# Datasets


def test_a_dataset_is_listed_with_its_fields_in_order(api: Api) -> None:
    dataset_id = new_dataset(api, "新的", intro="what it is")

    listed = data_of(api.post(f"{DATASETS}/list", {"parentId": ""}))

    assert [item["name"] for item in listed] == ["suzume", "coffee", "新的"]
    assert ID.fullmatch(dataset_id)
    assert ISO.fullmatch(listed[2].pop("updateTime"))
    assert json.dumps(listed[2]) == json.dumps(
        {
            "_id": dataset_id,
            "parentId": None,
            "avatar": "",
            "name": "新的",
            "intro": "what it is",
            "type": "dataset",
            "permission": {
                "hasReadPer": True,
                "hasWritePer": True,
                "hasManagePer": True,
                "isOwner": True,
            },
            "canWrite": True,
            "isOwner": True,
            "vectorModel": {"model": "hash", "name": "hash", "dimension": 64, "fingerprint": "hash-1"},
        }
    )


def test_list_takes_get_and_post_with_and_without_a_body(api: Api) -> None:
    expected = data_of(api.post(f"{DATASETS}/list", {"parentId": None}))

    assert len(expected) == 2
    assert data_of(api.get(f"{DATASETS}/list")) == expected
    assert data_of(api.client.post(f"{DATASETS}/list", headers=api.admin)) == expected
    assert data_of(api.get(f"{DATASETS}/list", parentId="")) == expected


def test_list_can_be_searched(api: Api) -> None:
    found = data_of(api.post(f"{DATASETS}/list", {"searchKey": "COFF"}))

    assert [item["name"] for item in found] == ["coffee"]
    assert data_of(api.post(f"{DATASETS}/list", {"searchKey": "tea"})) == []


def test_detail_is_what_the_list_has_and_the_number_of_records(api: Api) -> None:
    (listed, _) = data_of(api.post(f"{DATASETS}/list", {}))

    detail = data_of(api.get(f"{DATASETS}/detail", id=listed["_id"]))

    assert detail == {**listed, "dataAmount": 45}


def test_a_name_is_taken_once(api: Api) -> None:
    response = api.post(f"{DATASETS}/create", {"name": "suzume"})

    error = error_of(response)
    assert (response.status_code, error["code"]) == (409, "name_taken")
    assert "'suzume'" in error["message"]


@pytest.mark.parametrize("name", ["", " ", None])
def test_a_dataset_needs_a_name(api: Api, name: str | None) -> None:
    response = api.post(f"{DATASETS}/create", {"name": name})

    assert (response.status_code, error_of(response)["param"]) == (422, "name")


def test_a_deleted_dataset_is_gone_with_all_that_was_in_it(api: Api) -> None:
    suzume = api.dataset_id("suzume")
    collection = api.service.library.store.list_collections(suzume)[0].id

    assert data_of(api.delete(f"{DATASETS}/delete", id=suzume)) is None

    assert [item["name"] for item in data_of(api.get(f"{DATASETS}/list"))] == ["coffee"]
    for response in (
        api.get(f"{DATASETS}/detail", id=suzume),
        api.delete(f"{DATASETS}/delete", id=suzume),
        api.post(f"{DATASETS}/searchTest", {"datasetId": suzume, "text": "x"}),
        api.post(COLLECTION, {"datasetId": suzume, "name": "c"}),
        api.upload(suzume, "a.csv", b"q,a\n1,2\n"),
    ):
        assert (response.status_code, error_of(response)["code"]) == (404, "dataset_not_found")
    for response in (
        api.post(PUSH, {"collectionId": collection, "data": []}),
        api.delete(f"{DATASETS}/collection/delete", id=collection),
    ):
        assert (response.status_code, error_of(response)["code"]) == (404, "collection_not_found")


def test_the_name_of_a_deleted_dataset_is_free(api: Api) -> None:
    first = new_dataset(api)
    data_of(api.delete(f"{DATASETS}/delete", id=first))

    assert new_dataset(api) != first


# Collections and records


def test_pushed_records_are_found_at_once(api: Api) -> None:
    collection = new_collection(api)

    result = push(api, collection, {"q": "一问", "a": "一答", "chunkIndex": 7}, {"q": "only a text"})

    assert json.dumps(result) == json.dumps(
        {"insertLen": 2, "overToken": [], "repeat": [], "error": [], "unchanged": 0}
    )
    (first, *_) = api.search("new", "一问\n一答")["list"]
    assert (first["q"], first["a"], first["chunkIndex"]) == ("一问", "一答", 7)
    assert (first["collectionId"], first["sourceName"]) == (collection, "by hand")
    (first, *_) = api.search("new", "only a text")["list"]
    assert (first["q"], first["a"], first["chunkIndex"]) == ("only a text", "", 0)


def test_pushed_records_are_found_by_their_indexes(api: Api) -> None:
    collection = new_collection(api)
    item = {"q": "q", "a": "a", "indexes": [{"type": "custom", "text": " 另一种问法 "}, {"text": " "}]}

    push(api, collection, item, {"q": "nothing of the kind"})

    (first, second) = api.search("new", "另一种问法")["list"]
    assert first["q"] == "q"
    assert first["score"][0]["value"] > 0.99 > second["score"][0]["value"]
    assert api.service.library.store.count_passages(api.dataset_id("new")) == 3


def test_what_is_there_already_is_not_added_again(api: Api, embedder: HashEmbedder) -> None:
    collection = new_collection(api)
    items = [{"q": "one", "a": "1"}, {"q": "two", "a": "2"}]
    push(api, collection, *items)
    read = embedder.texts_read

    assert push(api, collection, *items, {"q": "three"}, {"q": "three"}) == {
        "insertLen": 1,
        "overToken": [],
        "repeat": [],
        "error": [],
        "unchanged": 3,
    }
    assert embedder.texts_read == read + 1


def test_items_without_a_question_are_told_by_their_place(api: Api) -> None:
    result = push(api, new_collection(api), {"q": ""}, {"q": "ok"}, {"q": " \n", "a": "answer"})

    assert result["error"] == [{"index": 0, "error": "q is empty"}, {"index": 2, "error": "q is empty"}]
    assert result["insertLen"] == 1


def test_nothing_can_be_pushed(api: Api) -> None:
    assert push(api, new_collection(api))["insertLen"] == 0


def test_200_items_go_in_one_request_and_201_do_not(api: Api) -> None:
    collection = new_collection(api)
    items = [{"q": f"question {number}"} for number in range(201)]

    response = api.post(PUSH, {"collectionId": collection, "data": items})

    error = error_of(response)
    assert (response.status_code, error["param"]) == (422, "data")
    assert error["message"] == "data has 201 items, at most 200 go in one request"
    assert api.service.library.store.count_records(api.dataset_id("new")) == 0
    assert push(api, collection, *items[:200])["insertLen"] == 200


def test_fields_of_fastgpt_are_taken(api: Api) -> None:
    body = {
        "collectionId": new_collection(api),
        "trainingType": "chunk",
        "mode": "chunk",
        "billId": "1" * 24,
        "prompt": "p",
        "data": [{"id": "x", "q": "q", "a": None, "chunkIndex": "3", "indexes": None}],
    }

    assert data_of(api.post(PUSH, body))["insertLen"] == 1
    (found,) = api.search("new", "q")["list"]
    assert (found["a"], found["chunkIndex"]) == ("", 3)


def test_a_broken_item_is_named_and_nothing_is_added(api: Api) -> None:
    body = {"collectionId": new_collection(api), "data": [{"q": "fine"}, {"a": "no question"}]}

    response = api.post(PUSH, body)

    assert (response.status_code, error_of(response)["param"]) == (422, "data.1.q")
    assert api.service.library.store.count_records(api.dataset_id("new")) == 0


def test_half_a_surrogate_pair_is_refused(api: Api) -> None:
    body = {"collectionId": new_collection(api), "data": [{"q": "\ud800"}]}

    response = api.client.post(
        PUSH, content=json.dumps(body), headers={**api.admin, "Content-Type": "application/json"}
    )

    assert (response.status_code, error_of(response)["param"]) == (422, "data")


def test_a_dataset_of_another_model_takes_nothing(api: Api, sampled: Library) -> None:
    collection = new_collection(api)
    sampled.embedder.fingerprint = "hash-2"  # type: ignore[misc]

    response = api.post(PUSH, {"collectionId": collection, "data": [{"q": "q"}]})

    error = error_of(response)
    assert (response.status_code, error["code"]) == (409, "model_mismatch")
    assert "QUOTEBASE_EMBEDDING_MODEL" in error["message"]


def test_a_deleted_collection_is_gone_with_its_records(api: Api) -> None:
    collection = new_collection(api)
    push(api, collection, {"q": "q"})

    assert data_of(api.delete(f"{DATASETS}/collection/delete", id=collection)) is None

    assert api.search("new", "q")["list"] == []
    response = api.post(PUSH, {"collectionId": collection, "data": [{"q": "q"}]})
    assert (response.status_code, error_of(response)["code"]) == (404, "collection_not_found")


def test_a_collection_keeps_its_tags(api: Api) -> None:
    collection = new_collection(api, "named", tags=["a", "b"])

    stored = api.service.library.store.get_collection(collection)
    assert (stored.name, stored.tags, stored.dataset_id) == ("named", ("a", "b"), api.dataset_id("new"))


# Uploads


def test_an_upload_becomes_a_collection_of_the_files_name(api: Api) -> None:
    dataset = new_dataset(api)

    data = data_of(api.upload(dataset, "suzume.csv", (DATA / "suzume.csv").read_bytes()))

    assert list(data) == ["collectionId", "results", "report"]
    assert ID.fullmatch(data["collectionId"])
    assert data["results"] == {"insertLen": 45, "overToken": [], "repeat": [], "error": []}
    collection = api.service.library.store.get_collection(data["collectionId"])
    assert (collection.name, collection.dataset_id) == ("suzume.csv", dataset)
    found = api.search("new", "文字脚本的作者")["list"]
    expected = api.search("suzume", "文字脚本的作者")["list"]
    assert [(item["q"], item["score"]) for item in found] == [(item["q"], item["score"]) for item in expected]


def test_the_report_of_an_upload_balances(api: Api) -> None:
    data = data_of(
        api.upload(new_dataset(api), "a.csv", b"q,a,indexes\n1,one,x\n2,two\n ,no question\n1,one,x\n")
    )

    report = data["report"]
    assert report.pop("seconds") >= 0
    assert ID.fullmatch(report.pop("job"))
    assert report == {
        "file": "a.csv",
        "dataset": "new",
        "collection": "a.csv",
        "collection_id": data["collectionId"],
        "state": "done",
        "kind": "csv",
        "encoding": "utf-8",
        "delimiter": ",",
        "ignored": [],
        "read": 4,
        "added": 2,
        "updated": 0,
        "unchanged": 1,
        "rejected": 1,
        "removed": 0,
        "embedded": 3,
        "blank": 0,
        "replaced": 0,
        "share": 1.0,
        "error": "",
        "problems": [{"line": 4, "column": "q", "reason": "q is empty"}],
    }
    assert data["results"] == {
        "insertLen": 2,
        "overToken": [],
        "repeat": [],
        "error": [{"index": 4, "error": "q is empty"}],
    }


def test_a_second_upload_adds_nothing_and_embeds_nothing(api: Api, embedder: HashEmbedder) -> None:
    dataset, content = new_dataset(api), (DATA / "coffee.csv").read_bytes()
    first = data_of(api.upload(dataset, "coffee.csv", content))
    read = embedder.texts_read

    second = data_of(api.upload(dataset, "coffee.csv", content))

    assert second["collectionId"] == first["collectionId"]
    assert second["results"]["insertLen"] == 0
    counts = {name: second["report"][name] for name in ("read", "added", "unchanged", "embedded")}
    assert counts == {"read": 45, "added": 0, "unchanged": 45, "embedded": 0}
    assert embedder.texts_read == read


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("filename*=UTF-8''%E9%97%AE%E7%AD%94.csv", "问答.csv"),
        ("filename*=utf-8'zh'%E9%97%AE%E7%AD%94.csv", "问答.csv"),
        ("filename=\"fallback.csv\"; filename*=UTF-8''%E9%97%AE%E7%AD%94.csv", "问答.csv"),
        ("filename*=UTF-8''a%20%22b%22%3B%5C.csv", 'a "b";\\.csv'),
        ('filename="问答.csv"', "问答.csv"),
        ('filename="a b.csv"', "a b.csv"),
        ('filename="../../etc/passwd"', "passwd"),
        ("filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
        ('filename=""', "upload.csv"),
    ],
)
def test_file_names_come_in_many_forms(api: Api, disposition: str, name: str) -> None:
    data = json.dumps({"datasetId": new_dataset(api)})
    parts = (
        '--B\r\nContent-Disposition: form-data; name="data"\r\nContent-Type: application/json\r\n\r\n'
        f"{data}\r\n"
        f'--B\r\nContent-Disposition: form-data; name="file"; {disposition}\r\n'
        "Content-Type: text/csv\r\n\r\nq,a\n1,2\n\r\n--B--\r\n"
    )

    response = api.client.post(
        TEMPLATE,
        content=parts.encode(),
        headers={**api.admin, "Content-Type": "multipart/form-data; boundary=B"},
    )

    collection = data_of(response)["collectionId"]
    assert api.service.library.store.get_collection(collection).name == name


def test_the_collection_can_be_named(api: Api) -> None:
    data = data_of(api.upload(new_dataset(api), "a.csv", b"q,a\n1,2\n", name='my "own" / name'))

    collection = api.service.library.store.get_collection(data["collectionId"])
    assert (collection.name, data["report"]["file"]) == ('my "own" / name', "a.csv")


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "unreadable_file", "a.csv is a binary file"),
        (b"PK\x03\x04rest", "unreadable_file", "a.csv is a damaged workbook"),
        (b"", "unreadable_file", "a.csv is empty"),
        (b"q,a\n\xff\xff\xff,1\n", "unreadable_file", "line 2 has the byte 0xff"),
        (b"question,answer\n1,2\n", "missing_column", "the header has the columns 'question', 'answer'"),
    ],
)
def test_a_bad_file_is_refused_by_name(api: Api, content: bytes, code: str, said: str) -> None:
    dataset = new_dataset(api)

    response = api.upload(dataset, "a.csv", content)

    error = error_of(response)
    assert (response.status_code, error["code"]) == (422, code)
    assert said in error["message"]
    assert api.service.library.store.count_records(dataset) == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "data"),
        ({"data": "{oops"}, "data"),
        ({"data": "[]"}, "data"),
        ({"data": "{}"}, "datasetId"),
        ({"data": '{"datasetId": 7}'}, "datasetId"),
    ],
)
def test_a_bad_form_field_is_named(api: Api, fields: dict[str, str], param: str) -> None:
    response = api.client.post(
        TEMPLATE, files={"file": ("a.csv", b"q,a\n1,2\n")}, data=fields, headers=api.admin
    )

    assert (response.status_code, error_of(response)["param"]) == (422, param)


def test_a_missing_file_is_named(api: Api) -> None:
    response = api.client.post(
        TEMPLATE, data={"data": json.dumps({"datasetId": new_dataset(api)})}, headers=api.admin
    )

    assert (response.status_code, error_of(response)["param"]) == (422, "file")


def test_a_broken_form_is_refused(api: Api) -> None:
    response = api.client.post(
        TEMPLATE, content=b"--B\r\n", headers={**api.admin, "Content-Type": "multipart/form-data"}
    )

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_request")


# Search


def test_search_reply_field_by_field(api: Api, sampled: Library) -> None:
    dataset = sampled.dataset_named("suzume")
    (collection,) = sampled.store.list_collections(dataset.id)
    text = "文字脚本的作者"

    data = api.search("suzume", text, limit=40)

    assert list(data) == [
        *("list", "duration", "limit", "searchMode", "usingReRank", "similarity", "usingSimilarityFilter"),
        *("filteredBy", "rerankModel", "phrasings", "notes"),
    ]
    assert re.fullmatch(r"\d+\.\d{3}s", data.pop("duration"))
    (quote,) = data.pop("list")
    assert data == {
        "limit": 40,
        "searchMode": "embedding",
        "usingReRank": False,
        "similarity": 0,
        "usingSimilarityFilter": True,
        "filteredBy": "embedding",
        "rerankModel": "",
        "phrasings": [text],
        "notes": [],
    }
    assert list(quote) == [
        *("id", "q", "a", "chunkIndex", "datasetId", "collectionId", "sourceName", "sourceId", "updateTime"),
        *("tokens", "score"),
    ]
    updated, (score,) = quote.pop("updateTime"), quote.pop("score")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", updated)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(updated)) < timedelta(hours=1)
    assert quote == {
        "id": sampled.store.list_records(collection.id)[2].id,
        "q": "剧本出自何人之手？",
        "a": "剧本由新海诚亲自撰写，他同时写了同名小说。",
        "chunkIndex": 2,
        "datasetId": dataset.id,
        "collectionId": collection.id,
        "sourceName": "suzume.csv",
        "sourceId": collection.id,
        "tokens": 34,
    }
    assert list(score) == ["type", "value", "index"]
    assert (score["type"], score["index"]) == ("embedding", 0)
    assert isinstance(score["value"], float)
    assert 0.99 < score["value"] <= 1.01


def test_scores_descend_and_say_their_place(api: Api) -> None:
    found = api.search("suzume", "新海诚", limit=20_000)["list"]

    scores = [item["score"][0] for item in found]
    assert len(scores) > 20
    assert [score["value"] for score in scores] == sorted((s["value"] for s in scores), reverse=True)
    assert [score["index"] for score in scores] == list(range(len(scores)))


def test_strict_clients_get_no_null(api: Api) -> None:
    collection = new_collection(api)
    push(api, collection, {"q": "without an answer"})

    (item,) = api.search("new", "without an answer")["list"]

    assert [type(item[name]) for name in ("a", "tokens", "chunkIndex")] == [str, int, int]


def test_similarity_is_inclusive_at_a_score_that_was_returned(api: Api) -> None:
    every = api.search("suzume", "导演是谁", limit=20_000)["list"]
    assert len(every) > 10

    for place, item in enumerate(every):
        score = item["score"][0]["value"]
        kept = api.search("suzume", "导演是谁", limit=20_000, similarity=score)["list"]
        assert kept == [other for other in every if other["score"][0]["value"] >= score]
        assert item in kept
        above = api.search("suzume", "导演是谁", limit=20_000, similarity=score + 1e-9)["list"]
        assert len(above) <= place


def test_top_k_is_the_most_quotes(api: Api) -> None:
    every = api.search("suzume", "导演是谁", limit=20_000)["list"]

    assert api.search("suzume", "导演是谁", limit=20_000, topK=3)["list"] == every[:3]


def test_limit_is_a_budget_of_tokens(api: Api) -> None:
    every = api.search("suzume", "导演是谁", limit=20_000)["list"]
    three = sum(item["tokens"] for item in every[:3])

    assert api.search("suzume", "导演是谁", limit=three)["list"] == every[:3]
    assert api.search("suzume", "导演是谁", limit=three - 1)["list"] == every[:2]
    assert api.search("suzume", "导演是谁", limit=1)["list"] == every[:1]


def test_several_datasets_are_searched_together(api: Api) -> None:
    suzume, coffee = api.dataset_id("suzume"), api.dataset_id("coffee")
    one_by_one = [
        item
        for name in ("suzume", "coffee")
        for item in api.search(name, "brewing 新海诚", limit=20_000)["list"]
    ]

    body = {"datasetIds": [suzume, coffee], "text": "brewing 新海诚", "limit": 20_000}
    both = data_of(api.post(f"{DATASETS}/searchTest", body))["list"]

    assert {item["datasetId"] for item in both} == {suzume, coffee}
    assert sorted((item["id"], item["score"][0]["value"]) for item in both) == sorted(
        (item["id"], item["score"][0]["value"]) for item in one_by_one
    )


@pytest.mark.parametrize(
    ("fields", "status", "param", "said"),
    [
        ({"limit": 0}, 422, "limit", "limit is 0 tokens, it must be from 1 to 20000"),
        ({"limit": -5}, 422, "limit", "limit is -5 tokens, it must be from 1 to 20000"),
        ({"limit": 20_001}, 422, "limit", "limit is 20001 tokens, it must be from 1 to 20000"),
        ({"similarity": 1.01}, 422, "similarity", "similarity is 1.01, it must be from 0 to 1"),
        ({"similarity": -0.01}, 422, "similarity", "similarity is -0.01, it must be from 0 to 1"),
        ({"topK": 0}, 422, "topK", "topK is 0, it must be at least 1"),
        ({"text": ""}, 422, "text", "the question is empty: give some text to search for"),
        ({"text": " \n\t"}, 422, "text", "the question is empty: give some text to search for"),
        ({"datasetId": None}, 422, "datasetId", "no dataset to search in was named"),
        ({"datasetId": ""}, 422, "datasetId", "no dataset to search in was named"),
        ({"datasetId": "0" * 24}, 404, None, f"there is no dataset with the id '{'0' * 24}'"),
        ({"datasetIds": ["nope"]}, 404, None, "there is no dataset with the id 'nope'"),
    ],
)
def test_search_out_of_range(api: Api, fields: Any, status: int, param: str | None, said: str) -> None:
    body = {"datasetId": api.dataset_id("suzume"), "text": "导演是谁", **fields}

    response = api.post(f"{DATASETS}/searchTest", body)

    error = error_of(response)
    assert (response.status_code, error["param"], error["message"]) == (status, param, said)


def test_similarity_that_is_no_number_is_refused(api: Api) -> None:
    body = f'{{"datasetId":"{api.dataset_id("suzume")}","text":"x","similarity":NaN}}'

    response = api.client.post(
        f"{DATASETS}/searchTest", content=body, headers={**api.admin, "Content-Type": "application/json"}
    )

    assert (response.status_code, error_of(response)["param"]) == (422, "similarity")


@pytest.mark.parametrize("fields", [{"limit": 1}, {"limit": 20_000}, {"similarity": 0}, {"similarity": 1}])
def test_search_at_the_edges_of_the_ranges(api: Api, fields: Any) -> None:
    assert api.search("suzume", "导演是谁", **fields)["searchMode"] == "embedding"


def test_an_empty_dataset_has_nothing(api: Api) -> None:
    new_dataset(api)

    assert api.search("new", "导演是谁")["list"] == []


def test_a_new_dataset_has_the_model_that_it_names_if_there_is_one(tmp_path: Path) -> None:
    class Other(HashEmbedder):
        name = "other"

    with Library.open(tmp_path, HashEmbedder(), models=[Other(8)]) as library:
        with opened(library, ExtractiveCompletion()) as api:
            for name, model in (("a", "other"), ("b", "text-embedding-3-small"), ("c", "")):
                new_dataset(api, name, vectorModel=model)
        datasets = library.store.list_datasets()
    assert [(one.name, one.model.name, one.model.dim) for one in datasets] == [
        ("a", "other", 8),
        ("b", "hash", 64),
        ("c", "hash", 64),
    ]
