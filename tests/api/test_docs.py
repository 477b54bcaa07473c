"""The page of the documentation works without the internet, and the document behind it is complete."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.examples import EXAMPLES
from tests.api.wire import CHAT, DATASETS, Api

Operation = tuple[str, dict[str, Any]]

OPEN = {"/health", "/ready", "/api/support/openapi/health"}
"""Paths that take no key."""


@pytest.fixture
def document(api: Api) -> Any:
    return api.client.get("/openapi.json").json()


def operations(document: Any) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


# The page


def test_the_page_names_no_other_host_and_its_files_are_here(api: Api) -> None:
    page = api.client.get("/docs")
    linked = re.findall(r"""(?:src|href)="([^"]*)\"""", page.text)

    assert page.status_code == 200
    assert "//" not in re.sub(r"<!--.*?-->|^\s*//.*$", "", page.text, flags=re.MULTILINE)
    assert len(linked) == 3
    for path in linked:
        assert path.startswith("/docs/assets/")
        assert api.client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("name", "media_type", "beginning"),
    [
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8", b"/*!"),
        ("swagger-ui.css", "text/css; charset=utf-8", b".swagger-ui"),
        ("favicon-32x32.png", "image/png", b"\x89PNG"),
    ],
)
def test_a_file_is_what_it_is_called(api: Api, name: str, media_type: str, beginning: bytes) -> None:
    reply = api.client.get(f"/docs/assets/{name}")

    assert reply.headers["Content-Type"] == media_type
    assert reply.content.startswith(beginning)


def test_the_style_loads_nothing_from_elsewhere(api: Api) -> None:
    style = api.client.get("/docs/assets/swagger-ui.css").text

    assert [url for url in re.findall(r"url\(['\"]?([^)]{6})", style) if not url.startswith("data:")] == []


def test_the_page_sends_its_document_to_no_validator(api: Api) -> None:
    assert '"validatorUrl": null' in api.client.get("/docs").text


def test_a_page_behind_a_prefix_names_its_files_there(api: Api) -> None:
    api.client.app.root_path = "/kb"  # type: ignore[attr-defined]

    page = api.client.get("/docs").text

    assert 'src="/kb/docs/assets/swagger-ui-bundle.js"' in page
    assert "'/kb/openapi.json'" in page


# The document


def test_every_operation_says_what_it_does(document: Any) -> None:
    found = dict(operations(document))

    assert len(found) > 25
    for name, operation in found.items():
        assert operation["summary"], name
        assert not operation["summary"].endswith("."), name
        assert operation["tags"], name


def test_every_operation_says_what_it_gives(document: Any) -> None:
    for name, operation in operations(document):
        success = operation["responses"]["200"]
        assert success["description"] not in ("", "Successful Response"), name
        assert all(kind["schema"] for kind in success["content"].values()), name


def test_every_operation_says_how_it_fails(document: Any) -> None:
    envelope = {"$ref": "#/components/schemas/ErrorReply"}
    for name, operation in operations(document):
        statuses = {int(status) for status in operation["responses"]}
        assert statuses >= {200, 500, 503}, name
        if "parameters" in operation or "requestBody" in operation:
            assert 422 in statuses, name
        assert ("security" in operation) == (statuses >= {401, 403}), name
        for status in statuses - {200} - ({503} if name == "GET /ready" else set()):
            content = operation["responses"][str(status)]["content"]
            assert content == {"application/json": {"schema": envelope}}, name


def test_every_operation_but_few_takes_a_key(document: Any) -> None:
    without = {name.split()[1] for name, operation in operations(document) if "security" not in operation}

    assert without == OPEN
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_the_codes_of_a_status_are_named(document: Any) -> None:
    responses = document["paths"][f"{DATASETS}/searchTest"]["post"]["responses"]

    assert responses["409"]["description"].startswith("Conflict: ")
    assert "`model_mismatch`" in responses["409"]["description"]
    assert responses["500"]["description"] == "Internal Server Error: `internal_error`"


def test_nothing_is_left_of_errors_in_another_shape(document: Any) -> None:
    assert "ValidationError" not in str(document)


def test_an_error_is_of_the_shape_that_is_told(api: Api, document: Any) -> None:
    schema = document["components"]["schemas"]
    body = api.post(f"{DATASETS}/searchTest", {}).json()

    assert list(body) == list(schema["ErrorReply"]["properties"]) == schema["ErrorReply"]["required"]
    assert list(body["error"]) == list(schema["ErrorObject"]["properties"])


def test_what_is_no_json_has_its_type(document: Any) -> None:
    def types(path: str, method: str = "get") -> set[str]:
        return set(document["paths"][path][method]["responses"]["200"]["content"])

    assert types(f"{DATASETS}/exportAll") == types(f"{DATASETS}/job/rejects") == {"text/csv"}
    assert types(f"{DATASETS}/records") == {"application/x-ndjson"}
    assert types("/metrics") == {"text/plain"}
    assert types(CHAT, "post") == {"application/json", "text/event-stream"}


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_is_understood(api: Api, document: Any, path: str) -> None:
    shown = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
    app_key = api.new_key("app", app_id=api.new_app("suzume").id)[1]

    assert [example["value"] for example in shown.values()] == list(EXAMPLES[path].values())
    for example in shown.values():
        reply = api.post(path, example["value"], app_key if path.endswith("completions") else None)
        # The ids are made up, the rest is taken.
        expected = ("dataset_not_found", "collection_not_found", "app_not_found")
        assert reply.status_code == 200 or reply.json()["statusText"] in expected


def test_the_document_says_how_long_a_chat_id_may_be(document: Any) -> None:
    schemas = document["components"]["schemas"]
    text, nothing = schemas["ChatRequest"]["properties"]["chatId"]["anyOf"]

    assert (text, nothing) == ({"type": "string", "minLength": 1, "maxLength": 249}, {"type": "null"})
    assert schemas["HistoryUpdate"]["properties"]["chatId"].items() >= text.items()
