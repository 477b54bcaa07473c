"""What a program written for FastGPT's dataset API does in one go, every reply in the envelope."""

import csv
import io
import json
from typing import Any

from tests.api.wire import DATASETS, Api, data_of, error_of

ITEMS = 1000


def item(number: int) -> dict[str, Any]:
    return {"q": f"第{number}个问题是什么", "a": f"answer {number}", "chunkIndex": str(number)}


def push(api: Api, collection_id: str, first: int, count: int, **fields: Any) -> Any:
    items = [item(number) for number in range(first, first + count)]
    return api.post(f"{DATASETS}/data/pushData", {"collectionId": collection_id, "data": items, **fields})


def page(api: Api, collection_id: str, **fields: Any) -> Any:
    return data_of(api.post(f"{DATASETS}/data/v2/list", {"collectionId": collection_id, **fields}))


def test_a_session(api: Api) -> None:
    dataset_id = data_of(
        api.post(
            f"{DATASETS}/create",
            {"parentId": None, "type": "dataset", "name": "测试", "vectorModel": "text-embedding-ada-002"},
        )
    )
    collection_id = data_of(
        api.post(
            f"{DATASETS}/collection/create",
            {
                "datasetId": dataset_id,
                "parentId": None,
                "name": "手动",
                "type": "virtual",
                "metadata": {"n": 1},
            },
        )
    )
    bill_id = data_of(
        api.post("/api/support/wallet/usage/createTrainingUsage", {"datasetId": dataset_id, "name": "bill"})
    )

    refused = push(api, collection_id, 0, 201)
    assert (refused.status_code, error_of(refused)["param"]) == (422, "data")
    for first in range(0, ITEMS, 200):
        fields = {"billId": bill_id, **({"mode": "chunk"} if first else {"trainingType": "chunk"})}
        pushed = data_of(push(api, collection_id, first, 200, **fields))
        assert (pushed["insertLen"], pushed["overToken"], pushed["repeat"], pushed["error"]) == (
            200,
            [],
            [],
            [],
        )
    assert data_of(api.get("/api/support/wallet/usage/detail", id=bill_id))["records"] == ITEMS

    detail = data_of(api.get(f"{DATASETS}/collection/trainingDetail", collectionId=collection_id))
    assert (detail["trainedCount"], set(detail["queuedCounts"].values())) == (ITEMS, {0})
    queue = data_of(api.get(f"{DATASETS}/training/getDatasetTrainingQueue", datasetId=dataset_id))
    assert queue == {"rebuildingCount": 0, "trainingCount": 0}

    by_offset = [
        row
        for offset in range(0, ITEMS, 100)
        for row in page(api, collection_id, offset=offset, pageSize=100)["list"]
    ]
    by_number = [
        row
        for number in range(1, 11)
        for row in page(api, collection_id, pageNum=str(number), pageSize="100")["list"]
    ]
    assert [row["q"] for row in by_offset] == [item(number)["q"] for number in range(ITEMS)]
    assert by_number == by_offset
    last = page(api, collection_id, offset=990, pageSize=100)
    assert (len(last["list"]), last["total"]) == (10, ITEMS)

    record_id = by_offset[7]["_id"]
    found = data_of(api.get(f"{DATASETS}/data/detail", id=record_id))
    kept = [{"dataId": one["dataId"], **one} for one in found["indexes"]]
    changed = api.client.put(
        f"{DATASETS}/data/update",
        json={"dataId": record_id, "indexes": [*kept, {"type": "custom", "text": "twelve purple elephants"}]},
        headers=api.admin,
    )
    assert data_of(changed) is None
    search = {
        "datasetId": dataset_id,
        "text": "twelve purple elephants",
        "limit": 5000,
        "searchMode": "mixedRecall",
    }
    assert data_of(api.post(f"{DATASETS}/searchTest", search))["list"][0]["id"] == record_id

    uploaded = api.client.post(
        f"{DATASETS}/collection/create/localFile",
        files={"file": ("知识库 问答.csv", "q,a\n海是什么颜色,蓝色\n".encode(), "text/csv")},
        data={"data": json.dumps({"datasetId": dataset_id, "parentId": None, "trainingType": "chunk"})},
        headers=api.admin,
    )
    results = data_of(uploaded)
    assert results["results"]["insertLen"] == 1
    named = data_of(api.get(f"{DATASETS}/collection/detail", id=results["collectionId"]))
    assert (named["name"], named["datasetId"]) == ("知识库 问答.csv", dataset_id)

    exported = api.get(f"{DATASETS}/exportAll", datasetId=dataset_id)
    rows = list(csv.reader(io.StringIO(exported.content.decode("utf-8-sig"), newline="")))
    assert rows[0] == ["q", "a", "indexes"]
    assert len(rows) == 1 + ITEMS + 1
    assert any("twelve purple elephants" in row for row in rows)

    listed = data_of(api.post(f"{DATASETS}/collection/listV2", {"datasetId": dataset_id, "pageSize": 30}))
    assert {one["name"]: one["dataAmount"] for one in listed["list"]} == {"知识库 问答.csv": 1, "手动": ITEMS}
    others = [
        data_of(
            api.post(
                f"{DATASETS}/collection/create", {"datasetId": dataset_id, "name": name, "type": "virtual"}
            )
        )
        for name in "abc"
    ]
    assert data_of(api.delete(f"{DATASETS}/collection/delete", id=collection_id)) is None
    assert data_of(api.post(f"{DATASETS}/collection/delete", {"collectionIds": others[:2]})) is None
    with_body = api.client.request(
        "DELETE",
        f"{DATASETS}/collection/delete",
        json={"collectionIds": [others[2], results["collectionId"]]},
        headers=api.admin,
    )
    assert data_of(with_body) is None
    left = data_of(api.post(f"{DATASETS}/collection/list", {"datasetId": dataset_id}))
    assert left == {"list": [], "total": 0}
    assert data_of(api.delete(f"{DATASETS}/delete", id=dataset_id)) is None
    gone = api.get(f"{DATASETS}/detail", id=dataset_id)
    assert (gone.status_code, error_of(gone)["code"]) == (404, "dataset_not_found")
