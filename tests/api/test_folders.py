"""Folders of datasets and collections, and what is changed of both."""

from typing import Any

import pytest

from tests.api.wire import DATASETS, Api, data_of, error_of

COLLECTIONS = f"{DATASETS}/collection"


def new(api: Api, path: str, **fields: Any) -> str:
    made: str = data_of(api.post(f"{path}/create", fields))
    return made


def names(api: Api, **fields: Any) -> list[str]:
    return [item["name"] for item in data_of(api.post(f"{DATASETS}/list", fields))]


def collections(api: Api, dataset_id: str, **fields: Any) -> list[str]:
    found = data_of(api.post(f"{COLLECTIONS}/list", {"datasetId": dataset_id, **fields}))
    return [item["name"] for item in found["list"]]


def test_datasets_in_folders(api: Api) -> None:
    folder = new(api, DATASETS, name="shelf", type="folder", intro="of books", avatar="/book.svg")
    inner = new(api, DATASETS, name="box", type="folder", parentId=folder)
    book = new(api, DATASETS, name="book", parentId=inner)

    assert names(api, parentId="") == ["shelf", "suzume", "coffee"]
    assert names(api, parentId=folder) == ["box"]
    assert names(api, parentId=inner) == ["book"]
    assert names(api, searchKey="BO") == ["box", "book"]
    assert names(api, everywhere=True, type="dataset") == ["suzume", "coffee", "book"]
    assert names(api, type=["folder"]) == ["shelf"]
    shelf = data_of(api.get(f"{DATASETS}/detail", id=folder))
    assert (shelf["type"], shelf["parentId"], shelf["intro"], shelf["avatar"]) == (
        "folder",
        None,
        "of books",
        "/book.svg",
    )
    assert data_of(api.get(f"{DATASETS}/detail", id=book))["parentId"] == inner


def test_a_dataset_is_renamed_described_and_moved(api: Api) -> None:
    folder = new(api, DATASETS, name="shelf", type="folder")
    suzume = api.dataset_id("suzume")

    for send in (api.client.put, api.client.post):
        body = {"id": suzume, "name": "film", "intro": "铃芽", "parentId": folder}
        assert data_of(send(f"{DATASETS}/update", json=body, headers=api.admin)) is None

    assert names(api, parentId=folder) == ["film"]
    assert api.search("film", "导演是谁")["list"]
    taken = api.post(f"{DATASETS}/update", {"id": suzume, "name": "coffee"})
    assert (taken.status_code, error_of(taken)["code"]) == (409, "name_taken")
    assert data_of(api.post(f"{DATASETS}/update", {"id": suzume, "parentId": ""})) is None
    assert names(api, parentId="")[1] == "film"


def test_a_folder_that_is_not_empty_stays(api: Api) -> None:
    folder = new(api, DATASETS, name="shelf", type="folder")
    book = new(api, DATASETS, name="book", parentId=folder)

    refused = api.delete(f"{DATASETS}/delete", id=folder)

    assert refused.status_code == 422
    data_of(api.delete(f"{DATASETS}/delete", id=book))
    assert data_of(api.delete(f"{DATASETS}/delete", id=folder)) is None
    assert names(api) == ["suzume", "coffee"]


def test_a_key_for_some_datasets_sees_the_folders_that_lead_to_them(api: Api) -> None:
    folder = new(api, DATASETS, name="shelf", type="folder")
    new(api, DATASETS, name="other", type="folder")
    book = new(api, DATASETS, name="book", parentId=folder)
    _, headers = api.new_key("dataset", dataset_ids=(book,))

    listed = data_of(api.post(f"{DATASETS}/list", {}, headers))

    assert [item["name"] for item in listed] == ["shelf"]
    assert data_of(api.get(f"{DATASETS}/list", headers, parentId=folder))[0]["name"] == "book"


def test_collections_in_folders(api: Api) -> None:
    dataset = new(api, DATASETS, name="d")
    folder = new(api, COLLECTIONS, datasetId=dataset, name="papers", type="folder")
    paper = new(api, COLLECTIONS, datasetId=dataset, name="Paper 1", parentId=folder, tags=["x"])
    new(api, COLLECTIONS, datasetId=dataset, name="100% note")

    assert collections(api, dataset) == ["100% note", "papers"]
    assert collections(api, dataset, parentId=folder) == ["Paper 1"]
    assert collections(api, dataset, searchText="PAPER") == ["Paper 1", "papers"]
    assert collections(api, dataset, searchText="0%") == ["100% note"]
    assert collections(api, dataset, offset=1, pageSize=1) == ["papers"]
    detail = data_of(api.get(f"{COLLECTIONS}/detail", id=paper))
    assert (detail["parentId"], detail["tags"], detail["type"]) == (folder, ["x"], "virtual")


def test_what_is_forbidden_is_not_searched_and_a_folder_forbids_all_below(api: Api) -> None:
    dataset = new(api, DATASETS, name="d")
    folder = new(api, COLLECTIONS, datasetId=dataset, name="papers", type="folder")
    paper = new(api, COLLECTIONS, datasetId=dataset, name="paper", parentId=folder)
    data_of(
        api.post(f"{DATASETS}/data/pushData", {"collectionId": paper, "data": [{"q": "the sky is blue"}]})
    )
    assert api.search("d", "the sky is blue")["list"]

    for collection, forbid in ((folder, True), (folder, False), (paper, True)):
        body = {"id": collection, "forbid": forbid}
        assert data_of(api.client.put(f"{COLLECTIONS}/update", json=body, headers=api.admin)) is None
        assert bool(api.search("d", "the sky is blue")["list"]) is not forbid
        assert data_of(api.get(f"{COLLECTIONS}/detail", id=paper))["forbid"] is forbid


def test_a_collection_is_known_by_the_id_of_another_system(api: Api) -> None:
    dataset = new(api, DATASETS, name="d")
    collection = new(api, COLLECTIONS, datasetId=dataset, name="c", externalFileId="F-1")

    body = {
        "datasetId": dataset,
        "externalFileId": "F-1",
        "name": "new",
        "tags": ["a", "b"],
        "createTime": "2025-01-02T03:04:05",
    }
    assert data_of(api.post(f"{COLLECTIONS}/update", body)) is None

    detail = data_of(api.get(f"{COLLECTIONS}/detail", id=collection))
    assert (detail["name"], detail["tags"], detail["createTime"]) == (
        "new",
        ["a", "b"],
        "2025-01-02T03:04:05.000Z",
    )
    missing = api.post(f"{COLLECTIONS}/update", {**body, "externalFileId": "F-2"})
    assert (missing.status_code, error_of(missing)["code"]) == (404, "collection_not_found")
    nameless = api.post(f"{COLLECTIONS}/update", {"name": "x"})
    assert nameless.status_code == 422


def test_deleting_a_folder_deletes_all_below(api: Api) -> None:
    dataset = new(api, DATASETS, name="d")
    folder = new(api, COLLECTIONS, datasetId=dataset, name="papers", type="folder")
    paper = new(api, COLLECTIONS, datasetId=dataset, name="paper", parentId=folder)
    data_of(
        api.post(f"{DATASETS}/data/pushData", {"collectionId": paper, "data": [{"q": "the sky is blue"}]})
    )

    data_of(api.delete(f"{COLLECTIONS}/delete", id=folder))

    assert api.search("d", "the sky is blue")["list"] == []
    assert collections(api, dataset) == []


@pytest.mark.parametrize("body", [{}, {"collectionIds": []}])
def test_a_delete_has_to_name_something(api: Api, body: dict[str, Any]) -> None:
    refused = api.post(f"{COLLECTIONS}/delete", body)

    assert (refused.status_code, error_of(refused)["param"]) == (422, "id")


def test_nothing_goes_if_one_of_several_is_not_there(api: Api) -> None:
    dataset = new(api, DATASETS, name="d")
    collection = new(api, COLLECTIONS, datasetId=dataset, name="c")

    refused = api.post(f"{COLLECTIONS}/delete", {"collectionIds": [collection, "0" * 24]})

    assert refused.status_code == 404
    assert collections(api, dataset) == ["c"]
