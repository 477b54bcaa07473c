"""What readers of server-sent events make of a stream with details, and all clients of a long silence."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from api.chat.streaming import HEARTBEAT, HEARTBEAT_S
from tests.api.clients.asking import Asking
from tests.api.clients.conftest import NODE, PYTHON, Named
from tests.api.clients.in_python import read_events
from tests.api.test_server import ANSWER, QUESTION
from tests.api.wire import CHAT, Event, bearer, said
from tests.openai_server import OpenAIServer, answer, cut_off, tool_calls

ASKED = {"role": "user", "content": QUESTION}
BODY = {"messages": [ASKED], "stream": True, "detail": True}

READERS = {"Python": "httpx-sse", "JavaScript": "eventsource-parser"}

SILENCE_S = HEARTBEAT_S + 0.5

Read = Callable[[Asking], list[Event]]


@pytest.fixture(params=READERS.values())
def read(request: pytest.FixtureRequest) -> Read:
    """The events of a question."""
    return reader(request.param, request)


def reader(name: str, request: pytest.FixtureRequest) -> Read:
    if name == "httpx-sse":
        return lambda asking: [Event(*event) for event in read_events(asking, BODY)]
    node = request.getfixturevalue("nodes")["events"]
    return lambda asking: [Event(*event) for event in node.request(asking, body=BODY)]


@pytest.mark.parametrize("is_backed", [True, False], ids=["backend", "extractive"])
def test_a_stream_with_details(
    read: Read, asking: Asking, quoting: Asking, backend: OpenAIServer, is_backed: bool
) -> None:
    backend.script(answer("剧本由", "新海诚", "撰写。"))

    events = read(asking if is_backed else quoting)

    pieces = ["剧本由", "新海诚", "撰写。"] if is_backed else [ANSWER]
    assert [event.name for event in events] == [
        *("flowNodeStatus", "flowNodeStatus"),
        *["answer"] * (len(pieces) + 2),
        "flowResponses",
    ]
    assert said(events) == "".join(pieces)
    assert events[-2].data == "[DONE]"
    search, chat = events[-1].json
    assert search["searchMode"] == "embedding"
    assert chat["quoteList"][0]["a"] == ANSWER


def test_a_tool_call_with_details(read: Read, asking: Asking, backend: OpenAIServer) -> None:
    call = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    backend.script(tool_calls(call))

    events = [event for event in read(asking) if event.name == "toolCall"]

    assert [event.json["choices"][0]["delta"]["tool_calls"] for event in events] == [[call]]


def test_a_failure_with_details(read: Read, asking: Asking, backend: OpenAIServer) -> None:
    backend.script(cut_off("half"), answer("whole"))

    *events, last = read(asking)

    assert said(events) == "half"
    assert (last.name, last.json["statusText"]) == ("error", "completion_failed")
    assert said(read(asking)) == "whole"


@pytest.mark.slow
@pytest.mark.parametrize("language", READERS)
def test_a_long_silence_disturbs_no_client(
    request: pytest.FixtureRequest, named: Named, asking: Asking, backend: OpenAIServer, language: str
) -> None:
    clients = [named(name) for name in (PYTHON if language == "Python" else NODE)]
    read = reader(READERS[language], request)
    # All at the same time, and beside them one that looks at what really comes.
    streams = len(clients) + 2
    backend.script(*[answer("after all", pause_s=SILENCE_S, usage=(281, 22))] * streams)
    with ThreadPoolExecutor(streams) as pool:
        replies = [pool.submit(client.ask, asking, [ASKED], stream=True) for client in clients]
        events = pool.submit(read, asking)
        headers = bearer(asking.key)
        raw = pool.submit(
            httpx2.post, asking.server.url + CHAT, json=BODY, headers=headers, timeout=2 * SILENCE_S
        )

    assert HEARTBEAT.decode() in raw.result().text
    assert [reply.result().text for reply in replies] == ["after all"] * len(clients)
    assert [reply.result().usage for reply in replies] == [(281, 22)] * len(clients)
    assert said(events.result()) == "after all"
    assert json.loads(events.result()[-1].data)
