"""Texts to q/a pairs: how a model is asked, over a real connection to a scripted one."""

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ingest.qa_replies import QaPair
from ingest.qa_split import (
    FIRST_PAUSE_S,
    LOOK_AHEAD,
    MAX_REPLY_CHARS,
    FailedChunk,
    SplitChunk,
    split_into_pairs,
)
from retrieval.completion.endpoint import EndpointCompletion
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.errors import InvalidRequest
from tests.openai_server import Handler, OpenAIServer, Reply, answer, endless, openai_server, refusal


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as running:
        yield running


@pytest.fixture
def endpoint(server: OpenAIServer) -> EndpointCompletion:
    return EndpointCompletion("scripted", server.url, None, timeout_s=10)


def text_in(body: Any) -> str:
    """The text of a request, without its marks."""
    lines = body["messages"][-1]["content"].split("\n")
    assert lines[0] == lines[-1]
    return "\n".join(lines[1:-1])


def echo(handler: Handler, body: Any) -> None:
    """A pair that says which text it is about."""
    answer(f"Q1: {text_in(body)}?\nA1: {text_in(body)}!")(handler, body)


def echoed(position: int, text: str) -> SplitChunk:
    return SplitChunk(position, (QaPair(f"{text}?", f"{text}!"),))


def test_pairs_come_in_the_order_of_the_texts(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    texts = [f"text {number}" for number in range(12)]

    def slow_at_first(handler: Handler, body: Any) -> None:
        time.sleep(0.2)
        echo(handler, body)

    server.script(slow_at_first, *[echo] * 11)

    assert list(split_into_pairs(texts, endpoint)) == [echoed(*item) for item in enumerate(texts)]
    assert sorted(text_in(request.body) for request in server.requests) == sorted(texts)


def test_no_texts_no_requests(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    assert list(split_into_pairs([], endpoint)) == []
    assert server.requests == []


def test_an_answer_in_pieces(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    server.script(answer("Q", "1: a\nA", "1", ": b"))
    assert list(split_into_pairs(["x"], endpoint)) == [SplitChunk(0, (QaPair("a", "b"),))]


def told(server: OpenAIServer) -> tuple[str, str]:
    """What the last request's two messages say."""
    system, user = server.requests[-1].body["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    return system["content"], user["content"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lamp is made of brass.", "language of the text"),
        ("这盏灯是黄铜做的，适用 E14 灯泡。", "使用文本的语言"),
        ("The lamp (灯) is made of brass, and an E14 bulb fits.", "language of the text"),
    ],
)
def test_what_the_model_is_told(
    endpoint: EndpointCompletion, server: OpenAIServer, text: str, expected: str
) -> None:
    server.script(echo)
    assert list(split_into_pairs([text], endpoint)) == [echoed(0, text)]
    system, user = told(server)
    mark = user.split("\n")[0]
    assert re.fullmatch(r"====== [0-9a-f]{8} ======", mark)
    assert user == f"{mark}\n{text}\n{mark}"
    assert expected in system
    assert mark in system
    assert "Q1: " in system
    assert "A1: " in system


def test_the_marks_of_a_text_are_not_those_of_another(
    endpoint: EndpointCompletion, server: OpenAIServer
) -> None:
    server.script(echo, echo)
    list(split_into_pairs(["x", "x"], endpoint))
    first, second = (request.body["messages"][-1]["content"] for request in server.requests)
    assert first != second


@pytest.mark.parametrize(
    ("text", "form"), [("The lamp.", "Write nothing but the pairs"), ("一盏灯。", "只输出带编号的问答对")]
)
def test_a_prompt_takes_the_place_of_the_instructions_alone(
    endpoint: EndpointCompletion, server: OpenAIServer, text: str, form: str
) -> None:
    server.script(echo)
    list(split_into_pairs([text], endpoint, prompt="Ask like a {child}."))
    system, user = told(server)
    assert system.startswith("Ask like a {child}.\n\n" + form)
    assert user.split("\n")[0] in system
    assert "knowledge base" not in system
    assert "知识库" not in system


# Failures


def split(endpoint: EndpointCompletion, *texts: str, attempts: int = 3) -> tuple[list[object], list[float]]:
    """The results and the pauses, one text after another."""
    pauses: list[float] = []
    results = split_into_pairs(texts, endpoint, concurrency=1, attempts=attempts, pause=pauses.append)
    return list(results), pauses


def refused(times: int) -> list[Reply]:
    """The client tries again by itself what can be mended by that, but not this."""
    return [refusal(400)] * times


def test_pauses_double(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    server.script(*refused(4), echo)
    assert split(endpoint, "x", attempts=5) == ([echoed(0, "x")], [FIRST_PAUSE_S * 2**n for n in range(4)])
    assert len(server.requests) == 5


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_a_text_that_fails_does_not_keep_others(
    endpoint: EndpointCompletion, server: OpenAIServer, attempts: int
) -> None:
    server.script(echo, *refused(attempts), echo)
    (first, failed, last), pauses = split(endpoint, "x", "y", "z", attempts=attempts)
    assert (first, last) == (echoed(0, "x"), echoed(2, "z"))
    assert isinstance(failed, FailedChunk)
    assert failed.position == 1
    assert failed.reason.startswith("the completion backend failed: ")
    assert len(pauses) == attempts - 1
    assert [text_in(request.body) for request in server.requests] == ["x", *["y"] * attempts, "z"]


def test_a_reply_without_a_pair_is_asked_for_once_more(
    endpoint: EndpointCompletion, server: OpenAIServer
) -> None:
    server.script(answer("I cannot."), echo)
    assert split(endpoint, "x") == ([echoed(0, "x")], [])


def test_two_replies_without_a_pair_are_enough(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    server.script(answer("I cannot."), answer("I can  not,\nreally"), echo)
    reason = "the model's reply has no pair Q1: … A1: …, but begins with 'I can not, really'"
    assert split(endpoint, "x", attempts=9) == ([FailedChunk(0, reason)], [])
    assert len(server.requests) == 2


def test_a_reply_without_a_pair_is_an_attempt(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    server.script(*refused(1), answer(""), echo)
    reason = "the model's reply has no pair Q1: … A1: …, but is empty"
    assert split(endpoint, "x", attempts=2) == ([FailedChunk(0, reason)], [FIRST_PAUSE_S])
    assert len(server.requests) == 2


def test_a_model_that_does_not_stop(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    hung_up = threading.Event()
    server.script(endless("Q1: x\nA1: y\n" * (MAX_REPLY_CHARS // 60), hung_up))
    (failed,), _ = split(endpoint, "x", attempts=1)
    assert isinstance(failed, FailedChunk)
    assert failed.reason.startswith(f"the model's reply was not over after {MAX_REPLY_CHARS} characters: ")
    assert hung_up.wait(timeout=5)


def test_the_backend_that_quotes_cannot_write_pairs() -> None:
    with pytest.raises(InvalidRequest, match="QUOTEBASE_COMPLETION_BASE_URL"):
        split_into_pairs(["x"], ExtractiveCompletion())


# Concurrency


@pytest.mark.parametrize("concurrency", [1, 3])
def test_as_many_at_a_time_as_asked_for_and_no_more_texts_than_needed(
    endpoint: EndpointCompletion, server: OpenAIServer, concurrency: int
) -> None:
    together = threading.Barrier(concurrency)
    lock = threading.Lock()
    under_way = most = 0

    def counted(handler: Handler, body: Any) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait(timeout=10)
        with lock:
            under_way -= 1
        echo(handler, body)

    server.script(*[counted] * 12)
    texts = iter([f"text {number}" for number in range(13)])
    results = split_into_pairs(texts, endpoint, concurrency=concurrency)

    assert next(results) == echoed(0, "text 0")
    assert next(texts) == f"text {LOOK_AHEAD * concurrency}"
    assert len(list(results)) == 11
    assert most == concurrency


def test_nothing_is_asked_before_the_first_result_is_wanted(
    endpoint: EndpointCompletion, server: OpenAIServer
) -> None:
    results = split_into_pairs(["x"], endpoint)
    results.close()
    assert server.requests == []


def test_closing_ends_pauses_replies_and_what_waits(
    endpoint: EndpointCompletion, server: OpenAIServer
) -> None:
    hung_up = threading.Event()
    are_pausing = threading.Event()

    def refuse(handler: Handler, body: Any) -> None:
        refusal(400)(handler, body)
        # The third pause of each of three texts takes 2 s.
        if len(server.requests) == 2 + 3 * 3:
            are_pausing.set()

    def by_text(handler: Handler, body: Any) -> None:
        {"0": echo, "1": endless("on ", hung_up)}.get(text_in(body), refuse)(handler, body)

    server.script(*[by_text] * 100)
    results = split_into_pairs(map(str, range(100)), endpoint, concurrency=4, attempts=100)
    assert next(results) == echoed(0, "0")
    assert are_pausing.wait(timeout=10)
    time.sleep(0.2)

    started = time.monotonic()
    results.close()

    assert hung_up.wait(timeout=5)
    for thread in threading.enumerate():
        if thread.name.startswith("qa-split"):
            thread.join(timeout=5)
    assert time.monotonic() - started < 1
    assert len(server.requests) == 2 + 3 * 3


def test_texts_that_break_off(endpoint: EndpointCompletion, server: OpenAIServer) -> None:
    def texts() -> Iterator[str]:
        yield "x"
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        list(split_into_pairs(texts(), endpoint))
