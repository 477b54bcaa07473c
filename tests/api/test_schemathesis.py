"""Whatever the OpenAPI document allows, and what it does not: no request breaks the server, every reply is as it says.

``QUOTEBASE_TEST_EXAMPLES=500`` makes that many requests to each operation instead of a few.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

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
from tests.api.wire import Api
from tests.doubles import HashEmbedder

EXAMPLES = int(os.environ.get("QUOTEBASE_TEST_EXAMPLES", "5"))

load_all_checks()

TOO_STRICT = CHECKS.get_by_names(["negative_data_rejection", "positive_data_acceptance"])
"""FastGPT's clients may send null, numbers as strings and fields that nobody knows, which a schema forbids; and
what two fields may not be together, such as a threshold for a search that has no scores, a schema does not say."""


class Door:
    """Leads to the application of the fixture, which is not there yet when the tests are collected."""

    leads_to: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.leads_to(scope, receive, send)


DOOR = Door()


@dataclass(frozen=True)
class Fuzzed:
    """The application over one dataset, and what opens it."""

    api: Api
    ids: dict[str, object]
    chat: dict[str, str]

    def check(self, case: Any) -> None:
        headers = self.chat if "/chat/completions" in case.path else self.api.admin
        case.call_and_validate(headers=headers, excluded_checks=TOO_STRICT)

    def name_what_is_there(self, *parts: Any) -> None:
        """Put ids of what there is in the place of made-up ones."""
        for part in parts:
            if isinstance(part, dict):
                part.update({name: value for name, value in self.ids.items() if name in part})


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    with (
        Library.open(tmp_path_factory.mktemp("fuzzed"), HashEmbedder()) as library,
        opened(library, ExtractiveCompletion()) as api,
    ):
        dataset = library.create_dataset("suzume")
        report = import_file(library, dataset, DATA / "suzume.csv")
        chat = api.new_key("app", app_id=api.new_app("suzume").id)[1]
        ids = {
            "datasetId": dataset.id,
            "datasetIds": [dataset.id],
            "collectionId": report.collection_id,
            "id": dataset.id,
        }
        DOOR.leads_to = api.client.app
        yield Fuzzed(api, ids, chat)


def told_to(count: int) -> Any:
    """What the application says of itself, to make so many requests to each operation by."""
    # The document is the same whatever the service is.
    schema = schemathesis.openapi.from_dict(create_app(cast("Service", None)).openapi())
    schema.app = DOOR
    schema.config.generation.update(max_examples=count, database="none", deterministic=True)
    return schema


anything = told_to(EXAMPLES)

# A link would be fetched, and what is deleted would be missed by the others.
what_is_there = told_to(EXAMPLES).exclude(path_regex="create/link$").exclude(method="DELETE")


@anything.parametrize()
def test_whatever_is_asked_of_what_is_not_there(case: Any, fuzzed: Fuzzed) -> None:
    fuzzed.check(case)


@what_is_there.parametrize()
def test_whatever_is_asked_of_what_is_there(case: Any, fuzzed: Fuzzed) -> None:
    fuzzed.name_what_is_there(case.query, case.body)
    fuzzed.check(case)
