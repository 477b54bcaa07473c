"""What an import rejected is listed, mended and done again."""

from typing import Any

import pytest

import ingest.refusals
from tests.api.wire import DATASETS, Api, data_of, error_of

ERRORS = f"{DATASETS}/training/getTrainingError"
UPDATE = f"{DATASETS}/training/updateTrainingData"


def upload(api: Api, content: bytes) -> tuple[str, str]:
    """Of ``suzume`` and of the collection."""
    dataset = api.dataset_id("suzume")
    return dataset, data_of(api.upload(dataset, "some.csv", content))["collectionId"]


def update(api: Api, **body: Any) -> Any:
    return api.client.put(UPDATE, json=body, headers=api.admin)


def test_a_rejected_row_is_listed_and_mended(api: Api) -> None:
    _, collection = upload(api, b"q,a\none,1\n,2\nthree,3\n,4\n")
    listed = data_of(api.post(ERRORS, {"collectionId": collection, "pageSize": 1, "pageNum": 2}))
    assert (listed["total"], len(listed["list"])) == (2, 1)
    (second,) = listed["list"]
    assert (second["chunkIndex"], second["mode"]) == (5, "chunk")
    assert "line 5" in second["errorMsg"]

    assert data_of(update(api, collectionId=collection, dataId=second["_id"], q="four", a="4")) == {}

    left = data_of(api.post(ERRORS, {"collectionId": collection}))
    assert [one["chunkIndex"] for one in left["list"]] == [3]
    rows = data_of(api.post(f"{DATASETS}/data/list", {"collectionId": collection}))["list"]
    assert [(row["q"], row["a"]) for row in rows] == [("one", "1"), ("three", "3"), ("four", "4")]
    detail = data_of(api.get(f"{DATASETS}/collection/trainingDetail", collectionId=collection))
    assert (detail["trainedCount"], detail["errorCounts"]["chunk"]) == (3, 1)
    report = data_of(api.get(f"{DATASETS}/job/list", datasetId=api.dataset_id("suzume")))[-1]["report"]
    assert (
        report["read"] == report["added"] + report["updated"] + report["unchanged"] + report["rejected"] == 4
    )


def test_what_did_not_go_wrong_cannot_be_mended(api: Api) -> None:
    _, collection = upload(api, b"q,a\none,1\n")

    missing = update(api, collectionId=collection, dataId="nothing", q="x")

    assert (missing.status_code, error_of(missing)["code"]) == (404, "job_not_found")
    assert data_of(update(api, collectionId=collection)) == {}


def test_a_failed_import_whose_upload_is_gone_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.refusals, "WAITS_S", ())
    dataset, collection = upload(api, b"q,a\none,1\n")
    embedder: Any = api.service.library.embedder
    monkeypatch.setattr(embedder, "embed_passages", lambda texts: 1 / 0)
    assert api.upload(dataset, "some.csv", b"q,a\none,1\ntwo,2\n").status_code == 500
    monkeypatch.undo()

    (failed,) = data_of(api.post(ERRORS, {"collectionId": collection}))["list"]
    refused = update(api, collectionId=collection, dataId=failed["_id"])

    assert "ZeroDivisionError" in failed["errorMsg"]
    assert refused.status_code == 422
    assert "upload it again" in error_of(refused)["message"]
