"""Apps over the wire: made, changed, found, deleted with all that is their own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import datetime
from typing import Any

import pytest
from httpx2 import Response

from api.apps import KIND, App, Variable
from api.chat.chats import LOCAL
from api.chat.history import ABOUT_KIND, Place
from api.chat.history import KIND as TURN_KIND
from api.schemas.apps import AppFields
from retrieval.completion import Message
from retrieval.errors import StoreUnavailable
from retrieval.types import Document
from tests.api.wire import CHAT, DATASETS, Api, Chatter, Headers, data_of, error_of, new_chatter

PATH = "/api/core/app"
JSON = {"Content-Type": "application/json"}

EVERYTHING: dict[str, Any] = {
    "name": "films",
    "intro": "asked about films",
    "searchMode": "mixedRecall",
    "similarity": 0.25,
    "limit": 900,
    "topK": 7,
    "perSource": 3,
    "embeddingWeight": 0.75,
    "usingReRank": True,
    "rerankWeight": 0.125,
    "datasetSearchUsingExtensionQuery": True,
    "datasetSearchExtensionModel": "small",
    "datasetSearchExtensionBg": "about films",
    "systemPrompt": "be brief, {{name}}",
    "limitPrompt": "be kind",
    "quoteTemplate": "{{q}}: {{a}}",
    "quotePrompt": "quotes: {{quote}}",
    "backend": "extractive",
    "model": "large",
    "temperature": 0.5,
    "maxTokens": 99,
    "historyTurns": 2,
    "emptyReply": "nothing",
    "welcomeText": "hello",
    "variables": [{"key": "name", "label": "Your name", "defaultValue": "Ada"}],
    "citations": True,
    "searchPrice": 0.5,
    "chatPrice": 1.5,
}
"""Nothing in it is what an app has by itself; without its datasets."""


def created(api: Api, **body: Any) -> str:
    """The id of an app, over ``suzume`` unless said otherwise."""
    suzume = {"datasetIds": [api.dataset_id("suzume")]}
    app_id: str = data_of(api.post(f"{PATH}/create", {"name": "films", **suzume, **body}))
    return app_id


def detail(api: Api, app_id: str) -> Any:
    return data_of(api.get(f"{PATH}/detail", appId=app_id))


def update(api: Api, app_id: str, **changes: Any) -> Response:
    return api.client.put(f"{PATH}/update", params={"appId": app_id}, json=changes, headers=api.admin)


def key_to(api: Api, app_id: str) -> Headers:
    return api.new_key("app", app_id=app_id)[1]


# Made


def test_every_setting_can_be_chosen_and_is_told(api: Api) -> None:
    datasets = [api.dataset_id("coffee"), api.dataset_id("suzume")]

    app_id = created(api, **EVERYTHING, datasetIds=datasets)

    told = detail(api, app_id)
    assert told.pop("createTime") is not None
    assert told == {"_id": app_id, **EVERYTHING, "datasetIds": datasets}
    app = api.service.apps.get(app_id)
    assert (app.dataset_ids, app.variables) == (tuple(datasets), (Variable("name", "Ada", "Your name"),))
    assert (app.rerank, app.extension, app.extension_background) == (True, True, "about films")


def test_no_setting_is_missing_on_the_wire() -> None:
    of_app = {field.name for field in fields(App)} - {"id", "created_at"}

    assert set(AppFields.model_fields) == of_app
    assert {field.alias for field in AppFields.model_fields.values()} == {*EVERYTHING, "datasetIds"}
    defaults = {field.name: field.default for field in fields(App)}
    assert not [
        name
        for name, field in AppFields.model_fields.items()
        if field.alias in EVERYTHING and EVERYTHING[field.alias] == defaults[name]
    ]


def test_what_is_left_out_or_null_is_what_an_app_has_by_itself(api: Api) -> None:
    bare = detail(api, created(api))
    empty = detail(api, created(api, **(dict.fromkeys(EVERYTHING) | {"name": "other"})))

    assert [bare[name] for name in ("limit", "maxTokens", "historyTurns", "variables")] == [1500, 2000, 6, []]
    assert [bare[name] for name in ("similarity", "topK", "perSource", "temperature")] == [None] * 4
    own = ("_id", "name", "createTime")
    assert {**bare, **dict.fromkeys(own)} == {**empty, **dict.fromkeys(own)}


def test_an_app_that_is_made_answers_as_it_says(api: Api) -> None:
    asked = Chatter(api, key_to(api, created(api, topK=1, citations=True)))

    message = asked.send("文字脚本的作者").json()["choices"][0]["message"]

    assert message["content"] == "剧本由新海诚亲自撰写，他同时写了同名小说。"
    assert len(message["citations"]) == 1


def test_a_dataset_that_is_named_twice_is_there_once(api: Api) -> None:
    suzume = api.dataset_id("suzume")

    assert detail(api, created(api, datasetIds=[suzume, suzume]))["datasetIds"] == [suzume]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": " \t"}, "name"),
    ({"name": 7}, "name"),
    ({"intro": ["x"]}, "intro"),
    ({"datasetIds": []}, "datasetIds"),
    ({"datasetIds": "d"}, "datasetIds"),
    ({"searchMode": "guess"}, "searchMode"),
    ({"similarity": 1.001}, "similarity"),
    ({"similarity": -0.001}, "similarity"),
    ({"limit": 0}, "limit"),
    ({"limit": 20_001}, "limit"),
    ({"limit": "many"}, "limit"),
    ({"topK": 0}, "topK"),
    ({"topK": 2**31}, "topK"),
    ({"perSource": 0}, "perSource"),
    ({"perSource": 2**31}, "perSource"),
    ({"embeddingWeight": 1.001}, "embeddingWeight"),
    ({"usingReRank": "perhaps"}, "usingReRank"),
    ({"rerankWeight": -0.001}, "rerankWeight"),
    ({"backend": "nowhere"}, "backend"),
    ({"temperature": 2.001}, "temperature"),
    ({"temperature": -0.001}, "temperature"),
    ({"maxTokens": 0}, "maxTokens"),
    ({"maxTokens": 2**31}, "maxTokens"),
    ({"historyTurns": -1}, "historyTurns"),
    ({"historyTurns": 101}, "historyTurns"),
    ({"searchPrice": -0.001}, "searchPrice"),
    ({"chatPrice": 1e300}, "chatPrice"),
    ({"variables": "name"}, "variables"),
    ({"variables": [{"key": "a b"}]}, "variables"),
    ({"variables": [{"key": "quote"}]}, "variables"),
    ({"variables": [{"key": "a"}, {"key": "a"}]}, "variables"),
    ({"variables": [{"label": "x"}]}, "variables.0.key"),
]


@pytest.mark.parametrize(("fields_", "param"), WRONG)
def test_what_makes_no_sense_is_refused_by_name(api: Api, fields_: dict[str, Any], param: str) -> None:
    body = {"name": "films", "datasetIds": [api.dataset_id("suzume")]}
    app_id = created(api, name="there")
    before = detail(api, app_id)

    at_creation = api.post(f"{PATH}/create", {**body, **fields_})
    at_a_change = update(api, app_id, **fields_)

    for response in (at_creation, at_a_change):
        error = error_of(response)
        assert (response.status_code, error["code"], error["param"]) == (422, "invalid_request", param)
    assert [app.name for app in api.service.apps.list()] == ["there"]
    assert detail(api, app_id) == before


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("name", ["chatPrice", "temperature", "similarity"])
def test_what_is_no_number_is_refused(api: Api, name: str, number: str) -> None:
    body = f'{{"name": "x", "datasetIds": ["{api.dataset_id("suzume")}"], "{name}": {number}}}'

    response = api.client.post(f"{PATH}/create", content=body, headers=api.admin | JSON)

    assert (response.status_code, error_of(response)["param"]) == (422, name)


@pytest.mark.parametrize("missing", ["name", "datasetIds"])
def test_an_app_needs_a_name_and_a_dataset(api: Api, missing: str) -> None:
    body = {"name": "films", "datasetIds": [api.dataset_id("suzume")]}
    del body[missing]

    response = api.post(f"{PATH}/create", body)

    assert (response.status_code, error_of(response)["param"]) == (422, missing)


def test_a_dataset_that_is_not_there_is_named(api: Api) -> None:
    app_id = created(api)
    there = api.dataset_id("suzume")

    for response in (
        api.post(f"{PATH}/create", {"name": "x", "datasetIds": [there, "nope"]}),
        update(api, app_id, datasetIds=[there, "nope"]),
    ):
        error = error_of(response)
        assert (response.status_code, error["code"]) == (404, "dataset_not_found")
        assert "'nope'" in error["message"]
    assert detail(api, app_id)["datasetIds"] == [there]


def test_a_folder_is_no_dataset(api: Api) -> None:
    folder = data_of(api.post(f"{DATASETS}/create", {"name": "shelf", "type": "folder"}))

    response = api.post(f"{PATH}/create", {"name": "x", "datasetIds": [folder]})

    error = error_of(response)
    assert (response.status_code, error["param"]) == (422, "datasetIds")
    assert error["message"] == f"{folder} is a folder: name the datasets in it"


def test_a_name_is_taken_once(api: Api) -> None:
    first, second = created(api, name="one"), created(api, name="two")

    for response in (
        api.post(f"{PATH}/create", {"name": "one", "datasetIds": [api.dataset_id("suzume")]}),
        update(api, second, name="one"),
    ):
        assert (response.status_code, error_of(response)["code"]) == (409, "name_taken")
    assert data_of(update(api, first, name="one")) is None
    assert [app.name for app in api.service.apps.list()] == ["one", "two"]


# Found


@pytest.mark.parametrize(
    ("wanted", "names"),
    [({}, ["Films", "coffee"]), ({"searchKey": "FILM"}, ["Films"]), ({"searchKey": "tea"}, [])],
)
def test_apps_are_listed_oldest_first(api: Api, wanted: dict[str, str], names: list[str]) -> None:
    ids = {name: created(api, name=name) for name in ("Films", "coffee")}

    posted, got = data_of(api.post(f"{PATH}/list", wanted)), data_of(api.get(f"{PATH}/list", **wanted))

    assert posted == got == [detail(api, ids[name]) for name in names]


def test_a_list_needs_no_body(api: Api) -> None:
    created(api)

    assert len(data_of(api.client.post(f"{PATH}/list", headers=api.admin))) == 1


def test_an_app_is_found_by_either_name_of_its_id(api: Api) -> None:
    app_id = created(api)

    assert data_of(api.get(f"{PATH}/detail", id=app_id)) == detail(api, app_id)


@pytest.mark.parametrize(
    "ask",
    [
        lambda api, **app: api.get(f"{PATH}/detail", **app),
        lambda api, **app: api.client.put(f"{PATH}/update", params=app, json={}, headers=api.admin),
        lambda api, **app: api.delete(f"{PATH}/del", **app),
    ],
)
def test_an_app_has_to_be_named_and_be_there(api: Api, ask: Callable[..., Response]) -> None:
    unnamed, unknown = ask(api), ask(api, appId="0" * 24)

    assert (unnamed.status_code, error_of(unnamed)["param"]) == (422, "appId")
    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "app_not_found")


# Changed


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("place", ["query", "body"])
@pytest.mark.parametrize("change", EVERYTHING.items(), ids=lambda change: change[0])
def test_what_is_left_out_stays(api: Api, method: str, place: str, change: tuple[str, Any]) -> None:
    app_id = created(api, name="before")
    before = detail(api, app_id)
    named = {"appId": app_id}

    response = api.client.request(
        method,
        f"{PATH}/update",
        params=named if place == "query" else None,
        json=dict([change]) | (named if place == "body" else {}),
        headers=api.admin,
    )

    assert data_of(response) is None
    assert detail(api, app_id) == before | dict([change])


@pytest.mark.parametrize("name", EVERYTHING)
def test_null_takes_back_what_an_app_may_be_without(api: Api, name: str) -> None:
    app_id = created(api, **EVERYTHING)
    before = detail(api, app_id)

    assert data_of(update(api, app_id, **{name: None})) is None

    taken_back = {name: None} if name in ("similarity", "topK", "perSource", "temperature") else {}
    assert detail(api, app_id) == before | taken_back


def test_changes_count_from_the_next_question_on(api: Api) -> None:
    app_id = created(api)
    asked = Chatter(api, key_to(api, app_id))
    assert asked.answer("how hot should the water be") != "nothing"

    update(api, app_id, similarity=1, emptyReply="nothing")

    assert asked.answer("how hot should the water be") == "nothing"


@pytest.fixture
def hesitant(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading apps and writing one there is time for others."""
    store = api.service.library.store
    everyone_has_read = ThreadPoolExecutor(1)
    put_document = store.put_document

    def wait_and_put(kind: str, *given: Any, **named: Any) -> Document:
        # A task of another thread: the others may run meanwhile.
        everyone_has_read.submit(lambda: [None for _ in range(200_000)]).result()
        return put_document(kind, *given, **named)

    monkeypatch.setattr(store, "put_document", wait_and_put)


@pytest.mark.usefixtures("hesitant")
def test_changes_at_once_lose_nothing(api: Api) -> None:
    app_id = created(api)
    changes = [{name: value} for name, value in EVERYTHING.items()]

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda change: update(api, app_id, **change), changes))

    assert {reply.status_code for reply in replies} == {200}
    told = detail(api, app_id)
    assert {name: told[name] for name in EVERYTHING} == EVERYTHING


@pytest.mark.usefixtures("hesitant")
def test_a_name_that_is_wanted_many_times_at_once_is_given_once(api: Api) -> None:
    body = {"name": "films", "datasetIds": [api.dataset_id("suzume")]}

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: api.post(f"{PATH}/create", body), range(8)))

    assert sorted(reply.status_code for reply in replies) == [200, *[409] * 7]
    assert len(api.service.apps.list()) == 1


# Deleted


def left_of_apps(api: Api) -> dict[str, int]:
    """How many documents there are of each kind that an app has."""
    store = api.service.library.store
    kinds = (KIND, "key", ABOUT_KIND, TURN_KIND)
    return {kind: len(store.list_documents(kind)) for kind in kinds}


def talk(api: Api, app_id: str) -> Headers:
    """Two keys that have a chat each, and one of the command line; the headers of one key."""
    keys = [key_to(api, app_id) for _ in range(2)]
    for headers in keys:
        Chatter(api, headers).answer("文字脚本的作者", chatId="c")
    chat = api.service.chats.at(Place(app_id, LOCAL, "c"))
    chat.append(Message("user", "q"), Message("assistant", "a"), None, is_complete=True)
    return keys[0]


@pytest.mark.parametrize("path", [f"{PATH}/del", f"{PATH}/delete"])
def test_a_deleted_app_leaves_nothing(api: Api, path: str) -> None:
    talk(api, created(api, name="stays"))
    before = left_of_apps(api)
    app_id = created(api)
    headers = talk(api, app_id)
    assert left_of_apps(api) != before

    assert data_of(api.delete(path, appId=app_id)) is None

    assert left_of_apps(api) == before
    assert Chatter(api, headers).send("文字脚本的作者").status_code == 401
    assert [app["name"] for app in data_of(api.get(f"{PATH}/list"))] == ["stays"]
    for response in (
        api.get(f"{PATH}/detail", appId=app_id),
        api.get("/api/core/chat/getHistories", appId=app_id),
        api.post("/api/support/openapi/create", {"kind": "app", "appId": app_id}),
        api.delete(path, appId=app_id),
    ):
        assert (response.status_code, error_of(response)["code"]) == (404, "app_not_found")


def test_its_name_is_free_again(api: Api) -> None:
    api.delete(f"{PATH}/del", id=created(api))

    assert detail(api, created(api))["name"] == "films"


def test_what_is_answered_when_the_app_goes_is_not_kept(api: Api) -> None:
    before = left_of_apps(api)
    app_id = created(api)
    key = api.new_key("app", app_id=app_id)[0]
    chat = api.service.chats.open(key, "c")

    api.delete(f"{PATH}/del", appId=app_id)
    chat.append(Message("user", "q"), Message("assistant", "a"), None, is_complete=True)

    assert left_of_apps(api) == before


@pytest.mark.parametrize("kind", [KIND, "key", ABOUT_KIND])
def test_a_deletion_that_was_cut_off_can_be_made_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    before = left_of_apps(api)
    app_id = created(api)
    talk(api, app_id)
    store = api.service.library.store
    delete_document = store.delete_document

    def cut_off(kind_: str, document_id: str) -> bool:
        if kind_ == kind:
            raise StoreUnavailable("the store went away")
        return delete_document(kind_, document_id)

    with monkeypatch.context() as patched:
        patched.setattr(store, "delete_document", cut_off)
        assert api.delete(f"{PATH}/del", appId=app_id).status_code == 503
    assert left_of_apps(api) != before

    assert data_of(api.delete(f"{PATH}/del", appId=app_id)) is None

    assert left_of_apps(api) == before


def test_an_app_whose_dataset_is_gone_says_so_when_it_is_asked(api: Api) -> None:
    app_id, coffee = (
        created(api, name="drinks", datasetIds=[api.dataset_id("coffee")]),
        api.dataset_id("coffee"),
    )
    headers = key_to(api, app_id)
    assert api.delete(f"{DATASETS}/delete", id=coffee).status_code == 200

    response = api.post(CHAT, {"messages": [{"role": "user", "content": "how hot"}]}, headers)

    error = error_of(response)
    assert (response.status_code, error["code"]) == (404, "dataset_not_found")
    assert coffee in error["message"]
    assert [app["datasetIds"] for app in data_of(api.get(f"{PATH}/list"))] == [[coffee]]
    # It can be changed, and mended.
    assert data_of(update(api, app_id, intro="about drinks")) is None
    assert data_of(update(api, app_id, datasetIds=[api.dataset_id("suzume")])) is None
    assert Chatter(api, headers).answer("文字脚本的作者") == "剧本由新海诚亲自撰写，他同时写了同名小说。"


# As models


MODELS = ("/v1/models", "/api/v1/models")


@pytest.mark.parametrize("path", MODELS)
def test_an_app_key_sees_its_app_as_a_model(api: Api, path: str) -> None:
    made = api.service.apps.get(created(api))
    created(api, name="other")

    listed = api.get(path, key_to(api, made.id))
    one = api.get(f"{path}/films", key_to(api, made.id))

    assert one.json() == {
        "id": "films",
        "object": "model",
        "created": int(datetime.fromisoformat(made.created_at).timestamp()),
        "owned_by": "quotebase",
    }
    assert listed.json() == {"object": "list", "data": [one.json()]}
    assert (listed.status_code, one.status_code) == (200, 200)


@pytest.mark.parametrize("path", MODELS)
def test_an_admin_key_sees_every_app(api: Api, path: str) -> None:
    for name in ("films", "org/films v2"):
        created(api, name=name)

    assert [item["id"] for item in api.get(path).json()["data"]] == ["films", "org/films v2"]
    assert api.get(f"{path}/org/films v2").json()["id"] == "org/films v2"


@pytest.mark.parametrize("path", [*MODELS, "/v1/models/films"])
def test_models_are_not_for_dataset_keys(api: Api, path: str) -> None:
    created(api)

    response = api.get(path, api.new_key("dataset")[1])

    error = error_of(response)
    assert (response.status_code, error["code"]) == (403, "forbidden")
    assert error["message"].startswith("this is a dataset key, and apps and their chats are for app keys")


@pytest.mark.parametrize("path", MODELS)
def test_a_model_that_the_key_does_not_open_is_not_there(api: Api, path: str) -> None:
    created(api, name="other")

    response = api.get(f"{path}/other", key_to(api, created(api)))

    error = error_of(response)
    assert (response.status_code, error["code"]) == (404, "app_not_found")
    assert error["message"] == "this key opens no app named 'other' (it opens: films)"


def test_an_app_of_which_no_time_was_noted_is_a_model_all_the_same(api: Api) -> None:
    app = new_chatter(api).api.service.apps.list()[0]
    store = api.service.library.store
    document = store.find_document(KIND, app.id)
    assert document
    body = {name: value for name, value in document.body.items() if name != "created_at"}
    store.put_document(KIND, app.id, body)

    assert api.get("/v1/models").json()["data"][0]["created"] == 0
    assert detail(api, app.id)["createTime"] is None
