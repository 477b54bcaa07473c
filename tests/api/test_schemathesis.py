"""Whatever the OpenAPI document allows, and what it does not: no request breaks the server, every reply is as it says.

``QUOTEBASE_TEST_EXAMPLES=500`` makes that many requests to each operation instead of a few.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx2
import pytest
import schemathesis
from schemathesis.checks import CHECKS, load_all_checks
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.wiring import Service
from ingest.imports import import_file
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.library import Library
from tests.api.conftest import DATA, opened
from tests.api.processes import run, serving
from tests.api.wire import DATASETS, Headers, bearer
from tests.doubles import HashEmbedder
from tests.openai_server import openai_server

EXAMPLES = int(os.environ.get("QUOTEBASE_TEST_EXAMPLES", "2"))

load_all_checks()

TOO_STRICT = CHECKS.get_by_names(["negative_data_rejection", "positive_data_acceptance"])
"""FastGPT's clients may send null, numbers as strings and fields that nobody knows, which a schema forbids; and
what two fields may not be together, such as a threshold for a search that has no scores, a schema does not say."""

DIFYS_OWN = CHECKS.get_by_names(["missing_required_header"])
"""Dify takes 403 for what is 401 elsewhere."""


class Door:
    """Leads to the application of the fixture, which is not there yet when the tests are collected."""

    leads_to: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.leads_to(scope, receive, send)


DOOR = Door()


@dataclass(frozen=True)
class Fuzzed:
    """One dataset with what opens it, in an application of this process or in a server at ``url``."""

    ids: Mapping[str, object]
    admin: Headers
    chat: Headers
    url: str | None = None

    def check(self, case: Any) -> None:
        headers = self.chat if "/chat/completions" in case.path else self.admin
        excluded = [*TOO_STRICT, *DIFYS_OWN] if case.path == "/retrieval" else TOO_STRICT
        COUNTS[self.url is not None] += 1
        case.call_and_validate(base_url=self.url, headers=headers, excluded_checks=excluded)

    def name_what_is_there(self, *parts: Any) -> None:
        """Put ids of what there is in the place of made-up ones."""
        for part in parts:
            if isinstance(part, dict):
                part.update({name: value for name, value in self.ids.items() if name in part})


COUNTS = {False: 0, True: 0}
"""Requests to the application, and to the server."""

LEAST = 2000
"""Of each, in the whole file."""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with (
        Library.open(tmp_path_factory.mktemp("fuzzed"), HashEmbedder()) as library,
        opened(library, ExtractiveCompletion()) as api,
    ):
        dataset = library.create_dataset("suzume")
        report = import_file(library, dataset, DATA / "suzume.csv")
        chat = api.new_key("app", app_id=api.new_app("suzume").id)[1]
        DOOR.leads_to = api.client.app
        yield Fuzzed(_ids(dataset.id, report.collection_id), api.admin, chat)


@pytest.fixture(scope="module")
def fuzzed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """As users start it; only what embeds is quick."""
    data_dir = tmp_path_factory.mktemp("fuzzed server") / "data"
    with openai_server() as embeddings:
        settings = {"EMBEDDING_BASE_URL": embeddings.url, "EMBEDDING_MODEL": "scripted"}
        with serving(data_dir, **settings) as server:
            ran = run("ingest", DATA / "suzume.csv", "--dataset", "suzume", data_dir=data_dir, **settings)
            assert ran.code == 0, ran.err
            assert run("apps", "create", "film", "--dataset", "suzume", data_dir=data_dir).code == 0
            chat = run("keys", "create", "--app", "film", data_dir=data_dir).out.strip()
            admin = bearer(server.admin_key)
            with httpx2.Client(base_url=server.url + DATASETS, headers=admin) as client:
                (dataset,) = client.post("/list", json={}).json()["data"]
                listing = {"datasetId": dataset["_id"]}
                (collection,) = client.post("/collection/list", json=listing).json()["data"]["list"]
            yield Fuzzed(_ids(dataset["_id"], collection["_id"]), admin, bearer(chat), server.url)
            assert server.process.poll() is None
            log = server.log.read_text(encoding="utf-8")
            assert "Traceback" not in log, log[-5000:]


def _ids(dataset_id: str, collection_id: str) -> dict[str, object]:
    return {
        "datasetId": dataset_id,
        "datasetIds": [dataset_id],
        "collectionId": collection_id,
        "id": dataset_id,
    }


def told_to(count: int, door: ASGIApp | None) -> Any:
    """What the application says of itself, to make so many requests to each operation by."""
    # The document is the same whatever the service is.
    schema = schemathesis.openapi.from_dict(create_app(cast("Service", None)).openapi())
    schema.app = door
    schema.config.generation.update(max_examples=count, database="none", deterministic=True)
    return schema


# A link would be fetched, and what is deleted would be missed by the others: these are asked of made-up ids alone.
def _harmless(schema: Any) -> Any:
    return schema.exclude(path_regex="create/link$").exclude(method="DELETE")


what_is_not_there = told_to(EXAMPLES, DOOR).include(path_regex="create/link$").include(method="DELETE")
what_is_there = _harmless(told_to(EXAMPLES, DOOR))
of_a_server = _harmless(told_to(-(-EXAMPLES // 2), None))


@what_is_not_there.parametrize()
def test_whatever_is_asked_of_what_is_not_there(case: Any, fuzzed: Fuzzed) -> None:
    fuzzed.check(case)


@what_is_there.parametrize()
def test_whatever_is_asked_of_what_is_there(case: Any, fuzzed: Fuzzed) -> None:
    fuzzed.name_what_is_there(case.query, case.body)
    fuzzed.check(case)


@of_a_server.parametrize()
def test_whatever_is_asked_of_a_server(case: Any, fuzzed_server: Fuzzed) -> None:
    fuzzed_server.name_what_is_there(case.query, case.body)
    fuzzed_server.check(case)


def test_that_was_a_lot() -> None:
    if not all(COUNTS.values()):
        pytest.skip("only a part of the tests of this file ran")
    assert min(COUNTS.values()) >= LEAST
