"""A server that is told to stop: what runs comes to its end, what is longer goes on at the next start."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from ingest.batches import BATCH_RECORDS
from tests.api.conftest import DATA
from tests.api.imports import Gate, table
from tests.api.processes import Server, run, serving
from tests.api.wire import CHAT, DATASETS, bearer, error_of, events_of, said
from tests.openai_server import Handler, OpenAIServer, Reply

PATIENCE_S = 30.0

ROWS = 3 * BATCH_RECORDS


@pytest.fixture
def settings(endpoint: OpenAIServer, backend: OpenAIServer) -> dict[str, str]:
    return {
        "EMBEDDING_BASE_URL": endpoint.url,
        "EMBEDDING_MODEL": "scripted",
        "COMPLETION_BASE_URL": backend.url,
        "COMPLETION_MODEL": "scripted",
        "LOG_FORMAT": "json",
    }


def wait_until_it_listens_no_more(server: Server) -> None:
    address = urlsplit(server.url)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((str(address.hostname), int(address.port or 0)), 1).close()
        except OSError:
            return
        time.sleep(0.02)
    raise AssertionError("it still listens")


def made(server: Server, name: str) -> str:
    reply = httpx2.post(
        f"{server.url}{DATASETS}/create", json={"name": name}, headers=bearer(server.admin_key)
    )
    dataset: str = reply.json()["data"]
    return dataset


def uploaded(server: Server, key: str, dataset: str, content: str, **fields: Any) -> httpx2.Response:
    return httpx2.post(
        f"{server.url}{DATASETS}/collection/create/template",
        files={"file": ("many.csv", content.encode())},
        data={"data": json.dumps({"datasetId": dataset, **fields})},
        headers=bearer(key),
        timeout=2 * PATIENCE_S,
    )


def told(server: Server, key: str, path: str, **params: str) -> Any:
    return httpx2.get(server.url + DATASETS + path, params=params, headers=bearer(key)).json()["data"]


def paused(begun: threading.Event, go_on: threading.Event) -> Reply:
    """An answer in two pieces, with a pause between them for as long as the test wants."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        handler.send_delta(body["model"], {"content": "before, "})
        begun.set()
        go_on.wait(PATIENCE_S)
        handler.send_delta(body["model"], {"content": "after"})
        handler.send_delta(body["model"], {}, "stop")
        handler.send_event("[DONE]")
        handler.end_events()

    return reply


def log_lines(server: Server) -> Iterator[Any]:
    for line in server.log.read_text().splitlines():
        yield json.loads(line)


def test_a_stream_that_runs_finishes(settings: dict[str, str], backend: OpenAIServer, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    begun, go_on = threading.Event(), threading.Event()
    backend.script(paused(begun, go_on))
    with serving(data_dir, **settings) as server, ThreadPoolExecutor() as pool:
        run("ingest", DATA / "suzume.csv", "--dataset", "suzume", data_dir=data_dir, **settings)
        run("apps", "create", "film", "--dataset", "suzume", data_dir=data_dir)
        key = run("keys", "create", "--app", "film", data_dir=data_dir).out.strip()
        body = {"messages": [{"role": "user", "content": "导演是谁"}], "stream": True}
        streaming = pool.submit(
            httpx2.post, server.url + CHAT, json=body, headers=bearer(key), timeout=2 * PATIENCE_S
        )
        assert begun.wait(PATIENCE_S)

        server.process.terminate()
        wait_until_it_listens_no_more(server)
        assert server.process.poll() is None
        go_on.set()

        events = events_of(streaming.result(PATIENCE_S).text)
        assert server.process.wait(PATIENCE_S) == 0

    assert said(events) == "before, after"
    assert events[-1].data == "[DONE]"
    assert not (data_dir / "server.json").exists()
    # The index was saved, so that the next start need not read it from the store.
    assert len(list((data_dir / "indexes").iterdir())) == 1
    chats = [line for line in log_lines(server) if line.get("route") == CHAT]
    assert [(line["status"], line["client"]) for line in chats] == [(200, "127.0.0.1")]


@pytest.mark.slow
def test_an_import_is_interrupted_and_goes_on_at_the_next_start(
    settings: dict[str, str], endpoint: OpenAIServer, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    gate = Gate(endpoint)
    with serving(data_dir, **settings) as server, ThreadPoolExecutor() as pool:
        key, dataset = server.admin_key, made(server, "many")
        gate.shut(f"question {BATCH_RECORDS + 10}\nanswer")
        waiting = pool.submit(uploaded, server, key, dataset, table(ROWS))
        gate.wait()

        server.process.terminate()
        wait_until_it_listens_no_more(server)
        gate.open()

        reply = waiting.result(2 * PATIENCE_S)
        assert server.process.wait(PATIENCE_S) == 0

    assert reply.status_code == 503
    error = error_of(reply)
    assert error["code"] == "server_stopping"

    with serving(data_dir, **settings) as server:
        (job,) = told(server, key, "/job/list", datasetId=dataset)
        assert job["id"] in error["message"]
        deadline = time.monotonic() + 2 * PATIENCE_S
        while job["state"] in ("queued", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
            job = told(server, key, "/job/detail", id=job["id"])
        detail = told(server, key, "/detail", id=dataset)
        going_on = [line["message"] for line in log_lines(server) if "going on" in line["message"]]
        assert server.stop() == 0

    assert job["state"] == "done"
    assert (job["report"]["read"], job["report"]["added"], job["report"]["unchanged"]) == (ROWS, ROWS, 0)
    assert detail["dataAmount"] == ROWS
    assert going_on == ["going on with the import of many.csv"]


@pytest.mark.slow
def test_logs_of_a_server_are_objects_with_no_key_in_them(settings: dict[str, str], tmp_path: Path) -> None:
    with serving(tmp_path / "data", **settings) as server:
        key = server.admin_key
        httpx2.get(f"{server.url}/api/support/openapi/health", params={"apiKey": key})
        reply = httpx2.get(f"{server.url}/metrics", headers=bearer(key))
        assert httpx2.get(f"{server.url}/ready").json()["status"] == "ok"
        assert server.stop() == 0

    lines = list(log_lines(server))
    assert {"time", "level", "logger", "message", "request_id"} <= set.intersection(*map(set, lines))
    (line,) = [line for line in lines if line.get("route") == "/metrics"]
    assert line["request_id"] == reply.headers["X-Request-Id"]
    assert key not in server.log.read_text()
