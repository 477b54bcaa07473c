"""A store of each kind, for what both have to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.store import Store
from tests.contracts.stores import Place
from tests.mongodb import own_database


@pytest.fixture(params=["sqlite", "mongodb"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        place = Place(tmp_path)
        yield place
        place.close()
        return
    with own_database(request.getfixturevalue("mongodb_uri")) as uri:
        place = Place(tmp_path, uri)
        yield place
        place.close()


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()
