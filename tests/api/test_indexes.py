"""Where indexes stand, comparing them with the store and making them again, over HTTP."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import Response

from api.schemas import from_wire, to_wire
from retrieval.library import INDEX_FOLDER, Library
from retrieval.types import IndexDifferences, IndexStatus, PassageBlock
from tests.api.wire import DATASETS, Api, Headers, data_of, error_of
from tests.doubles import GridEmbedder, HashEmbedder

STATUS = f"{DATASETS}/index/status"
REBUILD = f"{DATASETS}/index/rebuild"
VERIFY = f"{DATASETS}/index/verify"

NOBODY = "0" * 24


def status_of(api: Api, dataset: str) -> Any:
    return data_of(api.get(STATUS, id=api.dataset_id(dataset)))


def delete_behind_its_back(library: Library, dataset_id: str, count: int) -> int:
    """Records out of the store alone; the passages that the index has too many."""
    (collection,) = library.store.list_collections(dataset_id)
    gone = [record.id for record in library.store.list_records(collection.id, limit=count)]
    own = library.store.records_in(dataset_id, gone)
    passages = len(library.store.passage_ids_of(own))
    library.store.delete_records(own)
    return passages


# Status


def test_status_says_where_the_parts_of_an_index_are(api: Api) -> None:
    unloaded = status_of(api, "suzume")
    api.search("suzume", "导演是谁")
    loaded = status_of(api, "suzume")

    assert unloaded == {
        "records": 45,
        "passages": 57,
        "sealed": 0,
        "hasGraph": False,
        "flat": 57,
        "removed": 0,
        "memoryBytes": 0,
        "diskBytes": 0,
        "isLoaded": False,
        "loadSeconds": 0.0,
        "folding": None,
    }
    # fp16 vectors of 64 numbers, and what else belongs to a passage.
    assert 57 * 2 * 64 < loaded["memoryBytes"] < 57 * 2 * 64 + 57 * 64
    assert loaded["loadSeconds"] > 0
    measured = {name: loaded[name] for name in ("memoryBytes", "loadSeconds")}
    assert loaded == {**unloaded, **measured, "isLoaded": True}


def test_status_counts_what_was_added_and_deleted(api: Api) -> None:
    dataset = api.dataset_id("suzume")
    data_of(api.post(REBUILD, {"id": dataset}))
    api.search("suzume", "导演是谁")
    data_of(api.upload(dataset, "new.csv", b"q,a,indexes\nq1,a1,x\nq2,a2\n"))
    (old, _) = api.service.library.store.list_collections(dataset)
    (record,) = api.service.library.store.list_records(old.id, limit=1)
    passages = len(api.service.library.store.passages_of([record.id])[record.id])
    api.service.library.delete_records(dataset, [record.id])

    status = status_of(api, "suzume")

    assert (status["records"], status["passages"]) == (46, 60 - passages)
    # What is removed from the sealed part stays there, marked, until the next fold.
    assert (status["sealed"], status["flat"], status["removed"]) == (57 - passages, 3, passages)


def test_status_of_an_empty_dataset(api: Api) -> None:
    data_of(api.post(f"{DATASETS}/create", {"name": "new"}))

    status = status_of(api, "new")

    assert {status[name] for name in ("records", "passages", "sealed", "flat", "removed", "diskBytes")} == {0}


def test_what_goes_over_the_wire_comes_back(api: Api) -> None:
    status = IndexStatus(9, 5, True, 4, 3, 1000, 2000, True, 0.25, 0.5)
    found = IndexDifferences(1, 2, 3, 4, "damaged")

    assert from_wire(IndexStatus, json.loads(json.dumps(to_wire(status)))) == status
    assert from_wire(IndexDifferences, json.loads(json.dumps(to_wire(found)))) == found


# Rebuild


def test_a_rebuilt_index_finds_the_same_and_nothing_is_embedded(api: Api, embedder: HashEmbedder) -> None:
    dataset = api.dataset_id("suzume")
    before = api.search("suzume", "导演是谁", limit=20_000)["list"]
    read = embedder.texts_read

    rebuilt = data_of(api.post(REBUILD, {"id": dataset}))

    assert (rebuilt["passages"], rebuilt["sealed"], rebuilt["flat"], rebuilt["removed"]) == (57, 57, 0, 0)
    assert (rebuilt["isLoaded"], rebuilt["hasGraph"], rebuilt["folding"]) == (True, False, None)
    assert rebuilt["diskBytes"] > 57 * 2 * 64
    assert status_of(api, "suzume") == {"records": 45, **rebuilt}
    assert api.search("suzume", "导演是谁", limit=20_000)["list"] == before
    assert len(before) > 20
    assert embedder.texts_read == read


def test_a_rebuild_takes_up_what_the_index_did_not_know(api: Api, sampled: Library) -> None:
    dataset = api.dataset_id("suzume")
    api.search("suzume", "导演是谁")
    gone = delete_behind_its_back(sampled, dataset, 3)

    rebuilt = data_of(api.post(REBUILD, {"id": dataset}))

    assert (rebuilt["passages"], rebuilt["sealed"]) == (57 - gone, 57 - gone)
    assert data_of(api.post(VERIFY))["clean"] is True


# Verify


def test_verify_finds_nothing_where_nothing_is(api: Api) -> None:
    assert data_of(api.post(VERIFY)) == {
        "clean": True,
        "repairedBatches": 0,
        "orphansRemoved": 0,
        "differences": {},
        "textDifferences": {},
        "passages": {"suzume": 57, "coffee": 57},
    }


def test_verify_tells_what_differs_and_mends_it(api: Api, sampled: Library) -> None:
    for name in ("suzume", "coffee"):
        api.search(name, "x")
    before = api.search("suzume", "导演是谁", limit=20_000)["list"]
    (collection,) = sampled.store.list_collections(api.dataset_id("suzume"))
    deleted = {record.id for record in sampled.store.list_records(collection.id, limit=2)}
    gone = delete_behind_its_back(sampled, api.dataset_id("suzume"), 2)

    found, again = (data_of(api.post(VERIFY)) for _ in range(2))

    nothing = {"missing": 0, "misfiled": 0, "changed": 0, "snapshot": ""}
    assert found == {
        "clean": False,
        "repairedBatches": 0,
        "orphansRemoved": 0,
        "differences": {"suzume": {**nothing, "surplus": gone}},
        "textDifferences": {},
        "passages": {"suzume": 57 - gone, "coffee": 57},
    }
    assert again == {**found, "clean": True, "differences": {}}
    after = api.search("suzume", "导演是谁", limit=20_000)["list"]
    assert [item["id"] for item in after] == [item["id"] for item in before if item["id"] not in deleted]
    assert len(after) < len(before)


def test_verify_tells_of_a_damaged_snapshot(api: Api, tmp_path: Path) -> None:
    dataset = api.dataset_id("coffee")
    before = api.search("coffee", "water", limit=20_000)["list"]
    data_of(api.post(REBUILD, {"id": dataset}))
    (codes,) = (tmp_path / "data" / INDEX_FOLDER / dataset).glob("*.codes")
    content = bytearray(codes.read_bytes())
    content[len(content) // 2] ^= 1
    codes.write_bytes(content)

    found, again = (data_of(api.post(VERIFY)) for _ in range(2))

    assert list(found["differences"]) == ["coffee"]
    assert found["differences"]["coffee"]["snapshot"] != ""
    assert (found["clean"], again["clean"]) == (False, True)
    assert api.search("coffee", "water", limit=20_000)["list"] == before


# Who may


@pytest.fixture
def named(api: Api) -> Headers:
    """A key that opens coffee only."""
    return api.new_key("dataset", dataset_ids=(api.dataset_id("coffee"),))[1]


def ask(api: Api, what: str, dataset_id: str, headers: Headers) -> Response:
    if what == "status":
        return api.get(STATUS, headers, id=dataset_id)
    return api.post(REBUILD if what == "rebuild" else VERIFY, {"id": dataset_id}, headers)


@pytest.mark.parametrize("what", ["status", "rebuild", "verify"])
def test_an_app_key_and_no_key_open_nothing(api: Api, what: str) -> None:
    dataset = api.dataset_id("suzume")
    app_key = api.new_key("app", app_id=api.new_app("suzume").id)[1]

    assert (ask(api, what, dataset, app_key).status_code, ask(api, what, dataset, {}).status_code) == (
        403,
        401,
    )


@pytest.mark.parametrize("what", ["status", "rebuild"])
def test_a_key_to_named_datasets_opens_these(api: Api, named: Headers, what: str) -> None:
    other = api.dataset_id("suzume")

    assert data_of(ask(api, what, api.dataset_id("coffee"), named))["passages"] == 57
    refused = ask(api, what, other, named)
    assert refused.status_code == 403
    assert error_of(refused)["message"] == (
        f"this key does not open the dataset {other}: use a key that names it"
    )
    assert status_of(api, "suzume")["sealed"] == 0


def test_an_admin_key_verifies_all_and_a_dataset_key_does_not(api: Api, named: Headers) -> None:
    for headers in (named, api.new_key("dataset")[1]):
        refused = api.post(VERIFY, headers=headers)

        assert refused.status_code == 403
        assert error_of(refused)["message"] == (
            "this is a dataset key, and this takes an admin key (quotebase keys create --admin)"
        )
    assert data_of(api.post(VERIFY))["clean"] is True


@pytest.mark.parametrize("what", ["status", "rebuild"])
def test_a_dataset_that_is_not_there(api: Api, what: str) -> None:
    refused = ask(api, what, NOBODY, api.admin)

    assert refused.status_code == 404
    assert error_of(refused)["code"] == "dataset_not_found"


def test_a_dataset_has_to_be_named(api: Api) -> None:
    for refused in (api.get(STATUS), api.post(REBUILD, {}), api.post(REBUILD, {"id": None})):
        assert refused.status_code == 422
        assert (error_of(refused)["param"], error_of(refused)["message"]) == ("id", "id: Field required")


# Uploads with ready-made embeddings


def upload(api: Api, dataset: str, table: bytes, vectors: bytes, name: str = "a.csv") -> Response:
    return api.client.post(
        f"{DATASETS}/collection/create/template",
        files={"file": (name, table), "vectors": ("mine.npy", vectors)},
        data={"data": json.dumps({"datasetId": dataset})},
        headers=api.admin,
    )


def npy(tmp_path: Path, texts: list[str]) -> bytes:
    path = tmp_path / "v.npy"
    np.save(path, GridEmbedder().embed_passages(texts))
    content: bytes = path.read_bytes()
    return content


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("a.csv", b"q,a,indexes\nq1,a1,x\n,refused\nq2,,q2\n"),
        ("a.jsonl", b'{"q":"q1","a":"a1","indexes":["x"]}\n{"a":"refused"}\n{"q":"q2","indexes":["q2"]}\n'),
    ],
)
def test_an_upload_brings_its_vectors(
    api: Api, sampled: Library, embedder: HashEmbedder, tmp_path: Path, name: str, table: bytes
) -> None:
    dataset = data_of(api.post(f"{DATASETS}/create", {"name": "new"}))
    vectors = npy(tmp_path, ["q1\na1", "x", "out", "q2", "q2 again"])

    first, second = (data_of(upload(api, dataset, table, vectors, name))["report"] for _ in range(2))

    assert (first["read"], first["added"], first["rejected"], first["embedded"]) == (3, 2, 1, 0)
    assert (second["added"], second["unchanged"], second["embedded"]) == (0, 2, 0)
    assert (first["file"], first["collection"]) == (name, name)
    assert embedder.texts_read == 0
    blocks: list[PassageBlock] = list(sampled.load_index(dataset).blocks())
    expected = GridEmbedder().embed_passages(["q1\na1", "x", "q2"])
    assert np.array_equal(np.concatenate([block.embeddings for block in blocks]), expected)


@pytest.mark.parametrize(
    ("texts", "code", "said"),
    [
        (["one"], "invalid_request", "1 vectors and the table 2 texts"),
        (["one", "two", "three"], "invalid_request", "3 vectors and the table 2 texts"),
        (None, "unreadable_file", "cannot be read as a .npy file"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(
    api: Api, tmp_path: Path, texts: list[str] | None, code: str, said: str
) -> None:
    dataset = data_of(api.post(f"{DATASETS}/create", {"name": "new"}))

    refused = upload(api, dataset, b"q,a\nq1,a1\nq2,a2\n", npy(tmp_path, texts) if texts else b"none")

    assert refused.status_code in (400, 422)
    assert error_of(refused)["code"] == code
    assert said in error_of(refused)["message"]
    assert api.service.library.store.list_collections(dataset) == []


def test_vectors_are_named_as_they_were_sent(api: Api, tmp_path: Path) -> None:
    refused = upload(api, api.dataset_id("suzume"), b"q,a\nq1,a1\n", npy(tmp_path, ["one", "two"]))

    assert error_of(refused)["message"].startswith("mine.npy has 2 vectors")
