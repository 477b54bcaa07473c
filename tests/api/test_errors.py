"""One shape for every failure, on every path."""

import json
import logging
from collections.abc import AsyncGenerator, Iterator

import pytest

from api.errors import STATUS, body_of, status_of
from api.wiring import service_of
from retrieval import errors
from retrieval.completion import Piece, Prompt, TextDelta
from retrieval.completion.backends import Backends
from retrieval.library import Library
from tests.api.wire import CHAT, DATASETS, Api, data_of, error_of, events_of, new_chatter

EXPECTED = {
    "quotebase_error": (500, "server_error"),
    "dataset_not_found": (404, "not_found_error"),
    "collection_not_found": (404, "not_found_error"),
    "record_not_found": (404, "not_found_error"),
    "app_not_found": (404, "not_found_error"),
    "key_not_found": (404, "not_found_error"),
    "job_not_found": (404, "not_found_error"),
    "name_taken": (409, "invalid_request_error"),
    "model_mismatch": (409, "invalid_request_error"),
    "directory_in_use": (409, "invalid_request_error"),
    "invalid_request": (422, "invalid_request_error"),
    "invalid_chat_id": (400, "invalid_request_error"),
    "unreadable_file": (422, "invalid_request_error"),
    "missing_column": (422, "invalid_request_error"),
    "payload_too_large": (413, "invalid_request_error"),
    "store_unavailable": (503, "server_error"),
    "embedder_unavailable": (503, "server_error"),
    "server_stopping": (503, "server_error"),
    "completion_failed": (502, "server_error"),
    "rerank_failed": (502, "server_error"),
    "unauthorized": (401, "authentication_error"),
    "forbidden": (403, "permission_error"),
    "usage_not_found": (404, "not_found_error"),
    "chat_not_found": (404, "not_found_error"),
    "chat_item_not_found": (404, "not_found_error"),
    "rate_limited": (429, "rate_limit_error"),
}
"""Status and type of every code that the core has."""


def all_errors(kind: type[errors.QuotebaseError]) -> Iterator[type[errors.QuotebaseError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from all_errors(child)


KINDS = {kind.code: kind for kind in all_errors(errors.QuotebaseError) if kind.__module__ == errors.__name__}


def test_every_error_of_the_core_is_expected_here() -> None:
    assert KINDS.keys() == EXPECTED.keys()


@pytest.mark.parametrize("code", EXPECTED)
def test_every_error_has_its_status_and_shape(code: str) -> None:
    status, kind = EXPECTED[code]
    error = KINDS[code]("what it is and how to mend it")

    assert status_of(error) == status
    assert body_of(error) == {
        "code": status,
        "statusText": code,
        "message": "what it is and how to mend it",
        "data": None,
        "error": {"message": "what it is and how to mend it", "type": kind, "code": code, "param": None},
    }


def test_an_error_that_nobody_has_listed_takes_the_status_of_its_parent() -> None:
    class Odd(errors.InvalidChatId):
        pass

    assert Odd not in STATUS
    assert status_of(Odd("odd")) == 400


# Paths and methods


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/api/v2/chat/completions", "/api/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/api/core/dataset/searchtest", "/api/core/dataset/searchTest"),
        ("/core/dataset/searchTest", "/api/core/dataset/searchTest"),
        ("/api/core/dataset/data/push", "/api/core/dataset/data/pushData"),
    ],
)
def test_unknown_path_names_the_nearest(api: Api, path: str, near: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = api.client.request(method, path)
        error = error_of(response)
        assert (response.status_code, error["code"]) == (404, "path_not_found")
        assert error["type"] == "not_found_error"
        assert error["message"] == f"there is nothing at {path}; did you mean {near}?"


def test_path_that_is_like_no_other_points_at_the_documentation(api: Api) -> None:
    error = error_of(api.client.get("/zzz"))

    assert error["message"] == "there is nothing at /zzz; see /docs for the paths there are"
    assert api.client.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, {"POST"}),
        ("PUT", CHAT, {"POST"}),
        ("GET", f"{DATASETS}/searchTest", {"POST"}),
        ("POST", f"{DATASETS}/delete", {"DELETE"}),
        ("POST", "/health", {"GET"}),
    ],
)
def test_wrong_method_names_the_right_one(api: Api, method: str, path: str, allowed: set[str]) -> None:
    response = api.client.request(method, path)

    error = error_of(response)
    assert (response.status_code, error["code"]) == (405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == allowed
    assert error["message"] == f"{path} does not take {method}: use {', '.join(allowed)}"


def test_a_path_of_two_methods_names_both(api: Api) -> None:
    response = api.client.delete(f"{DATASETS}/list")

    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "POST"}
    assert error_of(response)["message"].endswith(f"use {response.headers['allow']}")


def test_alive_without_a_key(api: Api) -> None:
    assert api.client.get("/health").json() == {"status": "ok"}


# Bodies


def invalid(api: Api, path: str, content: bytes, content_type: str = "application/json") -> tuple[str, str]:
    """(param, message) of a 422."""
    response = api.client.post(path, content=content, headers={**api.admin, "Content-Type": content_type})
    error = error_of(response)
    assert (response.status_code, error["code"]) == (422, "invalid_request")
    assert error["type"] == "invalid_request_error"
    return error["param"], error["message"]


SEARCH = f"{DATASETS}/searchTest"


@pytest.mark.parametrize("content", [b"{oops", b"", b'{"text": ', b'{"a":1}}'])
def test_a_body_that_is_no_json(api: Api, content: bytes) -> None:
    param, message = invalid(api, SEARCH, content)

    assert param == "body"
    assert message.startswith("body: ")


def test_broken_json_is_called_so(api: Api) -> None:
    assert invalid(api, SEARCH, b"{oops")[1] == (
        "body: not valid JSON (Expecting property name enclosed in double quotes)"
    )


def test_a_body_that_is_no_text(api: Api) -> None:
    response = api.client.post(
        SEARCH, content=b"\xff\xfe\x00", headers={**api.admin, "Content-Type": "application/json"}
    )

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_request")


def test_half_a_surrogate_pair_is_refused(api: Api) -> None:
    body = {"datasetId": api.dataset_id("suzume"), "text": "\ud800"}
    response = api.client.post(
        SEARCH, content=json.dumps(body), headers={**api.admin, "Content-Type": "application/json"}
    )

    assert (response.status_code, error_of(response)["param"]) == (422, "text")


@pytest.mark.parametrize("content", [b"[]", b'"text"', b"7"])
def test_a_body_that_is_no_object(api: Api, content: bytes) -> None:
    assert invalid(api, SEARCH, content) == (
        "body",
        "body: a JSON object is expected, with Content-Type: application/json",
    )


def test_a_body_that_is_not_said_to_be_json(api: Api) -> None:
    assert "Content-Type: application/json" in invalid(api, SEARCH, b'{"text":"x"}', "text/plain")[1]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "text"),
        (b'{"text":7}', "text"),
        (b'{"text":"x","limit":"many"}', "limit"),
        (b'{"text":"x","limit":1.5}', "limit"),
        (b'{"text":"x","similarity":"high"}', "similarity"),
        (b'{"text":"x","searchMode":"telepathy"}', "searchMode"),
        (b'{"text":"x","datasetIds":"one"}', "datasetIds"),
        (b'{"text":"x","datasetIds":["1", 2]}', "datasetIds.1"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(api: Api, body: bytes, param: str) -> None:
    found, message = invalid(api, SEARCH, body)

    assert found == param
    assert message.startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content.str"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}], "stream": "perhaps"}, "stream"),
        ({"messages": [{"role": "user", "content": "x"}], "variables": []}, "variables"),
    ],
)
def test_a_field_of_a_chat_that_is_of_the_wrong_kind_is_named(api: Api, body: object, param: str) -> None:
    response = api.post(CHAT, body, new_chatter(api).headers)

    assert (response.status_code, error_of(response)["param"]) == (422, param)


# Tolerance


def test_unknown_fields_are_ignored(api: Api) -> None:
    assert data_of(api.post(f"{DATASETS}/create", {"name": "n", "avatar": "x.svg", "zzz": {"a": [1]}}))
    assert api.search("suzume", "x", zzz=1, rerankModel="r", datasetSearchUsingExtensionQuery=False)["list"]
    response = new_chatter(api).send("x", zzz=1, user="u", logprobs=None, response_format={"type": "text"})
    assert response.status_code == 200


def test_numbers_may_come_as_strings(api: Api) -> None:
    as_strings = api.search("suzume", "导演是谁", limit="300", similarity="0.1", topK="2")
    as_numbers = api.search("suzume", "导演是谁", limit=300, similarity=0.1, topK=2)

    assert as_strings["list"] == as_numbers["list"] != []
    assert (as_strings["limit"], as_strings["similarity"]) == (300, 0.1)


def test_booleans_may_come_as_strings(api: Api) -> None:
    assert events_of(new_chatter(api).send("文字脚本的作者", stream="true", detail="false").text)


def test_null_is_as_if_left_out(api: Api) -> None:
    nothing = dict.fromkeys(("limit", "similarity", "topK", "searchMode", "datasetIds"))
    assert api.search("suzume", "导演是谁", **nothing)["list"] == api.search("suzume", "导演是谁")["list"]
    fields = ("chatId", "stream", "detail", "variables", "tools", "tool_choice", "responseChatItemId")
    assert new_chatter(api).send("文字脚本的作者", **dict.fromkeys(fields)).status_code == 200
    assert len(data_of(api.post(f"{DATASETS}/list", {"parentId": None, "searchKey": None}))) == 2


# What goes wrong inside


class Broken:
    """A backend with a mistake in it."""

    model = "broken"
    context_tokens = 4096

    def __init__(self, *pieces: str) -> None:
        self._pieces = pieces

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        for piece in self._pieces:
            yield TextDelta(piece)
        raise ZeroDivisionError("secret detail of /etc/passwd")

    async def aclose(self) -> None:
        """It has no connections."""


def test_a_mistake_of_ours_says_nothing_of_the_inside(
    sampled: Library, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(service_of(sampled, Backends(Broken("half"))))

    with caplog.at_level(logging.ERROR):
        response = new_chatter(api).send("文字脚本的作者", chatId="c")

    assert response.status_code == 500
    assert response.json() == {
        "code": 500,
        "statusText": "internal_error",
        "message": "something went wrong inside the server; its log says what",
        "data": None,
        "error": {
            "message": "something went wrong inside the server; its log says what",
            "type": "server_error",
            "code": "internal_error",
            "param": None,
        },
    }
    assert error_of(response)
    assert "secret detail" in caplog.text
    (turn,) = sampled.store.list_documents("turn")
    assert (turn.body["answer"], turn.body["complete"]) == ("half", False)


def test_a_failure_of_the_store_keeps_its_shape(api: Api, sampled: Library) -> None:
    headers = api.admin
    sampled.store.close()
    path = sampled.store._path  # type: ignore[attr-defined]
    path.write_bytes(b"this is no database, whatever it was before" * 200)
    for extra in path.parent.glob("quotebase.sqlite-*"):
        extra.unlink()

    response = api.post(f"{DATASETS}/list", {}, headers)

    assert (response.status_code, error_of(response)["code"]) == (503, "store_unavailable")
