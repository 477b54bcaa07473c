"""Backends that misbehave: what the client sees, and what is stored of it."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from retrieval.completion.endpoint import EndpointCompletion
from retrieval.library import Library
from tests.api.conftest import BACKEND_KEY, DATA, opened
from tests.api.processes import Server, run, serving
from tests.api.test_server import WAIT_S, turns
from tests.api.wire import CHAT, Api, Chatter, bearer, error_of, events_of, new_chatter, said
from tests.openai_server import (
    Handler,
    OpenAIServer,
    Reply,
    answer,
    cut_off,
    endless,
    openai_server,
    refusal,
    stalled,
    then_event,
    unfinished,
)

QUESTION = "文字脚本的作者"

SHAPES = {
    "object": {"stream": False, "detail": False},
    "object-detail": {"stream": False, "detail": True},
    "stream": {"stream": True, "detail": False},
    "stream-detail": {"stream": True, "detail": True},
}

TIMEOUT_S = 0.5


def slowly(*pieces: str) -> Reply:
    """An answer with a pause before each piece that is not yet a silence to give up at."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for piece in pieces:
            time.sleep(TIMEOUT_S / 2)
            handler.send_delta(body["model"], {"content": piece})
        handler.send_delta(body["model"], {}, "stop")
        handler.send_event("[DONE]")
        handler.end_events()

    return reply


def half_a_chunk(*pieces: str) -> Reply:
    """The connection closes in the middle of a line of JSON."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for piece in pieces:
            handler.send_delta(body["model"], {"content": piece})
        half = b'data: {"id":"1","choices":[{"delta":{"con'
        handler.wfile.write(f"{len(half):x}\r\n".encode() + half + b"\r\n0\r\n\r\n")

    return reply


@pytest.fixture
def hasty(sampled: Library, backend: OpenAIServer) -> Iterator[Api]:
    """The application with a scripted backend that may not be silent for long."""
    with opened(sampled, EndpointCompletion("scripted-model", backend.url, BACKEND_KEY, TIMEOUT_S)) as api:
        yield api


@pytest.fixture
def chatter(hasty: Api) -> Chatter:
    return new_chatter(hasty)


def ask(chatter: Chatter, shape: str, question: str = QUESTION) -> tuple[str, dict[str, Any] | None]:
    """What was answered, and the error, if there was one."""
    response = chatter.send(question, chatId="c", responseChatItemId="i", **SHAPES[shape])
    if not SHAPES[shape]["stream"]:
        if response.status_code == 200:
            return response.json()["choices"][0]["message"]["content"], None
        return "", dict(error_of(response), status=response.status_code)
    assert response.status_code == 200
    events = events_of(response.text)
    errors = [event.json for event in events if "error" in event.data and event.data.startswith('{"')]
    errors = [error.get("error") for error in errors if error.get("error")]
    if not errors:
        assert "[DONE]" in [event.data for event in events]
    return said([event for event in events if event.name != "error"]), errors[0] if errors else None


def stored(api: Api) -> list[tuple[str, bool]]:
    """(answer, whether it is complete) of each turn."""
    documents = api.service.library.store.list_documents("turn")
    return [(document.body["answer"], document.body["complete"]) for document in documents]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([slowly("one ", "two")], id="slow"),
        pytest.param([refusal(500, retry_after_ms=1), answer("one ", "two")], id="500, then works"),
        pytest.param([refusal(429, retry_after_ms=10), answer("one ", "two")], id="429, then works"),
        pytest.param([refusal(503, retry_after_ms=1)] * 2 + [answer("one ", "two")], id="503 twice"),
    ],
)
def test_a_backend_that_answers_in_the_end(
    hasty: Api, chatter: Chatter, backend: OpenAIServer, replies: list[Reply], shape: str
) -> None:
    backend.script(*replies)

    assert ask(chatter, shape) == ("one two", None)
    assert stored(hasty) == [("one two", True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("reply", "says"),
    [
        pytest.param(
            lambda _: half_a_chunk("half ", "an"), "before the answer was complete", id="half a chunk"
        ),
        pytest.param(lambda _: then_event("{oops", "half ", "an"), "not OpenAI's", id="invalid JSON"),
        pytest.param(lambda _: cut_off("half ", "an"), "broke off", id="closes in the middle"),
        pytest.param(lambda _: unfinished("half ", "an"), "before the answer was complete", id="no end"),
        pytest.param(lambda over: stalled("half ", "an", until=over), "broke off", id="falls silent"),
        pytest.param(
            lambda _: then_event('{"error":{"message":"overloaded"}}', "half ", "an"),
            "overloaded",
            id="error",
        ),
    ],
)
def test_a_backend_that_breaks_off_within_an_answer(
    hasty: Api,
    chatter: Chatter,
    backend: OpenAIServer,
    reply: Callable[[threading.Event], Reply],
    says: str,
    shape: str,
) -> None:
    over = threading.Event()
    backend.script(reply(over))

    answered, error = ask(chatter, shape)

    over.set()
    assert error
    assert (error["code"], error["type"]) == ("completion_failed", "server_error")
    assert says in error["message"]
    assert BACKEND_KEY not in error["message"]
    assert answered == ("half an" if SHAPES[shape]["stream"] else "")
    assert stored(hasty) == [("half an", False)]
    assert len(backend.requests) == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("replies", "says", "requests"),
    [
        pytest.param(lambda _: [refusal(401, "no such key")], "answered 401: .*no such key", 1, id="401"),
        pytest.param(lambda _: [refusal(400, "too long")], "answered 400: .*too long", 1, id="400"),
        pytest.param(lambda _: [refusal(429, retry_after_ms=1)] * 3, "answered 429", 3, id="429 for ever"),
        pytest.param(lambda _: [refusal(500, retry_after_ms=1)] * 3, "answered 500", 3, id="500 for ever"),
        pytest.param(
            lambda over: [stalled(until=over)] * 3, "cannot be reached or broke off", 1, id="silent"
        ),
    ],
)
def test_a_backend_that_says_nothing_but_no(
    hasty: Api,
    chatter: Chatter,
    backend: OpenAIServer,
    replies: Callable[[threading.Event], list[Reply]],
    says: str,
    requests: int,
    shape: str,
) -> None:
    over = threading.Event()
    backend.script(*replies(over))
    started = time.perf_counter()

    answered, error = ask(chatter, shape)

    over.set()
    assert time.perf_counter() - started < 20 * TIMEOUT_S
    assert answered == ""
    assert error
    assert error["code"] == "completion_failed"
    assert error.get("status", 502) == 502
    assert re.search(says, error["message"])
    assert len(backend.requests) == requests
    assert stored(hasty) == []


def test_after_a_failure_the_chat_goes_on(hasty: Api, chatter: Chatter, backend: OpenAIServer) -> None:
    backend.script(cut_off("half"), refusal(401), answer("whole"))
    for question in ("first", "second"):
        chatter.send(question, chatId="c")

    assert chatter.answer("third", chatId="c") == "whole"

    said_before = [message["content"] for message in backend.requests[-1].body["messages"][-3:]]
    assert said_before == ["first", "half", "third"]


# A server, from which clients go away


@pytest.fixture(scope="module")
def answers() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture(scope="module")
def chat_server(
    answers: OpenAIServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    """A server, and an app key."""
    data_dir = tmp_path_factory.mktemp("faults") / "data"
    with openai_server() as embeddings:
        settings = {
            "EMBEDDING_BASE_URL": embeddings.url,
            "EMBEDDING_MODEL": "scripted",
            "COMPLETION_BASE_URL": answers.url,
            "COMPLETION_MODEL": "scripted",
        }
        with serving(data_dir, **settings) as server:
            assert (
                run("ingest", DATA / "suzume.csv", "--dataset", "suzume", data_dir=data_dir, **settings).code
                == 0
            )
            assert run("apps", "create", "film", "--dataset", "suzume", data_dir=data_dir).code == 0
            yield server, run("keys", "create", "--app", "film", data_dir=data_dir).out.strip()


def silent_until_left(hung_up: threading.Event, asked: threading.Event, *pieces: str) -> Reply:
    """These pieces, then nothing; sets ``hung_up`` as soon as whoever asked closes the connection."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for piece in pieces:
            handler.send_delta(body["model"], {"content": piece})
        asked.set()
        handler.connection.settimeout(WAIT_S)
        if handler.connection.recv(1) == b"":
            hung_up.set()
        handler.close_connection = True

    return reply


@pytest.mark.parametrize("pieces", [(), ("well, ",)], ids=["before a word", "within the answer"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_client_that_goes_away_ends_the_call_of_a_silent_backend(
    chat_server: tuple[Server, str], answers: OpenAIServer, shape: str, pieces: tuple[str, ...]
) -> None:
    server, key = chat_server
    question, hung_up, asked = f"{shape} {len(pieces)}", threading.Event(), threading.Event()
    answers.script(silent_until_left(hung_up, asked, *pieces))
    body = {"messages": [{"role": "user", "content": question}], "chatId": question, **SHAPES[shape]}

    left = _leave_when_asked(server.url, body, key, asked)

    assert hung_up.wait(WAIT_S)
    assert time.perf_counter() - left < 1
    if pieces:
        assert _until_stored(server, question) == ("well, ", False)
    else:
        time.sleep(0.2)
        assert turns(server, question) == []


def _leave_when_asked(url: str, body: dict[str, Any], key: str, asked: threading.Event) -> float:
    """Send a request and close the connection when the backend was asked; when that was."""
    address = urlsplit(url)
    content = json.dumps(body).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + content)
        assert asked.wait(WAIT_S)
        # What it has said so far has to get through.
        time.sleep(0.3)
    return time.perf_counter()


def _until_stored(server: Server, question: str) -> tuple[str, bool]:
    deadline = time.monotonic() + WAIT_S
    while not (found := turns(server, question)):
        assert time.monotonic() < deadline, "no turn was stored"
        time.sleep(0.02)
    (turn,) = found
    return turn["answer"], turn["complete"]


def test_a_client_that_goes_away_from_a_talkative_backend(
    chat_server: tuple[Server, str], answers: OpenAIServer
) -> None:
    server, key = chat_server
    hung_up, asked = threading.Event(), threading.Event()
    talking = endless("on and ", hung_up)

    def talk(handler: Handler, body: Any) -> None:
        asked.set()
        talking(handler, body)

    answers.script(talk)
    body = {"messages": [{"role": "user", "content": "talk"}], "chatId": "talk", "stream": True}
    left = _leave_when_asked(server.url, body, key, asked)

    assert hung_up.wait(WAIT_S)
    assert time.perf_counter() - left < 1
    answered, is_complete = _until_stored(server, "talk")
    assert answered.startswith("on and on and ")
    assert not is_complete


def test_fifty_turns_of_one_chat_at_once(chat_server: tuple[Server, str], answers: OpenAIServer) -> None:
    server, key = chat_server
    answers.script_anew()

    def turn(number: int) -> Any:
        body = {
            "messages": [{"role": "user", "content": f"question {number}"}],
            "chatId": "busy",
            "responseChatItemId": f"item {number}",
            "stream": number % 2 == 0,
        }
        return httpx2.post(server.url + CHAT, json=body, headers=bearer(key), timeout=60)

    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(turn, range(50)))

    assert [reply.status_code for reply in replies] == [200] * 50
    for number, reply in enumerate(replies):
        text = (
            said(events_of(reply.text))
            if number % 2 == 0
            else reply.json()["choices"][0]["message"]["content"]
        )
        assert text == "ok"
    page = {"chatId": "busy", "offset": 0, "pageSize": 200}
    records = httpx2.post(
        f"{server.url}/api/core/chat/getPaginationRecords", json=page, headers=bearer(key)
    ).json()["data"]
    assert records["total"] == 100
    items = [item["dataId"] for item in records["list"]]
    assert sorted(items) == sorted(f"item {n}{half}" for n in range(50) for half in ("", ":question"))
    # A question and its answer stand together, whatever came between.
    assert all(asked == f"{said_}:question" for asked, said_ in zip(items[::2], items[1::2], strict=True))
