"""The four shapes of a chat reply, as clients see them."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from retrieval.completion.extractive import NOTHING_FOUND
from tests.api.wire import Api, Chatter, Event, error_of, events_of, new_chatter, normalised, said
from tests.openai_server import OpenAIServer, answer, cut_off, refusal, then_event, tool_calls

QUESTION = "文字脚本的作者"
"""A custom index of the third record, to the letter."""

PIECES = ("剧本由", "新海诚", "撰写。")

APP = {
    "system_prompt": "你是{{film}}的资料员。",
    "limit_prompt": "不知道的不要说。",
    "limit": 150,
    "search_price": 200.0,
    "chat_price": 1500.0,
    "max_tokens": 2050,
}

SHAPES = {
    "object": {"stream": False, "detail": False},
    "object-detail": {"stream": False, "detail": True},
    "stream": {"stream": True, "detail": False},
    "stream-detail": {"stream": True, "detail": True},
}

STATUS_SEARCH = Event("flowNodeStatus", '{"status":"running","name":"知识库搜索"}')
STATUS_ANSWER = Event("flowNodeStatus", '{"status":"running","name":"AI 对话"}')

Golden = Callable[[str, str], None]


def ask(chatter: Chatter, shape: str, **fields: Any) -> str:
    response = chatter.send(QUESTION, variables={"film": "铃芽之旅"}, **SHAPES[shape], **fields)
    assert response.status_code == 200, response.text
    return response.content.decode()


def choices(*deltas: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Of each chunk; the first one says whose the answer is."""
    first, *others = deltas
    return [
        [{"delta": delta, "index": 0, "finish_reason": None}]
        for delta in ({"role": "assistant", **first}, *others)
    ]


def texts(*pieces: str) -> list[list[dict[str, Any]]]:
    return choices(*({"content": piece} for piece in pieces))


END = {"delta": {}, "index": 0, "finish_reason": "stop"}


@pytest.mark.parametrize("shape", SHAPES)
def test_extractive_reply_is_as_in_the_golden_file(api: Api, golden: Golden, shape: str) -> None:
    golden(f"chat-extractive-{shape}.txt", normalised(ask(new_chatter(api, **APP), shape)))


@pytest.mark.parametrize("shape", SHAPES)
def test_backend_reply_is_as_in_the_golden_file(
    backed: Api, backend: OpenAIServer, golden: Golden, shape: str
) -> None:
    backend.script(answer(*PIECES, usage=(281, 22)))
    golden(f"chat-backend-{shape}.txt", normalised(ask(new_chatter(backed, **APP), shape)))


def test_fields_of_the_object_are_in_the_contracts_order(backed_chatter: Chatter) -> None:
    reply = json.loads(ask(backed_chatter, "object-detail"))

    assert list(reply) == ["id", "object", "created", "model", "choices", "usage", "responseData"]
    search, chat = reply["responseData"]
    assert list(search) == [
        *("moduleName", "moduleType", "price", "model", "tokens", "similarity", "limit", "searchMode"),
        "runningTime",
    ]
    assert list(chat) == [
        *("moduleName", "moduleType", "price", "model", "tokens", "question", "answer", "maxToken"),
        *("runningTime", "quoteList", "completeMessages"),
    ]
    assert list(chat["quoteList"][0]) == [
        *("dataset_id", "datasetId", "collectionId", "id", "q", "a", "source", "sourceName", "sourceId"),
        *("score", "indexes"),
    ]
    assert list(chat["quoteList"][0]["indexes"][0]) == ["_id", "type", "dataId", "text", "defaultIndex"]
    assert [list(message) for message in chat["completeMessages"]] == [["obj", "value"]] * 3


def test_object_without_detail_is_the_same_but_for_what_detail_adds(backed_chatter: Chatter) -> None:
    plain = json.loads(normalised(ask(backed_chatter, "object", chatId="c1")))
    detailed = json.loads(normalised(ask(backed_chatter, "object-detail", chatId="c2")))

    del detailed["responseData"]
    assert {**detailed, "id": "c1"} == plain


def test_plain_stream_is_chunks_of_one_id_and_nothing_else(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(answer(*PIECES))

    *chunks, done = events_of(ask(backed_chatter, "stream"))

    assert done == Event(None, "[DONE]")
    assert {event.name for event in chunks} == {None}
    bodies = [event.json for event in chunks]
    assert [list(body) for body in bodies] == [["id", "object", "created", "model", "choices"]] * 4
    assert len({body["id"] for body in bodies}) == 1
    assert {body["object"] for body in bodies} == {"chat.completion.chunk"}
    assert [body["choices"] for body in bodies] == [*texts(*PIECES), [END]]


def test_detailed_stream_has_its_events_in_the_contracts_order(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(answer(*PIECES))

    events = events_of(ask(backed_chatter, "stream-detail"))

    assert [event.name for event in events] == [
        *("flowNodeStatus", "flowNodeStatus", "answer", "answer", "answer", "answer", "answer"),
        "flowResponses",
    ]
    assert events[:2] == [STATUS_SEARCH, STATUS_ANSWER]
    assert [event.json["choices"] for event in events[2:6]] == [*texts(*PIECES), [END]]
    assert events[6] == Event("answer", "[DONE]")


def test_flow_responses_are_the_steps_of_the_object_with_the_streams_names(backed_chatter: Chatter) -> None:
    steps = json.loads(normalised(ask(backed_chatter, "object-detail")))["responseData"]
    flow = json.loads(normalised(events_of(ask(backed_chatter, "stream-detail"))[-1].data))

    names = [{"moduleName": "知识库搜索"}, {"moduleName": "AI 对话"}]
    # Ids are numbered as they appear, and the streamed form has quotes elsewhere.
    assert without_ids(flow) == without_ids([step | name for step, name in zip(steps, names, strict=True)])
    assert list(flow[0])[:3] == ["moduleName", "moduleType", "runningTime"]
    assert list(flow[1])[:5] == ["question", "quoteList", "moduleName", "moduleType", "runningTime"]


def without_ids(steps: list[dict[str, Any]]) -> object:
    for quote in steps[1]["quoteList"]:
        for name in ("dataset_id", "datasetId", "collectionId", "id", "sourceId"):
            assert quote.pop(name).startswith("<id ")
        for index in quote["indexes"]:
            del index["_id"]
    return steps


@pytest.mark.parametrize("shape", ["stream", "stream-detail"])
def test_a_stream_is_not_to_be_held_up_or_kept(chatter: Chatter, shape: str) -> None:
    response = chatter.send(QUESTION, **SHAPES[shape])

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"


def test_all_three_paths_answer(chatter: Chatter) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}]}
    for path in ("/api/v1/chat/completions", "/v1/chat/completions", "/api/chat/completions"):
        response = chatter.api.post(path, body, chatter.headers)
        assert response.status_code == 200
        assert response.json()["choices"][0]["message"]["content"].startswith("剧本由新海诚亲自撰写")


def test_scores_of_chat_are_those_of_the_search(chatter: Chatter) -> None:
    reply = json.loads(ask(chatter, "object-detail"))

    quotes = reply["responseData"][1]["quoteList"]
    found = chatter.api.search("suzume", QUESTION)["list"]
    assert [(quote["id"], quote["score"]) for quote in quotes] == [
        (item["id"], item["score"][0]["value"]) for item in found
    ]
    assert len(quotes) > 3


def test_the_chat_id_is_the_id_of_the_reply(chatter: Chatter) -> None:
    assert json.loads(ask(chatter, "object", chatId="chat 7"))["id"] == "chat 7"
    assert {event.json["id"] for event in events_of(ask(chatter, "stream", chatId="chat 7"))[:-1]} == {
        "chat 7"
    }


# The empty reply


EMPTY = {"similarity": 0.99, "empty_reply": "没有找到。"}


def test_empty_reply_is_the_answer_when_nothing_is_found(backed: Api, backend: OpenAIServer) -> None:
    chatter = new_chatter(backed, **EMPTY)

    reply = chatter.send("毫不相干的话", detail=True).json()

    assert reply["choices"][0]["message"]["content"] == "没有找到。"
    assert reply["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert reply["responseData"][1]["quoteList"] == []
    assert backend.requests == []


def test_empty_reply_streams_as_a_fast_answer(backed: Api) -> None:
    chatter = new_chatter(backed, **EMPTY)

    events = events_of(chatter.send("毫不相干的话", stream=True, detail=True).text)

    assert [event.name for event in events] == [
        *("flowNodeStatus", "flowNodeStatus", "fastAnswer", "answer", "answer", "flowResponses")
    ]
    assert [event.json["choices"] for event in events[2:4]] == [*texts("没有找到。"), [END]]


def test_empty_reply_without_detail_is_a_chunk_like_any_other(backed: Api) -> None:
    events = events_of(new_chatter(backed, **EMPTY).send("毫不相干的话", stream=True).text)

    assert [event.name for event in events] == [None, None, None]
    assert [event.json["choices"] for event in events[:2]] == [*texts("没有找到。"), [END]]


def test_empty_reply_is_not_given_when_something_is_found(backed: Api) -> None:
    chatter = new_chatter(backed, **EMPTY)

    assert chatter.answer(QUESTION) == "ok"


def test_without_an_empty_reply_the_backend_answers_from_no_quotes(api: Api) -> None:
    assert new_chatter(api, similarity=0.99).answer("毫不相干的话") == NOTHING_FOUND


# Failures


def test_failure_before_the_stream_is_an_envelope_with_a_status(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(refusal(401, "no such key"))

    response = backed_chatter.send(QUESTION)

    error = error_of(response)
    assert (response.status_code, error["code"], error["type"]) == (502, "completion_failed", "server_error")
    assert "no such key" in error["message"]
    assert "QUOTEBASE_COMPLETION_API_KEY" in error["message"]


def test_failure_in_a_plain_stream_is_openais_error_object_and_ends_it(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(cut_off("剧本由", "新海诚"))

    *pieces, last = events_of(ask(backed_chatter, "stream"))

    assert said(pieces) == "剧本由新海诚"
    assert last.name is None
    assert list(last.json) == ["error"]
    assert list(last.json["error"]) == ["message", "type", "code", "param"]
    assert last.json["error"]["code"] == "completion_failed"
    assert last.json["error"]["type"] == "server_error"


def test_failure_in_a_detailed_stream_is_an_error_event_and_ends_it(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(cut_off("剧本由", "新海诚"))

    events = events_of(ask(backed_chatter, "stream-detail"))

    assert [event.name for event in events] == [
        *("flowNodeStatus", "flowNodeStatus", "answer", "answer", "error")
    ]
    error = events[-1].json
    assert list(error) == ["code", "statusText", "message", "data", "error"]
    assert (error["code"], error["statusText"], error["data"]) == (502, "completion_failed", None)


def test_failure_of_the_first_chunk_is_told_in_the_stream(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(then_event('{"error":{"message":"overloaded"}}'))

    events = events_of(ask(backed_chatter, "stream-detail"))

    assert [event.name for event in events] == ["flowNodeStatus", "flowNodeStatus", "error"]
    assert "overloaded" in events[-1].json["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_question_without_text_is_refused_before_anything_is_sent(chatter: Chatter, stream: bool) -> None:
    response = chatter.send(" \n", stream=stream)

    assert response.status_code == 422
    assert error_of(response)["param"] == "messages"


@pytest.mark.parametrize("stream", [False, True])
def test_app_of_a_deleted_dataset_is_refused_before_anything_is_sent(api: Api, stream: bool) -> None:
    chatter = new_chatter(api, "coffee")
    api.service.library.delete_dataset(api.dataset_id("coffee"))

    response = chatter.send("grind size", stream=stream)

    assert (response.status_code, error_of(response)["code"]) == (404, "dataset_not_found")


# Tools

CALL = (
    {"index": 0, "id": "call-1", "type": "function", "function": {"name": "weather", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"city":'}},
    {"index": 0, "function": {"arguments": '"宫崎"}'}},
)


def test_tool_calls_are_passed_on_piece_by_piece(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    backend.script(tool_calls(*CALL))

    events = events_of(ask(backed_chatter, "stream-detail"))

    assert [event.name for event in events] == [
        *("flowNodeStatus", "flowNodeStatus", "toolCall", "toolCall", "toolCall", "answer", "answer"),
        "flowResponses",
    ]
    assert [event.json["choices"] for event in events[2:5]] == choices(
        *({"tool_calls": [call]} for call in CALL)
    )


def test_tool_calls_without_detail_are_chunks_like_any_other(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(tool_calls(*CALL))

    events = events_of(ask(backed_chatter, "stream"))

    assert [event.name for event in events] == [None] * 5
    assert [event.json["choices"] for event in events[:3]] == choices(
        *({"tool_calls": [call]} for call in CALL)
    )
