"""The MCP server, by the official client: on stdio as a process of its own, and over HTTP on a real server."""

import json
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from api.keys import KeyKind, Keys
from api.schemas.datasets import MAX_PUSH
from ingest.imports import import_file
from retrieval.embedding.endpoint import EndpointEmbedder
from retrieval.library import Library
from retrieval.store import open_store
from tests.api.commands import json_of
from tests.api.conftest import DATA
from tests.api.processes import QUOTEBASE, Server, environment, run, serving
from tests.api.wire import DATASETS, bearer, error_of
from tests.openai_server import openai_server

T = TypeVar("T")

TIMEOUT_S = 60.0

QUESTION = "导演是谁"
DIRECTOR, ANSWER = "电影《铃芽之旅》的导演是谁？", "电影《铃芽之旅》的导演是新海诚!"

NO_RECORD = "0" * 24

Connect = Callable[[], AbstractAsyncContextManager[Client]]


@dataclass(frozen=True)
class Caller:
    """A client that connects, asks and goes."""

    connect: Connect

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        async def talk() -> T:
            with anyio.fail_after(TIMEOUT_S):
                async with self.connect() as client:
                    return await question(client)

        return anyio.run(talk)

    def result(self, tool: str, **arguments: Any) -> Any:
        return self.ask(lambda client: result(client, tool, **arguments))

    def complaint(self, tool: str, **arguments: Any) -> str:
        return self.ask(lambda client: complaint(client, tool, **arguments))


async def result(client: Client, tool: str, **arguments: Any) -> Any:
    """Of a call that succeeds: the same as a structure and as a text."""
    called = await client.call_tool(tool, arguments)
    assert not called.is_error, called
    assert json.loads(text_of(called)) == called.structured_content
    return called.structured_content


async def complaint(client: Client, tool: str, **arguments: Any) -> str:
    """What the model is told of a call that fails."""
    called = await client.call_tool(tool, arguments)
    assert (called.is_error, called.structured_content) == (True, None)
    return text_of(called).removeprefix(f"Error executing tool {tool}: ")


def text_of(called: CallToolResult) -> str:
    (content,) = called.content
    assert isinstance(content, TextContent)
    return content.text


@dataclass(frozen=True)
class Place:
    """A data directory with the dataset ``suzume`` and the empty one ``films``."""

    data_dir: Path
    settings: Mapping[str, str]

    def new_key(self, kind: KeyKind, **opens: Any) -> tuple[str, str]:
        """Id and secret; a server may have the directory."""
        store = open_store(self.data_dir, None)
        try:
            key, secret = Keys(store).create(kind, **opens)
        finally:
            store.close()
        return key.id, secret

    def revoke(self, key_id: str) -> None:
        store = open_store(self.data_dir, None)
        try:
            Keys(store).revoke(key_id)
        finally:
            store.close()

    def copy_to(self, folder: Path) -> "Place":
        shutil.copytree(self.data_dir, folder)
        return Place(folder, self.settings)


def on_stdio(place: Place, mode: str = "auto") -> Caller:
    """A process for each connection; what it says beside the protocol goes to ``mcp.log``."""
    process = StdioServerParameters(
        command=str(QUOTEBASE), args=["mcp"], env=environment(place.data_dir, place.settings)
    )

    @asynccontextmanager
    async def connect() -> AsyncIterator[Client]:
        with (place.data_dir / "mcp.log").open("a") as log:
            async with Client(stdio_client(process, errlog=log), mode=mode) as client:
                yield client

    return Caller(connect)


def over_http(server: Server, key: str, mode: str = "auto") -> Caller:
    @asynccontextmanager
    async def connect() -> AsyncIterator[Client]:
        async with (
            httpx2.AsyncClient(headers=bearer(key), timeout=TIMEOUT_S) as http,
            Client(streamable_http_client(f"{server.url}/mcp", http_client=http), mode=mode) as client,
        ):
            yield client

    return Caller(connect)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """That no server has."""
    data_dir = tmp_path_factory.mktemp("mcp") / "data"
    with openai_server() as endpoint:
        with Library.open(data_dir, EndpointEmbedder("scripted", endpoint.url, None, 512)) as library:
            import_file(library, library.create_dataset("suzume"), DATA / "suzume.csv")
            library.create_dataset("films")
        yield Place(data_dir, {"EMBEDDING_BASE_URL": endpoint.url, "EMBEDDING_MODEL": "scripted"})


@pytest.fixture(scope="module")
def served(place: Place) -> Place:
    """That the server has."""
    return place.copy_to(place.data_dir.with_name("served"))


@pytest.fixture(scope="module")
def server(served: Place) -> Iterator[Server]:
    with serving(served.data_dir, **served.settings) as server:
        yield server


@pytest.fixture(scope="module")
def admin(server: Server) -> Caller:
    return over_http(server, server.admin_key)


@pytest.fixture(params=["stdio", "stdio beside a server", "http"])
def caller(request: pytest.FixtureRequest, place: Place, served: Place, admin: Caller) -> Caller:
    """With all rights."""
    callers = {"stdio": on_stdio(place), "stdio beside a server": on_stdio(served), "http": admin}
    return callers[request.param]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_tools_are_described(place: Place, mode: str) -> None:
    tools = on_stdio(place, mode).ask(lambda client: client.list_tools()).tools

    assert [tool.name for tool in tools] == ["list_datasets", "search", "read_record", "add_records"]
    for tool in tools:
        assert tool.description
        assert tool.output_schema
        assert tool.annotations
        assert tool.annotations.read_only_hint == (tool.name != "add_records")
        assert "context" not in tool.input_schema["properties"]


def test_what_is_listed_can_be_searched_and_what_is_found_read(caller: Caller) -> None:
    async def talk(client: Client) -> tuple[Any, Any, Any]:
        datasets = (await result(client, "list_datasets"))["datasets"]
        ids = {dataset["name"]: dataset["id"] for dataset in datasets}
        found = await result(client, "search", dataset=ids["suzume"], query=QUESTION, top_k=3)
        return ids, found, await result(client, "read_record", id=found["quotes"][0]["id"])

    ids, found, record = caller.ask(talk)

    assert set(ids) == {"suzume", "films"}
    assert found["quotes"][0]["q"] == DIRECTOR
    assert len(found["quotes"]) == 3
    assert (found["similarity"], found["notes"]) == (0.0, [])
    assert found["quotes"][0]["collection"] == record["collection"] == "suzume.csv"
    assert (record["q"], record["a"], record["dataset_id"]) == (DIRECTOR, ANSWER, ids["suzume"])


def test_a_search_is_told_how(admin: Caller) -> None:
    asked = {"dataset": "suzume", "query": f"{DIRECTOR}\n{ANSWER}", "mode": "embedding", "top_k": 2}

    both = admin.result("search", **asked)["quotes"]
    above = admin.result("search", **asked, similarity=0.99)

    assert above == {"quotes": both[:1], "similarity": 0.99, "notes": []}
    assert both[0]["q"] == DIRECTOR
    assert both[0]["score"] == pytest.approx(1.0, abs=1e-3)
    assert both[1]["score"] < 0.99


def test_added_records_are_found_and_not_added_twice(caller: Caller, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    cat: dict[str, Any] = {
        "q": f" 谁是猫？\n{name}\n",
        "a": '大臣, "一只猫"',
        "indexes": ["要石", f"the keystone cat of {name}"],
    }
    where = {"dataset": "suzume", "collection": name}

    async def talk(client: Client) -> tuple[Any, Any, Any]:
        first = await result(client, "add_records", **where, records=[cat, {"q": "only q"}])
        second = await result(client, "add_records", **where, records=[cat, {"q": "more"}])
        found = await result(client, "search", dataset="suzume", query=cat["indexes"][1], top_k=1)
        return first, second, await result(client, "read_record", id=found["quotes"][0]["id"])

    first, second, record = caller.ask(talk)

    assert first == {"added": 2, "unchanged": 0}
    assert second == {"added": 1, "unchanged": 1}
    assert {name: record[name] for name in cat} == cat
    assert record["collection"] == name


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        (
            "search",
            {"dataset": "movies", "query": "x"},
            "no dataset named 'movies' (there are: suzume, films): create it by importing a file into it",
        ),
        ("search", {"dataset": "suzume", "query": " "}, "text"),
        ("search", {"dataset": "suzume", "query": "x", "top_k": 0}, "top_k\n  Input should be greater than"),
        ("search", {"dataset": "suzume", "query": "x", "mode": "magic"}, "'fullTextRecall' or 'mixedRecall'"),
        ("search", {"dataset": "suzume"}, "query\n  Field required"),
        ("read_record", {"id": NO_RECORD}, "there is no record"),
        ("add_records", {"dataset": "suzume", "collection": "c", "records": []}, "at least 1 item"),
        ("add_records", {"dataset": "suzume", "collection": " ", "records": [{"q": "q"}]}, "has no name"),
        ("add_records", {"dataset": "suzume", "collection": "c", "records": [{"q": " "}]}, "records.0.q"),
        ("add_records", {"dataset": "movies", "collection": "c", "records": [{"q": "q"}]}, "'movies'"),
        (
            "add_records",
            {"dataset": "suzume", "collection": "c", "records": [{"q": "q"}] * (MAX_PUSH + 1)},
            "at most 200 items",
        ),
    ],
)
def test_a_failure_says_what_to_mend(
    admin: Caller, tool: str, arguments: dict[str, Any], message: str
) -> None:
    assert message in admin.complaint(tool, **arguments)


@pytest.mark.parametrize("beside", ["nobody", "a server"])
def test_failures_on_stdio_say_the_same(place: Place, served: Place, server: Server, beside: str) -> None:
    async def talk(client: Client) -> tuple[str, str]:
        missing = await complaint(client, "read_record", id=NO_RECORD)
        return missing, await complaint(client, "search", dataset="movies", query="x")

    missing, unknown = on_stdio(place if beside == "nobody" else served).ask(talk)

    assert missing.startswith("there is no record")
    assert "(there are: suzume, films)" in unknown


def test_stdio_does_not_keep_the_directory(place: Place, tmp_path: Path) -> None:
    """A server can start between two calls, which then go to it."""
    own = place.copy_to(tmp_path / "data")
    before = {row["name"]: row["records"] for row in listed(own)}

    async def talk(client: Client) -> None:
        where = {"dataset": "films", "collection": "c"}
        await result(client, "add_records", **where, records=[{"q": "to the directory"}])
        stays.enter_context(serving(own.data_dir, **own.settings))
        await result(client, "add_records", **where, records=[{"q": "to the server"}])

    with ExitStack() as stays:
        on_stdio(own).ask(talk)
        after = {row["name"]: row["records"] for row in listed(own)}

    assert after == {**before, "films": before["films"] + 2}


def listed(place: Place) -> Any:
    return json_of(run("datasets", "list", "--json", data_dir=place.data_dir, **place.settings))


def test_stdout_has_nothing_but_the_protocol(place: Place) -> None:
    """The end of stdin is the end of the process."""
    client = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    search = {"name": "search", "arguments": {"dataset": "suzume", "query": QUESTION}}
    lines = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": search},
    ]
    process = subprocess.Popen(
        [QUOTEBASE, "mcp"],
        env=environment(place.data_dir, {**place.settings, "LOG_LEVEL": "debug"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.writelines(json.dumps(line) + "\n" for line in lines)
        process.stdin.flush()
        replies = [json.loads(process.stdout.readline()) for _ in range(2)]
        rest, log = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()

    assert [reply["id"] for reply in replies] == [1, 2]
    assert replies[1]["result"]["structuredContent"]["quotes"]
    assert (rest, process.returncode) == ("", 0)
    assert "loaded the index of dataset suzume" in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_stdin_is_open(place: Place, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [QUOTEBASE, "mcp"],
        env=environment(place.data_dir, place.settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == -number
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_key_opens_its_datasets_only(served: Place, server: Server, admin: Caller, mode: str) -> None:
    ids = {found["name"]: found["id"] for found in admin.result("list_datasets")["datasets"]}
    (quote,) = admin.result("search", dataset="suzume", query=QUESTION, top_k=1)["quotes"]
    _, key = served.new_key("dataset", dataset_ids=(ids["films"],))

    async def talk(client: Client) -> tuple[Any, Any, list[str]]:
        suzume = {"dataset": ids["suzume"]}
        return (
            await result(client, "list_datasets"),
            await result(client, "search", dataset="films", query=QUESTION),
            [
                await complaint(client, "search", **suzume, query=QUESTION),
                await complaint(client, "read_record", id=quote["id"]),
                await complaint(client, "add_records", **suzume, collection="c", records=[{"q": "q"}]),
            ],
        )

    opened, found, refusals = over_http(server, key, mode).ask(talk)

    assert [dataset["name"] for dataset in opened["datasets"]] == ["films"]
    assert found["quotes"] == []
    assert refusals == [f"this key does not open the dataset {ids['suzume']}: use a key that names it"] * 3


def test_a_key_does_what_it_may_only(served: Place, server: Server) -> None:
    searcher, writer = (
        over_http(server, served.new_key("dataset", capabilities=(may,))[1]) for may in ("search", "write")
    )
    new = {"dataset": "suzume", "collection": "written", "records": [{"q": "written"}]}

    assert searcher.result("search", dataset="suzume", query=QUESTION, top_k=1)["quotes"]
    assert searcher.complaint("add_records", **new).startswith("this key may not write, only search")
    assert writer.result("add_records", **new) == {"added": 1, "unchanged": 0}
    assert writer.complaint("search", dataset="suzume", query=QUESTION).startswith("this key may not search")
    assert writer.complaint("read_record", id=NO_RECORD).startswith("this key may not search")
    assert len(writer.result("list_datasets")["datasets"]) == 2


PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPTS = {"Accept": "application/json, text/event-stream"}


def ping(server: Server, headers: Mapping[str, str]) -> httpx2.Response:
    return httpx2.post(f"{server.url}/mcp", json=PING, headers={**ACCEPTS, **headers})


def test_a_key_that_is_known_is_let_in(server: Server) -> None:
    assert ping(server, bearer(server.admin_key)).json() == {"jsonrpc": "2.0", "id": 1, "result": {}}


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", "Basic abc"])
def test_401_without_a_key_that_is_known(server: Server, authorization: str | None) -> None:
    response = ping(server, {} if authorization is None else {"Authorization": authorization})

    assert (response.status_code, error_of(response)["code"]) == (401, "unauthorized")


def test_403_for_the_key_of_an_app(served: Place, server: Server) -> None:
    response = ping(server, bearer(served.new_key("app", app_id=NO_RECORD)[1]))

    assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")


def test_a_key_that_was_revoked_opens_nothing_at_once(served: Place, server: Server) -> None:
    key_id, secret = served.new_key("dataset")

    async def talk(client: Client) -> None:
        await result(client, "list_datasets")
        served.revoke(key_id)
        with pytest.raises(MCPError):
            await client.call_tool("list_datasets", {})

    over_http(server, secret).ask(talk)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_no_stream_is_held_open(server: Server, method: str) -> None:
    headers = {"Accept": "text/event-stream", **bearer(server.admin_key)}

    response = httpx2.request(method, f"{server.url}/mcp", headers=headers)

    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert error_of(response)["message"] == f"/mcp does not take {method}: use POST"


def test_a_record_over_http(server: Server, admin: Caller) -> None:
    (quote,) = admin.result("search", dataset="suzume", query=QUESTION, top_k=1)["quotes"]

    known, unknown = (
        httpx2.get(
            f"{server.url}{DATASETS}/data/detail", params={"id": id_}, headers=bearer(server.admin_key)
        )
        for id_ in (quote["id"], NO_RECORD)
    )

    record = known.json()["data"]
    assert (record["q"], record["a"], record["sourceName"]) == (DIRECTOR, ANSWER, "suzume.csv")
    (index,) = record["indexes"]
    assert (index["type"], index["defaultIndex"]) == ("qa", True)
    assert index["text"] == f"{DIRECTOR}\n{ANSWER}"
    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "record_not_found")
