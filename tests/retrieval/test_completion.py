"""Both completion backends; the endpoint over a real connection to a server that does as it is told."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from retrieval.completion import (
    Completion,
    CompletionChoice,
    Finish,
    Message,
    Piece,
    Prompt,
    TextDelta,
    ToolDelta,
    Usage,
    open_completion,
)
from retrieval.completion.endpoint import EndpointCompletion
from retrieval.completion.extractive import NOTHING_FOUND, ExtractiveCompletion
from retrieval.errors import CompletionFailed
from retrieval.types import Quote, Record, Score
from tests.openai_server import (
    OpenAIServer,
    Reply,
    answer,
    closed_port,
    cut_off,
    endless,
    openai_server,
    refusal,
    stalled,
    text,
    then_event,
    tool_calls,
    unfinished,
)

KEY = "sk-0123456789abcdef"

PROMPT = Prompt((Message("system", "be brief"), Message("user", "who?")))


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as running:
        yield running


@pytest.fixture
def endpoint(server: OpenAIServer) -> EndpointCompletion:
    return EndpointCompletion("scripted", server.url, KEY, timeout_s=10)


async def _read(completion: Completion, prompt: Prompt, pieces: list[Piece]) -> None:
    try:
        async for piece in completion.stream(prompt):
            pieces.append(piece)
    finally:
        await completion.aclose()


def read(completion: Completion, prompt: Prompt = PROMPT) -> list[Piece]:
    """All pieces of an answer."""
    pieces: list[Piece] = []
    asyncio.run(_read(completion, prompt, pieces))
    return pieces


STOP = Finish("stop", "scripted")


def failure(
    endpoint: EndpointCompletion, server: OpenAIServer, *replies: Reply, after: tuple[str, ...] = ()
) -> str:
    """What is said when these replies come, after the pieces that come before."""
    server.script(*replies)
    pieces: list[Piece] = []
    with pytest.raises(CompletionFailed) as caught:
        asyncio.run(_read(endpoint, PROMPT, pieces))
    assert pieces == [TextDelta(piece) for piece in after]
    assert KEY not in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


# The endpoint


def test_pieces_come_as_they_are_and_then_the_usage(
    endpoint: EndpointCompletion, server: OpenAIServer
) -> None:
    server.script(answer("新海诚", " and\n", "more", usage=(12, 3)))

    assert read(endpoint) == [
        *(TextDelta("新海诚"), TextDelta(" and\n"), TextDelta("more"), STOP, Usage(12, 3))
    ]


def test_pieces_come_when_they_come(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    server.script(endless("on and ", threading.Event()))

    async def read_some() -> list[Piece]:
        async with aclosing(endpoint.stream(PROMPT)) as pieces:
            return [await anext(pieces) for _ in range(3)]

    assert asyncio.run(read_some()) == [TextDelta("on and ")] * 3


def test_empty_pieces_are_left_out(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    server.script(answer("", "a", ""))

    assert read(endpoint) == [TextDelta("a"), STOP]


def test_no_usage_where_the_server_gives_none(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    server.script(answer("a"))

    assert read(endpoint) == [TextDelta("a"), STOP]


def test_what_is_sent(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    read(endpoint)

    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "scripted",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "who?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_choices_of_the_prompt_are_sent(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    message = Message("tool", "sunny", {"tool_call_id": "call-1"})

    read(endpoint, Prompt((message,), (), "other", 0.0, 1, {"tools": tools}))

    body = server.requests[-1].body
    assert body["messages"] == [{"role": "tool", "content": "sunny", "tool_call_id": "call-1"}]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("other", 0.0, 1)
    assert body["tools"] == tools


def test_tool_calls_come_piece_by_piece_in_openais_form(
    endpoint: EndpointCompletion, server: OpenAIServer
) -> None:
    calls = [
        {"index": 0, "id": "1", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": "{}"}},
    ]
    server.script(tool_calls(*calls, usage=(5, 6)))

    assert read(endpoint) == [
        *(ToolDelta(call) for call in calls),
        Finish("tool_calls", "scripted"),
        Usage(5, 6),
    ]


def test_closing_the_iterator_ends_the_call(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    hung_up = threading.Event()
    server.script(endless("on and ", hung_up))

    async def read_one() -> bool:
        pieces = endpoint.stream(PROMPT)
        await anext(pieces)
        await pieces.aclose()
        return await asyncio.to_thread(hung_up.wait, 5)

    assert asyncio.run(read_one())


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_sent_again(
    endpoint: EndpointCompletion, server: OpenAIServer, status: int
) -> None:
    server.script(refusal(status, retry_after_ms=1), answer("a"))

    assert read(endpoint) == [TextDelta("a"), STOP]
    assert len(server.requests) == 2


def test_retry_after_is_honoured(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    server.script(refusal(429, retry_after_s=1), answer("a"))
    started = time.perf_counter()

    assert read(endpoint) == [TextDelta("a"), STOP]

    # Without being asked it waits half a second at most.
    assert time.perf_counter() - started >= 1.0


def test_failure_before_the_first_piece_names_the_settings(
    endpoint: EndpointCompletion, server: OpenAIServer
) -> None:
    said = failure(endpoint, server, refusal(401, f"Incorrect API key provided: {KEY}"))

    assert said.startswith(f"the completion backend failed: {server.url} answered 401: ")
    assert "Incorrect API key provided: <the key>" in said
    assert "QUOTEBASE_COMPLETION_BASE_URL" in said
    assert "QUOTEBASE_COMPLETION_API_KEY" in said
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param(cut_off("a", "b"), "broke off", id="connection closed"),
        pytest.param(unfinished("a", "b"), "before the answer was complete", id="no finish_reason"),
        pytest.param(then_event('{"error":{"message":"overloaded"}}', "a", "b"), "overloaded", id="error"),
        pytest.param(then_event("{oops", "a", "b"), "not OpenAI's", id="broken JSON"),
        pytest.param(then_event("[]", "a", "b"), "not OpenAI's", id="a list"),
        pytest.param(then_event('{"choices":null}', "a", "b"), "before the answer was complete", id="null"),
        pytest.param(
            then_event('{"choices":[{"index":0,"delta":null}]}', "a", "b"),
            "before the answer was complete",
            id="null delta",
        ),
    ],
)
def test_failures_between_two_pieces(
    endpoint: EndpointCompletion, server: OpenAIServer, reply: Reply, said: str
) -> None:
    assert said in failure(endpoint, server, reply, after=("a", "b"))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(text("<html>hello</html>", "text/html"), id="a web page"),
        pytest.param(text('{"choices":[{"index":0,"message":{"content":"hi"}}]}'), id="not streamed"),
        pytest.param(text(""), id="nothing"),
    ],
)
def test_replies_that_are_no_stream(endpoint: EndpointCompletion, server: OpenAIServer, reply: Reply) -> None:
    assert "before the answer was complete" in failure(endpoint, server, reply)


def test_a_port_where_nobody_is_is_named() -> None:
    with closed_port() as port:
        nobody = EndpointCompletion("scripted", f"http://127.0.0.1:{port}/v1", KEY, timeout_s=10)
        with pytest.raises(
            CompletionFailed, match=f":{port}/v1 cannot be reached or broke off: .*(refused|failed)"
        ):
            read(nobody)


def test_a_server_that_falls_silent_is_given_up_after_the_timeout(server: OpenAIServer) -> None:
    over = threading.Event()
    endpoint = EndpointCompletion("scripted", server.url, KEY, timeout_s=0.2)
    started = time.perf_counter()

    said = failure(endpoint, server, stalled("a", until=over), after=("a",))

    over.set()
    assert 0.2 <= time.perf_counter() - started < 5
    assert f"{server.url} cannot be reached or broke off" in said


def test_the_choice_decides_the_backend(server: OpenAIServer) -> None:
    chosen = open_completion(CompletionChoice("other", server.url, KEY, 5))

    assert (chosen.model, read(chosen)) == ("other", [TextDelta("ok"), Finish("stop", "other")])
    assert server.requests[-1].body["model"] == "other"
    assert open_completion(CompletionChoice()).model == "extractive"


# The extractive backend

QUOTED = Finish("stop", "extractive")


def quote(q: str, a: str) -> Quote:
    record = Record("1" * 24, "2" * 24, "3" * 24, q, a, 0, 5, datetime.now(UTC))
    return Quote(record, "a.csv", (Score("embedding", 0.9, 0),), passage_id=1)


def test_extractive_says_the_answer_of_the_best_quote() -> None:
    prompt = Prompt(PROMPT.messages, (quote("q 1", "a 1\nmore"), quote("q 2", "a 2")))

    assert read(ExtractiveCompletion(), prompt) == [TextDelta("a 1\nmore"), QUOTED]


def test_extractive_says_the_text_of_a_quote_without_an_answer() -> None:
    prompt = Prompt(PROMPT.messages, (quote("q 1", ""), quote("q 2", "a 2")))

    assert read(ExtractiveCompletion(), prompt) == [TextDelta("q 1"), QUOTED]


def test_extractive_says_that_there_is_nothing() -> None:
    assert read(ExtractiveCompletion(), PROMPT) == [TextDelta(NOTHING_FOUND), QUOTED]
