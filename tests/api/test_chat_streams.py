"""What comes through from the backend, and what goes out while it thinks."""

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message as AsgiMessage

from api.chat.streaming import HEARTBEAT, EventStreamResponse
from retrieval.completion.endpoint import EndpointCompletion
from retrieval.library import Library
from tests.api.conftest import opened
from tests.api.wire import Api, Chatter, Event, events_of, new_chatter
from tests.doubles import HashEmbedder
from tests.openai_server import Handler, OpenAIServer, Reply, answer, tool_calls

QUESTION = "文字脚本的作者"

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]

CALL = [
    {"index": 0, "id": "call-1", "type": "function", "function": {"name": "weather", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"city": '}},
    {
        "index": 1,
        "id": "call-2",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "B"}'},
    },
    {"index": 0, "function": {"arguments": '"A"}'}},
]

WHOLE_CALLS = [
    {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "A"}'}},
    {"id": "call-2", "type": "function", "function": {"name": "weather", "arguments": '{"city": "B"}'}},
]


def deltas(*given: Mapping[str, Any], finish: str = "stop") -> Reply:
    """Chunks with these deltas, and a reason to finish."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for delta in given:
            handler.send_delta(body["model"], delta)
        handler.send_delta(body["model"], {}, finish)
        handler.send_event("[DONE]")
        handler.end_events()

    return reply


def chunks_of(text: str) -> list[dict[str, Any]]:
    events = [event for event in events_of(text) if event.name not in ("flowNodeStatus", "flowResponses")]
    return [event.json for event in events if event.data != "[DONE]"]


# Reasons to finish, thoughts, tool calls


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
@pytest.mark.parametrize("detail", [False, True])
def test_the_reason_to_finish_is_the_backends(
    backed_chatter: Chatter, backend: OpenAIServer, reason: str, detail: bool
) -> None:
    backend.script(deltas({"content": "well"}, finish=reason), deltas({"content": "well"}, finish=reason))

    whole = backed_chatter.send(QUESTION, detail=detail).json()
    streamed = chunks_of(backed_chatter.send(QUESTION, stream=True, detail=detail).text)

    assert whole["choices"][0]["finish_reason"] == reason
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in streamed]
    assert reasons == [None] * (len(reasons) - 1) + [reason]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thoughts_are_told_apart_from_the_answer(
    backed_chatter: Chatter, backend: OpenAIServer, name: str
) -> None:
    reply = deltas({name: "let me "}, {name: "see"}, {"content": "42"})
    backend.script(reply, reply)

    message = backed_chatter.send(QUESTION, chatId="c").json()["choices"][0]["message"]
    streamed = chunks_of(backed_chatter.send(QUESTION, stream=True).text)

    assert message == {"role": "assistant", "content": "42", "reasoning_content": "let me see"}
    parts = [chunk["choices"][0]["delta"] for chunk in streamed]
    assert "".join(part.get("reasoning_content", "") for part in parts) == "let me see"
    assert "".join(part.get("content", "") for part in parts) == "42"
    assert backed_chatter.answer("again", chatId="c") == "ok"
    # What it thought is not told it again.
    assert backend.requests[-1].body["messages"][-2] == {"role": "assistant", "content": "42"}


def test_tool_calls_are_put_together(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    backend.script(tool_calls(*CALL))

    choice = backed_chatter.send(QUESTION, tools=TOOLS).json()["choices"][0]

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {"role": "assistant", "content": None, "tool_calls": WHOLE_CALLS}


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_chat_goes_on_with_the_tools_result(
    backed_chatter: Chatter, backend: OpenAIServer, stream: bool
) -> None:
    backend.script(tool_calls(*CALL), answer("sunny there"))
    backed_chatter.send(QUESTION, tools=TOOLS, chatId="c", stream=stream)
    result = {"role": "tool", "tool_call_id": "call-1", "content": "sunny"}

    backed_chatter.send("", messages=[result], tools=TOOLS, chatId="c", stream=stream)
    backed_chatter.send("thanks", chatId="c")

    first, second, third = (request.body["messages"] for request in backend.asked("chat/completions"))
    asked = {"role": "user", "content": QUESTION}
    called = {"role": "assistant", "content": "", "tool_calls": WHOLE_CALLS}
    assert first[-1] == asked
    assert second[-3:] == [asked, called, result]
    assert third[-5:] == [
        *(asked, called, result),
        {"role": "assistant", "content": "sunny there"},
        {"role": "user", "content": "thanks"},
    ]
    # What is searched for after a tool has answered is still what the user asked.
    assert second[0]["content"] == first[0]["content"]


# Usage and citations


def test_usage_is_a_last_chunk_where_it_is_asked_for(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    reply = answer("well", usage=(12, 3))
    backend.script(reply, reply)
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}

    asked = events_of(backed_chatter.send(QUESTION, stream=True, stream_options={"include_usage": True}).text)
    not_asked = events_of(backed_chatter.send(QUESTION, stream=True).text)

    *_, finish, last, done = asked
    assert finish.json["choices"][0]["finish_reason"] == "stop"
    assert (last.json["choices"], last.json["usage"]) == ([], usage)
    assert done == Event(None, "[DONE]")
    assert not any("usage" in event.data for event in not_asked)


@pytest.mark.parametrize("counted", [True, False])
def test_usage_that_is_estimated_says_so(
    backed_chatter: Chatter, backend: OpenAIServer, counted: bool
) -> None:
    backend.script(answer("well", usage=(12, 3) if counted else None))

    usage = backed_chatter.send(QUESTION).json()["usage"]

    assert usage.get("estimated", False) is not counted
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


@pytest.mark.parametrize("by_app", [False, True])
@pytest.mark.parametrize("detail", [False, True])
def test_citations_go_with_the_answer(backed: Api, backend: OpenAIServer, by_app: bool, detail: bool) -> None:
    marked = "as they say [1](CITE), [2](CITE)"
    backend.script(answer(marked), answer(marked))
    chatter = new_chatter(backed, citations=by_app)
    wanted = {"detail": detail, **({} if by_app else {"citations": True})}

    whole = chatter.send(QUESTION, **wanted).json()
    streamed = chunks_of(chatter.send(QUESTION, stream=True, **wanted).text)

    message = whole["choices"][0]["message"]
    assert message["content"] == marked
    assert streamed[-1]["choices"][0]["delta"]["citations"] == message["citations"]
    assert all("citations" not in chunk["choices"][0]["delta"] for chunk in streamed[:-1])
    first = message["citations"][0]
    assert (first["q"], first["source"]) == ("剧本出自何人之手？", "suzume.csv")
    assert 0 < first["score"] <= 1
    assert len(first["id"]) == len(first["collectionId"]) == 24


def test_without_being_asked_for_there_are_none(backed_chatter: Chatter) -> None:
    assert "citations" not in backed_chatter.send(QUESTION).text
    assert "citations" not in backed_chatter.send(QUESTION, stream=True, detail=True).text


# While the backend thinks

BEAT_S = 0.05


def sent_by(pieces: AsyncGenerator[str, None], leaves: asyncio.Event | None = None) -> list[bytes]:
    """The bodies that a response sends, to a client that may leave."""
    bodies: list[bytes] = []

    async def receive() -> AsgiMessage:
        await (leaves.wait() if leaves else asyncio.Event().wait())
        return {"type": "http.disconnect"}

    async def send(message: AsgiMessage) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])

    asyncio.run(EventStreamResponse(pieces, BEAT_S)({"type": "http"}, receive, send))
    return bodies


async def _after(*pauses: float) -> AsyncGenerator[str, None]:
    for number, pause in enumerate(pauses):
        await asyncio.sleep(pause)
        yield f"data: {number}\n\n"


def test_a_silent_stream_beats() -> None:
    bodies = sent_by(_after(0.0, 4.5 * BEAT_S, 0.0))

    assert bodies[0] == b"data: 0\n\n"
    assert bodies[-3:] == [b"data: 1\n\n", b"data: 2\n\n", b""]
    beats = bodies[1:-3]
    assert set(beats) == {HEARTBEAT}
    assert 2 <= len(beats) <= 5


def test_a_talkative_stream_does_not() -> None:
    assert HEARTBEAT not in sent_by(_after(*(BEAT_S / 10,) * 30))


def test_a_beat_is_a_comment() -> None:
    assert HEARTBEAT.startswith(b":")
    assert HEARTBEAT.endswith(b"\n\n")


def test_who_leaves_ends_the_stream() -> None:
    closed = threading.Event()

    async def main() -> list[bytes]:
        leaves = asyncio.Event()
        bodies: list[bytes] = []

        async def pieces() -> AsyncGenerator[str, None]:
            try:
                yield "data: 0\n\n"
                leaves.set()
                await asyncio.sleep(60)
            finally:
                closed.set()

        async def receive() -> AsgiMessage:
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: AsgiMessage) -> None:
            bodies.append(message.get("body", b""))

        async with asyncio.timeout(5):
            await EventStreamResponse(pieces(), 10)({"type": "http"}, receive, send)
        return bodies

    assert asyncio.run(main())[1:] == [b"data: 0\n\n"]
    assert closed.is_set()


# Questions that follow others


@pytest.fixture
def following(samples: Path, tmp_path: Path, backend: OpenAIServer) -> Iterator[Chatter]:
    """Asks an app that completes questions, by the backend that answers them."""
    shutil.copytree(samples, tmp_path / "data")
    completion = EndpointCompletion("scripted-model", backend.url, None, 5.0)
    with (
        Library.open(tmp_path / "data", HashEmbedder(), completion=completion) as library,
        opened(library, completion) as api,
    ):
        yield new_chatter(api, extension=True, limit=1)


def test_a_question_is_completed_from_the_chat_before_it_is_searched(
    following: Chatter, backend: OpenAIServer
) -> None:
    backend.script(
        answer(json.dumps(["文字脚本的作者"], ensure_ascii=False)),
        answer("1. 导演\n2. 文字脚本"),
        answer(json.dumps([QUESTION], ensure_ascii=False)),
        answer("新海诚"),
    )
    following.send("有哪些职位", chatId="c")

    reply = following.send("第二点的作者是谁", chatId="c", detail=True).json()

    rewriting = json.loads(backend.asked("chat/completions")[2].body["messages"][-1]["content"])
    assert rewriting["question"] == "第二点的作者是谁"
    assert rewriting["conversation"] == [{"user": "有哪些职位"}, {"assistant": "1. 导演\n2. 文字脚本"}]
    assert reply["responseData"][1]["quoteList"][0]["q"] == "剧本出自何人之手？"
    # The answer is to what was asked, as it was asked.
    assert backend.asked("chat/completions")[3].body["messages"][-1]["content"] == "第二点的作者是谁"
