"""Fixtures of the wire's tests. ``pytest tests/api --update-golden`` rewrites the golden files."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from api.cli import main
from api.settings import PREFIX, Settings
from api.wiring import service_of
from ingest.imports import import_file
from retrieval.completion import Completion
from retrieval.completion.backends import Backends
from retrieval.completion.endpoint import EndpointCompletion
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.library import Library
from tests.api.commands import Cli, RunHere
from tests.api.processes import Ran
from tests.api.wire import Api, Chatter, new_chatter
from tests.doubles import HashEmbedder
from tests.openai_server import OpenAIServer, openai_server

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
GOLDEN = ROOT / "tests" / "golden"

BACKEND_KEY = "sk-the-backend-key"
BACKEND_TIMEOUT_S = 20.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files instead of comparing"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the golden file of a name, or write that file."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden", default=False):
            path.write_bytes(text.encode())
        assert text == path.read_bytes().decode()

    return compare


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with both sample files in it, to copy."""
    folder = tmp_path_factory.mktemp("samples")
    with Library.open(folder, HashEmbedder()) as library:
        for name in ("suzume", "coffee"):
            import_file(library, library.create_dataset(name), DATA / f"{name}.csv")
    return folder


@pytest.fixture
def sampled(samples: Path, tmp_path: Path, embedder: HashEmbedder) -> Iterator[Library]:
    """A library of our own with the datasets ``suzume`` and ``coffee``."""
    shutil.copytree(samples, tmp_path / "data")
    with Library.open(tmp_path / "data", embedder) as library:
        yield library


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Run ``quotebase`` in this process, as ``tests.api.processes.run`` does in one of its own."""

    def run(*arguments: str | Path, data_dir: Path, **settings: str) -> Ran:
        for name in Settings.model_fields:
            if name != "cache_dir":
                monkeypatch.delenv(PREFIX + name.upper(), raising=False)
        for name, value in {"DATA_DIR": str(data_dir), **settings}.items():
            monkeypatch.setenv(PREFIX + name, value)
        monkeypatch.setattr(sys, "argv", ["quotebase", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr()
        return Ran(int(stopped.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def cli(endpoint: OpenAIServer, tmp_path: Path, run_here: RunHere) -> Cli:
    """Over an embedding endpoint that is quick."""
    return Cli(
        run_here, tmp_path / "data", {"EMBEDDING_BASE_URL": endpoint.url, "EMBEDDING_MODEL": "scripted"}
    )


@pytest.fixture
def filled(cli: Cli) -> Cli:
    """With the dataset ``suzume``."""
    assert cli("ingest", DATA / "suzume.csv", "--dataset", "suzume").code == 0
    return cli


@pytest.fixture
def endpoint() -> Iterator[OpenAIServer]:
    """For embeddings."""
    with openai_server() as server:
        yield server


@pytest.fixture
def backend() -> Iterator[OpenAIServer]:
    """For answers."""
    with openai_server() as server:
        yield server


@contextmanager
def opened(library: Library, completion: Completion) -> Iterator[Api]:
    """The application over a library; its imports end with it."""
    service = service_of(library, Backends(completion))
    with closing(service.rebuilds), closing(service.runner):
        yield Api(service)


@pytest.fixture
def api(sampled: Library) -> Iterator[Api]:
    """The application with the extractive backend."""
    with opened(sampled, ExtractiveCompletion()) as api:
        yield api


@pytest.fixture
def backed(sampled: Library, backend: OpenAIServer) -> Iterator[Api]:
    """The application with the scripted backend."""
    completion = EndpointCompletion("scripted-model", backend.url, BACKEND_KEY, BACKEND_TIMEOUT_S)
    with opened(sampled, completion) as api:
        yield api


@pytest.fixture
def chatter(api: Api) -> Chatter:
    """Asks ``suzume``, answered by the extractive backend."""
    return new_chatter(api)


@pytest.fixture
def backed_chatter(backed: Api) -> Chatter:
    """Asks ``suzume``, answered by the scripted backend."""
    return new_chatter(backed)
