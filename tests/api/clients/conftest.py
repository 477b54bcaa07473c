"""One server behind all clients, over a scripted endpoint; an app that asks it, and one that quotes.

The Python clients are pinned and installed with everything else: they go with all our pins, and an environment of
their own would take each run of the tests longer than all of them. Those in JavaScript are installed by a session that
tries them, in a few seconds.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from api.apps import Apps, new_app
from api.keys import Keys
from api.settings import Settings
from api.wiring import open_documents
from retrieval.completion import DEFAULT, EXTRACTIVE
from tests.api.clients.asking import Asking, Client
from tests.api.clients.in_node import AISDK, Node, OpenAINode, install, running
from tests.api.clients.in_python import LangChain, LiteLLM, OpenAIPython
from tests.api.processes import Server, serving
from tests.api.test_server import fill
from tests.openai_server import OpenAIServer, openai_server

PYTHON = {"openai": OpenAIPython, "langchain-openai": LangChain, "litellm": LiteLLM}
NODE = {"npm openai": OpenAINode, "npm ai": AISDK}

Named = Callable[[str], Client]


@pytest.fixture(scope="session")
def backend() -> Iterator[OpenAIServer]:
    """For answers."""
    with openai_server() as server:
        yield server


@pytest.fixture(scope="session")
def server(backend: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the dataset ``suzume``."""
    settings = {"COMPLETION_BASE_URL": backend.url, "COMPLETION_MODEL": "scripted"}
    with openai_server() as embeddings:
        settings |= {"EMBEDDING_BASE_URL": embeddings.url, "EMBEDDING_MODEL": "scripted"}
        with serving(tmp_path_factory.mktemp("clients") / "data", **settings) as server:
            fill(server)
            yield server


@pytest.fixture(scope="session")
def asking(server: Server) -> Asking:
    """An app that the scripted endpoint answers."""
    return Asking(server, new_key(server, DEFAULT))


@pytest.fixture(scope="session")
def quoting(server: Server) -> Asking:
    """An app that the extractive backend answers."""
    return Asking(server, new_key(server, EXTRACTIVE))


def new_key(server: Server, backend: str) -> str:
    """Of a fresh app that is answered by this backend."""
    with open_documents(Settings(data_dir=server.data_dir)) as store:
        datasets = tuple(dataset.id for dataset in store.list_datasets())
        app = Apps(store).create(new_app(backend, datasets, backend=backend))
        return Keys(store).create("app", app_id=app.id)[1]


@pytest.fixture(autouse=True)
def unscripted(backend: OpenAIServer) -> None:
    """Nothing is left of what another test told the endpoint."""
    backend.script_anew()
    backend.requests.clear()


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Node]]:
    """A process for each of the JavaScript clients, by their names in the script."""
    script = install(tmp_path_factory.mktemp("node"))
    with ExitStack() as stack:
        yield {name: stack.enter_context(running(script, name)) for name in (*NODE, "events")}


@pytest.fixture
def named(request: pytest.FixtureRequest) -> Named:
    """A client; the test is skipped where it cannot be had."""
    return lambda name: (
        PYTHON[name]() if name in PYTHON else NODE[name](request.getfixturevalue("nodes")[name])
    )


@pytest.fixture(params=[*PYTHON, *NODE])
def client_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def client(client_name: str, named: Named) -> Client:
    return named(client_name)
