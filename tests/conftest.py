"""Fixtures that more than one test module uses."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from api.settings import Settings
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.library import Library
from tests.doubles import HashEmbedder
from tests.mongodb import mongodb_server

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

# A busy machine is slow, and that is no finding.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def library(tmp_path: Path, embedder: HashEmbedder) -> Iterator[Library]:
    """An empty library over SQLite and a hash embedder."""
    with Library.open(tmp_path / "library", embedder) as opened:
        yield opened


@pytest.fixture(scope="session")
def bundled() -> BundledEmbedder:
    """The bundled model, from the cache of the settings."""
    return BundledEmbedder(Settings().cache_dir)


@pytest.fixture
def shared_data() -> Path:
    """Labelled data outside the repository; the test is skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no test data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """QUOTEBASE_TEST_MONGODB_URI if set, else a server of our own; take databases from ``own_database``."""
    given = os.environ.get("QUOTEBASE_TEST_MONGODB_URI")
    if given:
        yield given
        return
    with mongodb_server(tmp_path_factory.mktemp("mongodb")) as uri:
        yield uri
