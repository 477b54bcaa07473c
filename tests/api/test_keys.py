"""Who may do what."""

import hashlib
import json
from pathlib import Path

import pytest

from api.auth import LOCAL_KEY
from api.keys import Keys
from retrieval.errors import KeyNotFound
from retrieval.library import Library
from tests.api.conftest import opened
from tests.api.wire import CHAT, DATASETS, Api, Headers, bearer, data_of, error_of

QUESTION = {"messages": [{"role": "user", "content": "文字脚本的作者"}]}

NO_KEY = "no key was sent: add the header  Authorization: Bearer <key>"
UNKNOWN_KEY = "the key is not known here: make one with  quotebase keys create"
APP_KEY_ELSEWHERE = (
    "this is an app key, which opens only the chat of its app: use a dataset key "
    "(quotebase keys create --datasets) here"
)


def refused(api: Api, path: str, headers: Headers) -> tuple[int, str, str, str]:
    response = api.post(path, QUESTION, headers)
    error = error_of(response)
    return response.status_code, error["code"], error["type"], error["message"]


@pytest.mark.parametrize("path", [CHAT, f"{DATASETS}/list"])
@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic abc"}, {"Authorization": "qb-x"}]
)
def test_no_key(api: Api, path: str, headers: Headers) -> None:
    assert refused(api, path, headers) == (401, "unauthorized", "authentication_error", NO_KEY)


@pytest.mark.parametrize("path", [CHAT, f"{DATASETS}/list"])
@pytest.mark.parametrize("secret", ["qb-admin-made-up", "x" * 10_000, "'; DROP TABLE documents; --"])
def test_unknown_key(api: Api, path: str, secret: str) -> None:
    assert refused(api, path, bearer(secret)) == (401, "unauthorized", "authentication_error", UNKNOWN_KEY)


def test_key_with_bytes_that_are_no_ascii(api: Api) -> None:
    response = api.client.post(f"{DATASETS}/list", headers=[(b"Authorization", "Bearer ключ".encode())])

    assert (response.status_code, error_of(response)["message"]) == (401, UNKNOWN_KEY)


@pytest.mark.parametrize("kind", ["admin", "dataset"])
def test_chat_takes_an_app_key_only_and_says_why(api: Api, kind: str) -> None:
    headers = api.new_key(kind)[1]  # type: ignore[arg-type]

    assert refused(api, CHAT, headers) == (
        403,
        "forbidden",
        "permission_error",
        f"this is {'an admin' if kind == 'admin' else 'a dataset'} key, and chat takes an app key only, because "
        "the app says which datasets and prompts to use: make one with  quotebase keys create --app NAME",
    )


# Dataset keys of one dataset


@pytest.fixture
def limited(api: Api) -> Headers:
    """A key to ``suzume`` alone."""
    return api.new_key("dataset", dataset_ids=(api.dataset_id("suzume"),))[1]


def test_a_limited_key_opens_its_dataset(api: Api, limited: Headers) -> None:
    suzume = api.dataset_id("suzume")
    csv = b"q,a\n1,2\n"

    collection = data_of(
        api.post(f"{DATASETS}/collection/create", {"datasetId": suzume, "name": "c"}, limited)
    )
    item = {"q": "new", "a": "record"}
    data_of(api.post(f"{DATASETS}/data/pushData", {"collectionId": collection, "data": [item]}, limited))
    found = data_of(api.post(f"{DATASETS}/searchTest", {"datasetId": suzume, "text": "new\nrecord"}, limited))
    assert found["list"][0]["q"] == "new"
    assert data_of(api.get(f"{DATASETS}/detail", limited, id=suzume))["name"] == "suzume"
    assert data_of(api.upload(suzume, "a.csv", csv, limited))["results"]["insertLen"] == 1
    assert [item["name"] for item in data_of(api.post(f"{DATASETS}/list", {}, limited))] == ["suzume"]
    assert data_of(api.delete(f"{DATASETS}/collection/delete", limited, id=collection)) is None
    assert data_of(api.delete(f"{DATASETS}/delete", limited, id=suzume)) is None


def test_a_limited_key_opens_no_other_dataset(api: Api, limited: Headers) -> None:
    coffee = api.dataset_id("coffee")
    collection = api.service.library.store.list_collections(coffee)[0].id
    both = [api.dataset_id("suzume"), coffee]

    for response in (
        api.get(f"{DATASETS}/detail", limited, id=coffee),
        api.delete(f"{DATASETS}/delete", limited, id=coffee),
        api.post(f"{DATASETS}/collection/create", {"datasetId": coffee, "name": "c"}, limited),
        api.delete(f"{DATASETS}/collection/delete", limited, id=collection),
        api.upload(coffee, "a.csv", b"q,a\n1,2\n", limited),
        api.post(f"{DATASETS}/data/pushData", {"collectionId": collection, "data": [{"q": "x"}]}, limited),
        api.post(f"{DATASETS}/searchTest", {"datasetId": coffee, "text": "x"}, limited),
        api.post(f"{DATASETS}/searchTest", {"datasetIds": both, "text": "x"}, limited),
    ):
        assert response.status_code == 403
        assert error_of(response)["message"] == (
            f"this key does not open the dataset {coffee}: use a key that names it"
        )
    assert api.service.library.store.count_records(coffee) == 45


def test_a_limited_key_makes_no_dataset(api: Api, limited: Headers) -> None:
    response = api.post(f"{DATASETS}/create", {"name": "new"}, limited)

    assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")
    assert len(api.service.library.store.list_datasets()) == 2


def test_a_key_to_a_deleted_dataset_opens_nothing_else(api: Api, limited: Headers) -> None:
    data_of(api.delete(f"{DATASETS}/delete", limited, id=api.dataset_id("suzume")))

    assert data_of(api.post(f"{DATASETS}/list", {}, limited)) == []


def test_a_dataset_key_that_names_none_opens_all(api: Api) -> None:
    headers = api.new_key("dataset")[1]

    names = [item["name"] for item in data_of(api.post(f"{DATASETS}/list", {}, headers))]
    assert names == ["suzume", "coffee"]
    assert data_of(api.post(f"{DATASETS}/create", {"name": "new"}, headers))


# Coming and going


def test_a_revoked_key_opens_nothing_from_now_on(api: Api) -> None:
    key, headers = api.new_key("dataset")
    assert api.post(f"{DATASETS}/list", {}, headers).status_code == 200

    api.service.keys.revoke(key.id)

    assert refused(api, f"{DATASETS}/list", headers)[:2] == (401, "unauthorized")


def test_a_revoked_app_key_opens_no_chat(api: Api) -> None:
    app = api.new_app("suzume")
    (one, revoked), (_, other) = (api.new_key("app", app_id=app.id) for _ in range(2))

    api.service.keys.revoke(one.id)

    assert api.post(CHAT, QUESTION, revoked).status_code == 401
    assert api.post(CHAT, QUESTION, other).status_code == 200


def test_an_unknown_key_cannot_be_revoked(api: Api) -> None:
    with pytest.raises(KeyNotFound, match="there is no key with the id 'x'"):
        api.service.keys.revoke("x")


def test_a_key_to_a_deleted_app_says_that_the_app_is_gone(api: Api) -> None:
    app = api.new_app("suzume")
    headers = api.new_key("app", app_id=app.id)[1]

    api.service.apps.delete(app.id)

    assert refused(api, CHAT, headers)[:2] == (404, "app_not_found")


def test_the_local_token_is_an_admin_key(api: Api) -> None:
    local = bearer(api.service.local_token)

    assert len(data_of(api.post(f"{DATASETS}/list", {}, local))) == 2
    assert refused(api, CHAT, local)[:2] == (403, "forbidden")
    assert LOCAL_KEY.kind == "admin"


def test_every_start_has_a_token_of_its_own(api: Api, sampled: Library) -> None:
    with opened(sampled, api.service.backends.default) as other:
        assert refused(other, f"{DATASETS}/list", bearer(api.service.local_token))[:2] == (
            401,
            "unauthorized",
        )


@pytest.mark.parametrize("kind", ["admin", "dataset", "app"])
def test_only_the_hash_of_a_key_is_stored(sampled: Library, tmp_path: Path, kind: str) -> None:
    key, secret = Keys(sampled.store).create(kind, "note")  # type: ignore[arg-type]

    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())

    assert hashlib.sha256(secret.encode()).hexdigest().encode() in stored
    assert secret.startswith(f"qb-{kind}-")
    assert key.prefix == secret[: len(kind) + 10]
    assert key.prefix.encode() in stored
    assert secret[: len(key.prefix) + 1].encode() not in stored
    assert secret[len(key.prefix) :].encode() not in stored


def test_keys_are_long_and_never_the_same(sampled: Library) -> None:
    secrets = {Keys(sampled.store).create("app")[1] for _ in range(20)}

    assert len(secrets) == 20
    assert all(len(secret.removeprefix("qb-app-")) == 43 for secret in secrets)


def test_listed_keys_have_no_secret(api: Api) -> None:
    secret = api.service.keys.create("app", "mine", app_id="1" * 24)[1]

    assert secret not in json.dumps([repr(key) for key in api.service.keys.list()])


# The health of a key


def test_health_says_whether_a_key_is_known(api: Api) -> None:
    secret = api.service.keys.create("dataset")[1]
    path = "/api/support/openapi/health"

    assert data_of(api.get(path, {}, apiKey=secret)) == {"valid": True, "available": True}
    assert data_of(api.get(path, {}, apiKey="made up")) == {"valid": False, "available": False}
    assert error_of(api.get(path, {}))["param"] == "apiKey"
