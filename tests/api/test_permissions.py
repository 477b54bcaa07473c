"""Which key opens which path: every path of the service by every kind of key.

A new route gets a line in ``ROUTES``: what a key must be able to do, and a call that would succeed.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pytest
from httpx2 import Response

from api.chat.chats import LOCAL
from api.chat.history import Place
from api.keys import Capability
from api.usages import Usages
from retrieval.completion import Message
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.library import Library
from retrieval.types import RecordDraft, new_id
from tests.api.conftest import opened
from tests.api.wire import CHAT, DATASETS, Api, Headers, bearer, data_of, error_of
from tests.doubles import HashEmbedder

Need = Literal["search", "write", "export", "any dataset key", "admin", "chat", "chat or admin"]


@dataclass(frozen=True)
class Call:
    """What a route needs, and a request for it; ``{dataset}`` and the like are made for it, see :class:`Things`.

    ``elsewhere``: whether a key for another dataset may call it all the same, and sees less.
    """

    needs: Need
    params: Mapping[str, str] | None = None
    body: object = None
    form: Mapping[str, str] | None = None
    elsewhere: bool = False


OPENAPI = "/api/support/openapi"
APPS = "/api/core/app"
CHATS = "/api/core/chat"
QUESTION = {"messages": [{"role": "user", "content": "导演是谁"}]}
UPLOAD = {"datasetId": "{dataset}", "name": "c"}
THRESHOLD = {"datasetId": "{dataset}", "similarity": 0.5, "precision": 1, "recall": 1}

LOOKS = ("getHistories", "history/getHistories", "getPaginationRecords", "init")
UPDATES = ("updateHistory", "history/updateHistory")
DELETES = (
    *("delHistory", "history/delHistory", "clearHistories", "history/clearHistories"),
    "item/delete",
)
ITEM = "an item"
OF_CHAT = {"appId": "{app}", "chatId": "{chat}", "contentId": ITEM, "dataId": ITEM}
LOOK = Call("chat or admin", params=OF_CHAT, body=OF_CHAT)
CHANGE = Call("chat", params=OF_CHAT, body=OF_CHAT)
MODELS = ("/v1/models", "/api/v1/models", "/v1/models/{model}", "/api/v1/models/{model}")

ROUTES: dict[tuple[str, str], Call] = {
    ("POST", CHAT): Call("chat", body=QUESTION),
    ("POST", "/v1/chat/completions"): Call("chat", body=QUESTION),
    ("POST", "/api/chat/completions"): Call("chat", body=QUESTION),
    **{(method, f"{CHATS}/{path}"): LOOK for path in LOOKS for method in ("GET", "POST")},
    **{(method, f"{CHATS}/{path}"): CHANGE for path in UPDATES for method in ("POST", "PUT")},
    **{(method, f"{CHATS}/{path}"): CHANGE for path in DELETES for method in ("POST", "DELETE")},
    ("POST", f"{CHATS}/feedback/updateUserFeedback"): CHANGE,
    **{("GET", path): Call("chat or admin") for path in MODELS},
    ("POST", f"{APPS}/list"): Call("admin", body={}),
    ("GET", f"{APPS}/list"): Call("admin"),
    ("POST", f"{APPS}/create"): Call("admin", body={"name": "{name}", "datasetIds": ["{dataset}"]}),
    ("GET", f"{APPS}/detail"): Call("admin", params={"appId": "{app}"}),
    ("PUT", f"{APPS}/update"): Call("admin", params={"appId": "{app}"}, body={"intro": "x"}),
    ("POST", f"{APPS}/update"): Call("admin", body={"appId": "{app}", "intro": "x"}),
    ("DELETE", f"{APPS}/del"): Call("admin", params={"appId": "{app}"}),
    ("DELETE", f"{APPS}/delete"): Call("admin", params={"appId": "{app}"}),
    ("GET", f"{DATASETS}/list"): Call("any dataset key", elsewhere=True),
    ("POST", f"{DATASETS}/list"): Call("any dataset key", body={}, elsewhere=True),
    ("POST", f"{DATASETS}/create"): Call("write", body={"name": "{name}"}),
    ("GET", f"{DATASETS}/detail"): Call("search", params={"id": "{dataset}"}),
    ("DELETE", f"{DATASETS}/delete"): Call("write", params={"id": "{dataset}"}),
    ("POST", f"{DATASETS}/collection/create"): Call("write", body={"datasetId": "{dataset}", "name": "c"}),
    ("DELETE", f"{DATASETS}/collection/delete"): Call("write", params={"id": "{collection}"}),
    ("POST", f"{DATASETS}/collection/create/template"): Call("write", form=UPLOAD),
    ("POST", f"{DATASETS}/collection/create/backup"): Call("write", form=UPLOAD),
    ("POST", f"{DATASETS}/collection/create/localFile"): Call("write", form=UPLOAD),
    ("POST", f"{DATASETS}/collection/create/text"): Call("write", body={**UPLOAD, "text": "a text"}),
    ("POST", f"{DATASETS}/collection/create/link"): Call(
        "write", body={**UPLOAD, "link": "http://127.0.0.1:9"}
    ),
    ("POST", f"{DATASETS}/data/pushData"): Call(
        "write", body={"collectionId": "{collection}", "data": [{"q": "x"}]}
    ),
    ("PUT", f"{DATASETS}/update"): Call("write", body={"id": "{dataset}", "intro": "x"}),
    ("POST", f"{DATASETS}/update"): Call("write", body={"id": "{dataset}", "intro": "x"}),
    ("POST", f"{DATASETS}/collection/list"): Call("search", body={"datasetId": "{dataset}"}),
    ("POST", f"{DATASETS}/collection/listV2"): Call("search", body={"datasetId": "{dataset}"}),
    ("GET", f"{DATASETS}/collection/detail"): Call("search", params={"id": "{collection}"}),
    ("PUT", f"{DATASETS}/collection/update"): Call("write", body={"id": "{collection}", "forbid": True}),
    ("POST", f"{DATASETS}/collection/update"): Call("write", body={"id": "{collection}", "tags": []}),
    ("POST", f"{DATASETS}/collection/delete"): Call("write", body={"collectionIds": ["{collection}"]}),
    ("POST", f"{DATASETS}/collection/read"): Call("search", body={"collectionId": "{collection}"}),
    ("GET", f"{DATASETS}/collection/trainingDetail"): Call("search", params={"collectionId": "{collection}"}),
    ("GET", f"{DATASETS}/training/getDatasetTrainingQueue"): Call(
        "search", params={"datasetId": "{dataset}"}
    ),
    ("POST", f"{DATASETS}/training/getTrainingError"): Call("search", body={"collectionId": "{collection}"}),
    ("PUT", f"{DATASETS}/training/updateTrainingData"): Call("write", body={"collectionId": "{collection}"}),
    ("POST", f"{DATASETS}/training/rebuildEmbedding"): Call(
        "write", body={"datasetId": "{dataset}", "vectorModel": "{model}"}
    ),
    ("POST", f"{DATASETS}/training/rollbackEmbedding"): Call("write", body={"datasetId": "{dataset}"}),
    ("POST", f"{DATASETS}/training/discardEmbedding"): Call("write", body={"datasetId": "{dataset}"}),
    ("GET", f"{DATASETS}/training/rebuildState"): Call("search", params={"datasetId": "{dataset}"}),
    ("POST", f"{DATASETS}/data/insertData"): Call("write", body={"collectionId": "{collection}", "q": "x"}),
    ("POST", f"{DATASETS}/data/list"): Call("search", body={"collectionId": "{collection}"}),
    ("POST", f"{DATASETS}/data/v2/list"): Call("search", body={"collectionId": "{collection}"}),
    ("GET", f"{DATASETS}/data/detail"): Call("search", params={"id": "{record}"}),
    ("PUT", f"{DATASETS}/data/update"): Call("write", body={"dataId": "{record}", "a": "x"}),
    ("POST", f"{DATASETS}/data/update"): Call("write", body={"dataId": "{record}", "a": "x"}),
    ("DELETE", f"{DATASETS}/data/delete"): Call("write", params={"id": "{record}"}),
    ("POST", "/api/support/wallet/usage/createTrainingUsage"): Call("write", body={"datasetId": "{dataset}"}),
    ("GET", "/api/support/wallet/usage/detail"): Call("write", params={"id": "{usage}"}),
    ("POST", f"{DATASETS}/searchTest"): Call("search", body={"datasetId": "{dataset}", "text": "x"}),
    ("GET", f"{DATASETS}/job/list"): Call("search", params={"datasetId": "{dataset}"}, elsewhere=True),
    ("GET", f"{DATASETS}/job/detail"): Call("search", params={"id": "{job}"}),
    ("POST", f"{DATASETS}/job/cancel"): Call("write", body={"id": "{job}"}),
    ("GET", f"{DATASETS}/job/rejects"): Call("write", params={"id": "{job}"}),
    ("GET", f"{DATASETS}/exportAll"): Call("export", params={"datasetId": "{dataset}"}),
    ("GET", f"{DATASETS}/records"): Call("export", params={"datasetId": "{dataset}"}),
    ("GET", f"{DATASETS}/calibration"): Call("search", params={"datasetId": "{dataset}"}),
    ("POST", f"{DATASETS}/calibration"): Call("write", body=THRESHOLD),
    ("DELETE", f"{DATASETS}/calibration"): Call("write", params={"datasetId": "{dataset}"}),
    ("GET", f"{DATASETS}/calibration/heldOut"): Call("search", params={"datasetId": "{dataset}"}),
    ("GET", f"{DATASETS}/index/status"): Call("search", params={"id": "{dataset}"}),
    ("POST", f"{DATASETS}/index/rebuild"): Call("write", body={"id": "{dataset}"}),
    ("POST", f"{DATASETS}/index/verify"): Call("admin"),
    ("POST", f"{OPENAPI}/create"): Call("admin", body={"kind": "dataset"}),
    ("GET", f"{OPENAPI}/list"): Call("admin"),
    ("GET", "/metrics"): Call("admin"),
    ("DELETE", f"{OPENAPI}/delete"): Call("admin", params={"id": "{key}"}),
}

PUBLIC = {("GET", "/health"), ("GET", "/ready"), ("GET", f"{OPENAPI}/health")}
"""Take no key."""

ANOTHER_FORM = {("POST", "/retrieval")}
"""Refuse keys in the words of another system: see ``test_dify.py``."""

UNKNOWN = ("no key", "wrong key", "revoked key")

ALONE: dict[str, Capability] = {"only search": "search", "only write": "write", "only export": "export"}

OTHER = "another dataset"

CALLERS = (*UNKNOWN, "app key", *ALONE, OTHER, "admin")


class Things:
    """What calls are about, made when a call names it."""

    def __init__(self, api: Api, headers: Headers) -> None:
        self._api = api
        self._caller = api.service.keys.find(headers.get("Authorization", "").removeprefix("Bearer "))

    @cached_property
    def app(self) -> str:
        """That of the key, if it has one."""
        own = self._caller.app_id if self._caller else ""
        return own or self._api.new_app("suzume").id

    @cached_property
    def chat(self) -> str:
        """With one turn, ``ITEM``; of the key, if it is an app's."""
        whose = self._caller.id if self._caller and self._caller.app_id else LOCAL
        place = Place(self.app, whose, new_id())
        chat = self._api.service.chats.at(place)
        chat.append(Message("user", "q"), Message("assistant", "a"), ITEM, is_complete=True)
        return place.chat_id

    def path(self, path: str) -> str:
        return path.replace("{model}", self._api.service.apps.get(self.app).name) if "{" in path else path

    @cached_property
    def name(self) -> str:
        return new_id()

    @cached_property
    def dataset(self) -> str:
        return self._api.service.library.create_dataset(self.name).id

    @cached_property
    def model(self) -> str:
        return self._api.service.library.models.primary.binding.name

    @cached_property
    def collection(self) -> str:
        return self._api.service.library.store.create_collection(self.dataset, "c").id

    @cached_property
    def record(self) -> str:
        collection = self._api.service.library.store.get_collection(self.collection)
        return self._api.service.library.add_records(collection, [RecordDraft(new_id())]).added[0]

    @cached_property
    def usage(self) -> str:
        return Usages(self._api.service.library.store).create("", self.dataset).id

    @cached_property
    def job(self) -> str:
        done = data_of(self._api.upload(self.dataset, "a.csv", b"q,a\n1,2\n,no question\n"))
        job: str = done["report"]["job"]
        return job

    @cached_property
    def key(self) -> str:
        return self._api.new_key("dataset")[0].id

    def filled_in(self, value: object) -> Any:
        """The value with names of things replaced by what they are."""
        text = json.dumps(value)
        return json.loads(re.sub(r'"\{(\w+)\}"', lambda found: json.dumps(getattr(self, found[1])), text))


@pytest.fixture(scope="module")
def shared(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One application for all calls, each of which is about things of its own."""
    folder = tmp_path_factory.mktemp("permissions") / "data"
    shutil.copytree(samples, folder)
    with Library.open(folder, HashEmbedder()) as library, opened(library, ExtractiveCompletion()) as api:
        yield api


def headers_of(api: Api, caller: str) -> Headers:
    """A new key of that kind, but for those that have none."""
    if caller == "no key":
        return {}
    if caller == "wrong key":
        return bearer("qb-admin-" + "x" * 43)
    if caller == "app key":
        return api.new_key("app", app_id=api.new_app("suzume").id)[1]
    if caller == "admin":
        return api.new_key("admin")[1]
    if caller == OTHER:
        return api.new_key("dataset", dataset_ids=(api.dataset_id("coffee"),))[1]
    if caller in ALONE:
        return api.new_key("dataset", capabilities=(ALONE[caller],))[1]
    key, headers = api.new_key("admin")
    api.service.keys.revoke(key.id)
    return headers


def expected_of(call: Call, caller: str) -> int | Literal["allowed"]:
    """401, 403 or ``allowed``."""
    if caller in UNKNOWN:
        return 401
    if call.needs == "chat or admin":
        return "allowed" if caller in ("app key", "admin") else 403
    if (caller == "app key") != (call.needs == "chat"):
        return 403
    if caller in ("app key", "admin"):
        return "allowed"
    if caller == OTHER:
        return "allowed" if call.elsewhere else 403
    return "allowed" if call.needs in (ALONE[caller], "any dataset key") else 403


def send(api: Api, route: tuple[str, str], call: Call, headers: Headers) -> Response:
    things = Things(api, headers)
    method, path = route
    fields: dict[str, Any] = {"params": things.filled_in(call.params), "json": things.filled_in(call.body)}
    if call.form is not None:
        data = {"data": json.dumps(things.filled_in(call.form))}
        fields = {"data": data, "files": {"file": ("a.csv", b"q,a\n1,2\n")}}
    return api.client.request(method, things.path(path), headers=headers, **fields)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_key_opens_what_it_is_for_and_nothing_else(
    shared: Api, route: tuple[str, str], caller: str
) -> None:
    call = ROUTES[route]

    response = send(shared, route, call, headers_of(shared, caller))

    expected = expected_of(call, caller)
    if expected == "allowed":
        # A 404 or 5xx would not tell whether the key was looked at.
        assert response.status_code in (200, 422), response.text
    else:
        code = {401: "unauthorized", 403: "forbidden"}[expected]
        assert (response.status_code, error_of(response)["code"]) == (expected, code)
        assert response.headers["content-type"] == "application/json"


def test_every_path_has_its_line(shared: Api) -> None:
    documented = {
        (method.upper(), path)
        for path, methods in shared.client.get("/openapi.json").json()["paths"].items()
        for method in methods
    }

    assert documented - ROUTES.keys() - PUBLIC - ANOTHER_FORM == set()
    assert (ROUTES.keys() | PUBLIC | ANOTHER_FORM) - documented == set()


@pytest.mark.parametrize("route", sorted(PUBLIC), ids=" ".join)
def test_what_is_public_takes_no_key(shared: Api, route: tuple[str, str]) -> None:
    assert shared.client.request(*route, params={"apiKey": "made up"}).status_code == 200
