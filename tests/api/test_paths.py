"""Every path of FastGPT's dataset API in each of its forms, and the whole reply, field by field.

``pytest tests/api/test_paths.py --update-golden`` writes the replies; read the difference.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.api.wire import DATASETS, Api, Headers

COLLECTION = f"{DATASETS}/collection"
DATA = f"{DATASETS}/data"
TRAINING = f"{DATASETS}/training"
USAGE = "/api/support/wallet/usage"

ID = re.compile(r"\b[0-9a-f]{24}\b")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?")


@dataclass(frozen=True)
class Step:
    """One request. ``{name}`` in it stands for an id that an earlier step was ``saved_as``."""

    title: str
    method: str
    path: str
    body: Any = None
    query: dict[str, str] = field(default_factory=dict)
    file: tuple[str, bytes] | None = None
    saved_as: str = ""
    saved_from: str = "data"


STEPS = (
    Step(
        "create a folder",
        "POST",
        f"{DATASETS}/create",
        {"name": "shelf", "type": "folder"},
        saved_as="folder",
    ),
    Step(
        "create a dataset",
        "POST",
        f"{DATASETS}/create",
        {
            "name": "books",
            "type": "dataset",
            "parentId": "{folder}",
            "intro": "about",
            "avatar": "/a.svg",
            "vectorModel": "text-embedding-ada-002",
            "agentModel": "gpt-4o-mini",
            "unknown": 1,
        },
        saved_as="dataset",
    ),
    Step("list by POST", "POST", f"{DATASETS}/list", {"parentId": "{folder}"}),
    Step("list by POST, the top", "POST", f"{DATASETS}/list", {"parentId": None, "type": "folder"}),
    Step("list by POST, by name", "POST", f"{DATASETS}/list", {"parentId": "", "searchKey": "BOO"}),
    Step("list by GET", "GET", f"{DATASETS}/list", query={"parentId": "{folder}"}),
    Step("dataset detail", "GET", f"{DATASETS}/detail", query={"id": "{dataset}"}),
    Step("dataset update by PUT", "PUT", f"{DATASETS}/update", {"id": "{dataset}", "name": "novels"}),
    Step("dataset update by POST", "POST", f"{DATASETS}/update", {"id": "{dataset}", "intro": "of them"}),
    Step(
        "collection create",
        "POST",
        f"{COLLECTION}/create",
        {
            "datasetId": "{dataset}",
            "parentId": None,
            "name": "by hand",
            "type": "virtual",
            "metadata": {"shelf": 3},
            "tags": ["a", "b"],
            "externalFileId": "F1",
        },
        saved_as="collection",
    ),
    Step(
        "collection create, a folder",
        "POST",
        f"{COLLECTION}/create",
        {"datasetId": "{dataset}", "name": "inner", "type": "folder"},
        saved_as="inner",
    ),
    Step(
        "collection create text",
        "POST",
        f"{COLLECTION}/create/text",
        {
            "datasetId": "{dataset}",
            "text": "# Tea\n\nGreen tea is steeped at 80 degrees.",
            "name": "tea",
            "trainingType": "chunk",
            "chunkSize": "512",
            "chunkSplitter": "",
            "qaPrompt": "",
        },
        saved_as="text",
        saved_from="data.collectionId",
    ),
    Step(
        "collection create localFile",
        "POST",
        f"{COLLECTION}/create/localFile",
        {"datasetId": "{dataset}", "parentId": None, "trainingType": "chunk", "chunkSize": 512},
        file=("茶.md", "# 茶\n\n绿茶用八十度的水。".encode()),
    ),
    Step(
        "collection create template",
        "POST",
        f"{COLLECTION}/create/template",
        {"datasetId": "{dataset}"},
        file=("t.csv", b"q,a,indexes\none,1,uno\ntwo,2,\n,3,\n"),
        saved_as="table",
        saved_from="data.collectionId",
    ),
    Step(
        "collection create backup",
        "POST",
        f"{COLLECTION}/create/backup",
        {"datasetId": "{dataset}"},
        file=("b.csv", b"q,a,indexes\none,1,uno\n"),
    ),
    Step(
        "collection list by page",
        "POST",
        f"{COLLECTION}/list",
        {"datasetId": "{dataset}", "parentId": None, "pageNum": 1, "pageSize": 2, "searchText": ""},
    ),
    Step(
        "collection list by offset",
        "POST",
        f"{COLLECTION}/listV2",
        {"datasetId": "{dataset}", "parentId": "", "offset": "2", "pageSize": "2", "searchText": ""},
    ),
    Step(
        "collection list by name",
        "POST",
        f"{COLLECTION}/listV2",
        {"datasetId": "{dataset}", "searchText": "HAND"},
    ),
    Step("collection detail", "GET", f"{COLLECTION}/detail", query={"id": "{collection}"}),
    Step(
        "collection update by PUT",
        "PUT",
        f"{COLLECTION}/update",
        {
            "id": "{collection}",
            "name": "by two hands",
            "parentId": "{inner}",
            "tags": ["c"],
            "forbid": True,
            "createTime": "2025-01-02T03:04:05.000Z",
        },
    ),
    Step(
        "collection update by POST and external id",
        "POST",
        f"{COLLECTION}/update",
        {"datasetId": "{dataset}", "externalFileId": "F1", "forbid": False},
    ),
    Step("collection detail, updated", "GET", f"{COLLECTION}/detail", query={"id": "{collection}"}),
    Step("collection read", "POST", f"{COLLECTION}/read", {"collectionId": "{text}"}),
    Step("training detail", "GET", f"{COLLECTION}/trainingDetail", query={"collectionId": "{table}"}),
    Step("training queue", "GET", f"{TRAINING}/getDatasetTrainingQueue", query={"datasetId": "{dataset}"}),
    Step(
        "training errors",
        "POST",
        f"{TRAINING}/getTrainingError",
        {"collectionId": "{table}", "pageSize": 10, "pageNum": 1},
        saved_as="error",
        saved_from="data.list.0._id",
    ),
    Step(
        "training update",
        "PUT",
        f"{TRAINING}/updateTrainingData",
        {"datasetId": "{dataset}", "collectionId": "{table}", "dataId": "{error}", "q": "three", "a": "3"},
    ),
    Step(
        "create a usage",
        "POST",
        f"{USAGE}/createTrainingUsage",
        {"datasetId": "{dataset}", "name": "n"},
        saved_as="bill",
    ),
    Step(
        "push",
        "POST",
        f"{DATA}/pushData",
        {
            "collectionId": "{collection}",
            "trainingType": "chunk",
            "prompt": "",
            "billId": "{bill}",
            "data": [
                {
                    "q": "sky?",
                    "a": "blue",
                    "chunkIndex": "3",
                    "indexes": [{"type": "custom", "text": "heaven"}],
                },
                {"q": "", "a": "none"},
                {"q": "sea?"},
            ],
        },
    ),
    Step(
        "push, an older form",
        "POST",
        f"{DATA}/pushData",
        {
            "collectionId": "{collection}",
            "mode": "chunk",
            "data": [{"q": "sky?", "a": "blue", "indexes": ["heaven"]}],
        },
    ),
    Step(
        "push, another older form",
        "POST",
        f"{DATA}/pushData",
        {"collectionId": "{collection}", "trainingMode": "chunk", "data": [{"q": "fire?"}]},
    ),
    Step("usage", "GET", f"{USAGE}/detail", query={"id": "{bill}"}),
    Step(
        "insert",
        "POST",
        f"{DATA}/insertData",
        {"collectionId": "{collection}", "q": "grass?", "a": "green", "indexes": [{"text": "lawn"}]},
        saved_as="record",
    ),
    Step(
        "data list by page",
        "POST",
        f"{DATA}/list",
        {"collectionId": "{collection}", "pageNum": 1, "pageSize": 2, "searchText": ""},
    ),
    Step(
        "data list by offset",
        "POST",
        f"{DATA}/v2/list",
        {"collectionId": "{collection}", "offset": 2, "pageSize": 2},
    ),
    Step(
        "data list by text",
        "POST",
        f"{DATA}/v2/list",
        {"collectionId": "{collection}", "searchText": "GREEN"},
    ),
    Step("data detail", "GET", f"{DATA}/detail", query={"id": "{record}"}),
    Step(
        "data update",
        "PUT",
        f"{DATA}/update",
        {
            "dataId": "{record}",
            "q": "moss?",
            "indexes": [{"type": "custom", "text": "lawn"}, {"text": "turf"}],
        },
    ),
    Step("data update, an older form", "PUT", f"{DATA}/update", {"id": "{record}", "a": "greener"}),
    Step("data update by POST", "POST", f"{DATA}/update", {"dataId": "{record}", "a": "greener"}),
    Step("data detail, updated", "GET", f"{DATA}/detail", query={"id": "{record}"}),
    Step(
        "searchTest",
        "POST",
        f"{DATASETS}/searchTest",
        {
            "datasetId": "{dataset}",
            "text": "moss?\ngreener",
            "limit": 5000,
            "similarity": 0.5,
            "searchMode": "embedding",
            "usingReRank": False,
            "datasetSearchUsingExtensionQuery": False,
            "datasetSearchExtensionModel": "gpt-4o-mini",
            "datasetSearchExtensionBg": "",
        },
    ),
    Step("data delete", "DELETE", f"{DATA}/delete", query={"id": "{record}"}),
    Step("collection delete by query", "DELETE", f"{COLLECTION}/delete", query={"id": "{table}"}),
    Step("collection delete by POST", "POST", f"{COLLECTION}/delete", {"collectionIds": ["{text}"]}),
    Step(
        "collection delete by a body", "DELETE", f"{COLLECTION}/delete", {"collectionIds": ["{collection}"]}
    ),
    Step("dataset delete", "DELETE", f"{DATASETS}/delete", query={"id": "{dataset}"}),
    Step("what is gone", "GET", f"{DATASETS}/detail", query={"id": "{dataset}"}),
)


def test_every_path_replies_as_it_did(api: Api, golden: Callable[[str, str], None]) -> None:
    saved: dict[str, str] = {}
    told = []
    for step in STEPS:
        response = send(api, step, saved)
        reply = response.json()
        if step.saved_as:
            saved[step.saved_as] = at(reply, step.saved_from)
        told.append(
            {
                "step": step.title,
                "request": f"{step.method} {step.path}",
                "status": response.status_code,
                "reply": reply,
            }
        )
    names = {value: f"<{name}>" for name, value in saved.items()}
    golden("paths.json", plain(json.dumps(told, ensure_ascii=False, indent=1), names) + "\n")


def send(api: Api, step: Step, saved: dict[str, str], headers: Headers | None = None) -> Any:
    """By an admin key unless ``headers`` have another."""
    headers = headers or api.admin
    body, query = filled(step.body, saved), filled(step.query, saved)
    if step.file:
        form = {"data": json.dumps(body)}
        return api.client.post(step.path, files={"file": step.file}, data=form, headers=headers)
    return api.client.request(step.method, step.path, json=body, params=query, headers=headers)


def filled(value: Any, saved: dict[str, str]) -> Any:
    text = json.dumps(value)
    for name, id_ in saved.items():
        text = text.replace(f"{{{name}}}", id_)
    return json.loads(text)


def at(reply: Any, path: str) -> str:
    for name in path.split("."):
        reply = reply[int(name)] if name.isdecimal() else reply[name]
    return str(reply)


def plain(text: str, names: dict[str, str]) -> str:
    """Without what differs from run to run."""
    for id_, name in names.items():
        text = text.replace(id_, name)
    text = TIME.sub("<time>", ID.sub("<id>", text))
    text = re.sub(r'"(seconds|created)": [\d.e-]+', r'"\1": 0', text)
    return re.sub(
        r'"duration": "[^"]*"', '"duration": "<s>"', re.sub(r'"value": ([\d.]{8})\d*', r'"value": \1', text)
    )
