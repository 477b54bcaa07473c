"""Keys over HTTP and on the command line: made, listed, used, revoked."""

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.cli_keys import May
from api.key_uses import KIND
from api.keys import CAPABILITIES, Keys
from api.settings import Settings
from api.wiring import open_documents
from tests.api.commands import Cli, complaint, json_of
from tests.api.test_permissions import OPENAPI
from tests.api.wire import CHAT, DATASETS, Api, bearer, data_of, error_of

FIELDS = [
    *("_id", "id", "prefix", "kind", "name", "capabilities", "datasetIds", "appId", "createTime"),
    "lastUsedTime",
]


def created(api: Api, **body: Any) -> Any:
    return data_of(api.post(f"{OPENAPI}/create", body))


def listed(api: Api) -> list[Any]:
    found: list[Any] = data_of(api.get(f"{OPENAPI}/list"))
    return found


# Made


def test_a_key_is_made_and_shown_once(api: Api) -> None:
    suzume = api.dataset_id("suzume")

    made = created(api, kind="dataset", name="note", datasetIds=[suzume, suzume], capabilities=["search"])

    assert list(made) == [*FIELDS, "key"]
    secret = made.pop("key")
    assert secret.startswith("qb-dataset-")
    assert secret[: len(made["prefix"])] == made["prefix"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(made["createTime"])) < timedelta(minutes=5)
    assert made["_id"] == made["id"]
    assert {name: made[name] for name in FIELDS[3:8]} == {
        "kind": "dataset",
        "name": "note",
        "capabilities": ["search"],
        "datasetIds": [suzume],
        "appId": "",
    }
    assert made["lastUsedTime"] is None
    assert made in listed(api)
    assert secret not in api.get(f"{OPENAPI}/list").text
    digest = hashlib.sha256(secret.encode()).hexdigest()
    assert api.service.library.store.find_document("key", digest)


def test_a_key_that_is_made_opens_what_it_says(api: Api) -> None:
    suzume = api.dataset_id("suzume")
    headers = bearer(created(api, kind="dataset", datasetIds=[suzume], capabilities=["export"])["key"])

    assert api.get(f"{DATASETS}/exportAll", headers, datasetId=suzume).status_code == 200
    assert api.get(f"{DATASETS}/detail", headers, id=suzume).status_code == 403
    assert api.get(f"{DATASETS}/exportAll", headers, datasetId=api.dataset_id("coffee")).status_code == 403


@pytest.mark.parametrize(
    ("body", "capabilities"),
    [
        ({"kind": "dataset"}, ["search", "write", "export"]),
        ({"kind": "dataset", "datasetIds": None, "capabilities": None}, ["search", "write", "export"]),
        ({"kind": "dataset", "capabilities": ["export", "search", "export"]}, ["search", "export"]),
        ({"kind": "admin", "appId": ""}, ["search", "write", "export"]),
    ],
)
def test_what_is_left_out_is_all_there_is(api: Api, body: Any, capabilities: list[str]) -> None:
    made = created(api, **body)

    assert (made["capabilities"], made["datasetIds"], made["appId"]) == (capabilities, [], "")


def test_an_app_key_opens_the_chat_of_its_app(api: Api) -> None:
    made = created(api, kind="app", appId=(app := api.new_app("suzume")).id)

    question = {"messages": [{"role": "user", "content": "文字脚本的作者"}]}
    assert (made["appId"], made["capabilities"]) == (app.id, [])
    assert api.post(CHAT, question, bearer(made["key"])).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 422, "invalid_request", "kind"),
        ({"kind": "root"}, 422, "invalid_request", "kind"),
        ({"kind": "dataset", "capabilities": ["fly"]}, 422, "invalid_request", "capabilities.0"),
        ({"kind": "dataset", "capabilities": "search"}, 422, "invalid_request", "capabilities"),
        # Nothing chosen must not become everything.
        ({"kind": "dataset", "capabilities": []}, 422, "invalid_request", "capabilities"),
        ({"kind": "dataset", "datasetIds": []}, 422, "invalid_request", "datasetIds"),
        ({"kind": "dataset", "datasetIds": ["nope"]}, 404, "dataset_not_found", None),
        ({"kind": "dataset", "appId": "a"}, 422, "invalid_request", "appId"),
        ({"kind": "app"}, 422, "invalid_request", "appId"),
        ({"kind": "app", "appId": "nope"}, 404, "app_not_found", None),
        ({"kind": "app", "appId": "a", "datasetIds": ["d"]}, 422, "invalid_request", "datasetIds"),
        ({"kind": "admin", "capabilities": ["search"]}, 422, "invalid_request", "capabilities"),
        ({"kind": "admin", "datasetIds": ["d"]}, 422, "invalid_request", "datasetIds"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(
    api: Api, body: Any, status: int, code: str, param: str | None
) -> None:
    before = api.service.keys.list()

    response = api.post(f"{OPENAPI}/create", body)

    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert api.service.keys.list() == before


# Revoked


def test_a_key_is_revoked(api: Api) -> None:
    made = created(api, kind="dataset")
    headers = bearer(made["key"])
    assert api.post(f"{DATASETS}/list", {}, headers).status_code == 200

    assert data_of(api.delete(f"{OPENAPI}/delete", id=made["id"])) is None

    assert api.post(f"{DATASETS}/list", {}, headers).status_code == 401
    assert made["id"] not in [key["id"] for key in listed(api)]
    assert made["id"] not in api.service.keys.uses.last()
    again = api.delete(f"{OPENAPI}/delete", id=made["id"])
    assert (again.status_code, error_of(again)["code"]) == (404, "key_not_found")


def test_a_key_that_the_command_line_revokes_opens_nothing_from_then_on(api: Api, cli: Cli) -> None:
    made = created(api, kind="dataset")
    headers = bearer(made["key"])
    assert api.post(f"{DATASETS}/list", {}, headers).status_code == 200

    assert cli("keys", "revoke", made["id"]).code == 0

    assert api.post(f"{DATASETS}/list", {}, headers).status_code == 401


# Used


def use_of(api: Api, key_id: str) -> str | None:
    used: str | None = next(key["lastUsedTime"] for key in listed(api) if key["id"] == key_id)
    return used


def test_the_last_use_is_told_and_not_written_by_the_request(api: Api) -> None:
    made = created(api, kind="dataset")
    assert use_of(api, made["id"]) is None

    api.post(f"{DATASETS}/list", {}, bearer(made["key"]))

    first = use_of(api, made["id"])
    assert first is not None
    assert abs(datetime.now(UTC) - datetime.fromisoformat(first)) < timedelta(minutes=5)
    assert api.service.library.store.list_documents(KIND) == []
    time.sleep(0.002)
    api.post(f"{DATASETS}/list", {}, bearer(made["key"]))
    assert (use_of(api, made["id"]) or "") > first


def test_a_refused_request_is_a_use_and_a_health_check_is_none(api: Api) -> None:
    forbidden, checked = (created(api, kind="dataset", capabilities=["export"]) for _ in range(2))

    assert api.post(f"{OPENAPI}/create", {}, bearer(forbidden["key"])).status_code == 403
    assert data_of(api.get(f"{OPENAPI}/health", apiKey=checked["key"]))["valid"]

    assert use_of(api, forbidden["id"]) is not None
    assert use_of(api, checked["id"]) is None


# What the key that asks may do with a dataset


@pytest.mark.parametrize(
    ("capabilities", "read", "write"),
    [
        (CAPABILITIES, True, True),
        (("search",), True, False),
        (("write",), False, True),
        (("export",), False, False),
    ],
)
def test_permission_is_that_of_the_key(
    api: Api, capabilities: tuple[Any, ...], read: bool, write: bool
) -> None:
    headers = api.new_key("dataset", capabilities=capabilities)[1]

    items = data_of(api.post(f"{DATASETS}/list", {}, headers))
    if read:
        items.append(data_of(api.get(f"{DATASETS}/detail", headers, id=items[0]["_id"])))

    assert len(items) == 2 + read
    for item in items:
        assert item["permission"] == {
            "hasReadPer": read,
            "hasWritePer": write,
            "hasManagePer": write,
            "isOwner": False,
        }
        assert (item["canWrite"], item["isOwner"]) == (write, False)


def test_an_admin_owns_every_dataset(api: Api) -> None:
    for item in data_of(api.post(f"{DATASETS}/list", {})):
        assert set(item["permission"].values()) == {True}
        assert (item["canWrite"], item["isOwner"]) == (True, True)


# The command line


@pytest.mark.parametrize(
    ("options", "may"),
    [
        ((), "search, write, export"),
        (("--may", "search"), "search"),
        (("--may", "export", "--may", "search"), "search, export"),
    ],
)
def test_capabilities_are_chosen_on_the_command_line(cli: Cli, options: tuple[str, ...], may: str) -> None:
    made = json_of(cli("keys", "create", "--datasets", *options, "--json"))

    (row,) = json_of(cli("keys", "list", "--json"))
    table = cli("keys", "list").out
    assert made["capabilities"] == row["capabilities"] == may.split(", ")
    assert (row["may"], row["last_used_at"], row["prefix"]) == (may, "", made["prefix"])
    assert may in table
    assert made["prefix"] in table


def test_every_capability_can_be_chosen() -> None:
    assert tuple(May) == CAPABILITIES


def test_the_last_use_is_in_the_list(cli: Cli) -> None:
    made = json_of(cli("keys", "create", "--admin", "--json"))
    with open_documents(Settings()) as store:
        uses = Keys(store).uses
        uses.note(made["id"])
        uses.save()
        (moment,) = uses.last().values()

    (row,) = json_of(cli("keys", "list", "--json"))

    assert row["last_used_at"] == moment
    assert moment in cli("keys", "list").out


@pytest.mark.parametrize("kind", [("--admin",), ("--app", "film")])
def test_only_a_dataset_key_has_capabilities_to_choose(cli: Cli, kind: tuple[str, ...]) -> None:
    said = complaint(cli("keys", "create", *kind, "--may", "search"))

    assert said == (
        "--may is for dataset keys: an admin key may do everything but chat, an app key may chat; leave it out, or "
        "make a key by --datasets or --dataset NAME"
    )


def test_an_unknown_capability_is_bad_usage(cli: Cli) -> None:
    ran = cli("keys", "create", "--datasets", "--may", "fly")

    assert (ran.code, ran.out) == (2, "")
    assert "--may" in ran.err
