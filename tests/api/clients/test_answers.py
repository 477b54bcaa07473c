"""What OpenAI's clients make of our replies, streamed and not."""

from typing import Any

import pytest

from tests.api.clients.asking import Asking, Call, Client, Failed
from tests.api.test_server import ANSWER, QUESTION
from tests.openai_server import OpenAIServer, answer, cut_off, refusal, tool_calls

ASKED = {"role": "user", "content": QUESTION}

TOOL = {
    "type": "function",
    "function": {
        "name": "showtimes",
        "description": "When a film is shown.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = (
    {"index": 0, "id": "call-1", "type": "function", "function": {"name": "showtimes", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"city":'}},
    {"index": 0, "function": {"arguments": '"宫崎"}'}},
)

SHOWS_CITATIONS = {("openai", False), ("openai", True), ("npm openai", False), ("npm openai", True)} | {
    ("npm ai", False)
}
"""Clients that pass on fields which they do not know, and whether of streams; the others pass over them."""

CALLED = {
    ("npm ai", False): "tool-calls",
    ("npm ai", True): "tool-calls",
    ("litellm", True): "stop",  # what it makes of anybody's chunks when they are put together
}
"""How clients call the reason ``tool_calls``, where they do not call it that."""

UNAUTHORIZED = {
    "openai": "AuthenticationError",
    "langchain-openai": "OpenAIAuthenticationError",
    "litellm": "AuthenticationError",
    "npm openai": "AuthenticationError",
    "npm ai": "APICallError",
}

BAD_GATEWAY = {
    "openai": "InternalServerError",
    "langchain-openai": "OpenAIAPIError",
    "litellm": "BadGatewayError",
    "npm openai": "InternalServerError",
    "npm ai": "APICallError",
}

WITHIN_A_STREAM = {
    "openai": "APIError",
    "langchain-openai": "APIError",
    "litellm": "MidStreamFallbackError",
    "npm openai": "APIError",
    "npm ai": "error part",
}

pytestmark = pytest.mark.parametrize("stream", [False, True], ids=["object", "stream"])


def quoted(citations: Any) -> list[str]:
    return [citation["a"] for citation in citations]


def test_an_answer_of_a_backend(
    client: Client, client_name: str, asking: Asking, backend: OpenAIServer, stream: bool
) -> None:
    backend.script(answer("剧本由", "新海诚", "撰写。", usage=(281, 22)))

    reply = client.ask(asking, [ASKED], stream=stream)

    assert (reply.text, reply.finish_reason, reply.usage) == ("剧本由新海诚撰写。", "stop", (281, 22))
    assert reply.calls == ()
    if (client_name, stream) in SHOWS_CITATIONS:
        assert quoted(reply.citations)[0] == ANSWER
    else:
        assert reply.citations is None


def test_an_answer_of_the_extractive_backend(
    client: Client, client_name: str, quoting: Asking, backend: OpenAIServer, stream: bool
) -> None:
    reply = client.ask(quoting, [ASKED], stream=stream)

    assert (reply.text, reply.finish_reason) == (ANSWER, "stop")
    prompt, completion = reply.usage
    assert prompt > completion > 0
    if (client_name, stream) in SHOWS_CITATIONS:
        assert quoted(reply.citations)[0] == ANSWER
    assert backend.requests == []


def test_a_tool_is_called_and_its_result_sent_back(
    client: Client, client_name: str, asking: Asking, backend: OpenAIServer, stream: bool
) -> None:
    backend.script(tool_calls(*CALL, usage=(300, 9)), answer("今晚", "八点。", usage=(330, 4)))

    called = client.ask(asking, [ASKED], stream=stream, tools=[TOOL])
    (call,) = called.calls
    messages = [ASKED, called.message, client.tool_message(call, "20:00")]
    told = client.ask(asking, messages, stream=stream, tools=[TOOL])

    assert call == Call("call-1", "showtimes", {"city": "宫崎"})
    assert called.finish_reason == CALLED.get((client_name, stream), "tool_calls")
    assert (told.text, told.finish_reason, told.usage) == ("今晚八点。", "stop", (330, 4))
    first, second = backend.requests
    assert first.body["tools"] == [TOOL]
    asked, called_again, result = second.body["messages"][-3:]
    assert asked == ASKED
    assert called_again["role"] == "assistant"
    assert [call["id"] for call in called_again["tool_calls"]] == ["call-1"]
    assert result == {"role": "tool", "tool_call_id": "call-1", "content": "20:00"}


def test_a_wrong_key_is_the_clients_own_error(
    client: Client, client_name: str, asking: Asking, stream: bool
) -> None:
    with pytest.raises(Failed, match="the key is not known here") as caught:
        client.ask(Asking(asking.server, "sk-wrong"), [ASKED], stream=stream)

    assert caught.value.kind == UNAUTHORIZED[client_name]


def test_a_backend_that_refuses_is_the_clients_own_error(
    client: Client, client_name: str, asking: Asking, backend: OpenAIServer, stream: bool
) -> None:
    backend.script(refusal(400, "no such model"))

    with pytest.raises(Failed, match=r"answered 400: .*no such model") as caught:
        client.ask(asking, [ASKED], stream=stream)

    assert caught.value.kind == (WITHIN_A_STREAM if stream else BAD_GATEWAY)[client_name]
    assert caught.value.said == ""


def test_a_backend_that_breaks_off_is_the_clients_own_error_and_the_next_question_is_answered(
    client: Client, client_name: str, asking: Asking, backend: OpenAIServer, stream: bool
) -> None:
    backend.script(cut_off("half"), answer("whole"))

    with pytest.raises(Failed, match=r"the completion backend failed: .* broke off") as caught:
        client.ask(asking, [ASKED], stream=stream)

    assert caught.value.kind == (WITHIN_A_STREAM if stream else BAD_GATEWAY)[client_name]
    assert caught.value.said == ("half" if stream else "")
    assert client.ask(asking, [ASKED], stream=stream).text == "whole"
