"""Fixtures that more than one test module uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.settings import Settings
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.library import Library
from tests.doubles import HashEmbedder

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


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
