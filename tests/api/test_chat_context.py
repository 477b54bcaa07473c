"""What is sent to a backend that does not take everything: the oldest goes first, and nothing in halves."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.apps import App
from api.chat.prompt import TOKENS_A_MESSAGE, count_message_tokens, fit_messages
from retrieval.completion import Message
from retrieval.completion.endpoint import EndpointCompletion
from retrieval.library import Library
from retrieval.types import Quote, Record, Score
from tests.api.conftest import opened
from tests.api.wire import new_chatter
from tests.openai_server import OpenAIServer

APP = App("1" * 24, "app", ("2" * 24,), system_prompt="be brief", limit_prompt="be kind", max_tokens=100)
QUESTION = Message("user", "and then?")


def quote(number: int, words: int = 50) -> Quote:
    text = f"quote {number}: " + "word " * words
    record = Record("1" * 24, "2" * 24, "3" * 24, text, "", 0, words, datetime.now(UTC))
    return Quote(record, "a.csv", (Score("embedding", 0.9, 0),), passage_id=number)


def turn(number: int, words: int = 20) -> list[Message]:
    return [
        Message("user", f"question {number} " + "word " * words),
        Message("assistant", f"answer {number} " + "word " * words),
    ]


def cost(messages: Any) -> int:
    return count_message_tokens(messages) + TOKENS_A_MESSAGE * len(messages)


def test_all_of_it_where_there_is_room() -> None:
    history = [*turn(1), *turn(2)]

    fitted = fit_messages(APP, [quote(1), quote(2)], history, QUESTION, {}, 10_000)

    roles = [message.role for message in fitted.messages]
    assert roles == ["system"] * 3 + ["user", "assistant"] * 2 + ["user"]
    assert fitted.messages[3:] == (*history, QUESTION)
    assert len(fitted.quotes) == 2


def test_the_oldest_turns_go_first_each_as_a_whole() -> None:
    history = [message for number in range(1, 9) for message in turn(number)]

    fitted = fit_messages(APP, [quote(1)], history, QUESTION, {}, 500)

    said = [message for message in fitted.messages if message.role != "system"]
    assert len(said) % 2 == 1
    assert said == [*history[-(len(said) - 1) :], QUESTION]
    assert 1 < len(said) < len(history)
    assert len(fitted.quotes) == 1


def test_then_the_last_quotes_go_each_as_a_whole() -> None:
    quotes = [quote(number) for number in range(1, 9)]

    fitted = fit_messages(APP, quotes, turn(1), QUESTION, {}, 400)

    assert fitted.quotes == tuple(quotes[: len(fitted.quotes)])
    assert 0 < len(fitted.quotes) < 8
    shown = fitted.messages[0].content
    assert all((one.record.q in shown) == (one in fitted.quotes) for one in quotes)


def test_the_question_and_the_apps_prompts_stay_whatever_happens() -> None:
    question = Message("user", "word " * 2000)

    fitted = fit_messages(APP, [quote(1)], turn(1), question, {}, 600)

    assert fitted.messages == (Message("system", "be brief"), Message("system", "be kind"), question)
    assert fitted.quotes == ()


def test_system_messages_of_the_caller_stay() -> None:
    history = [Message("system", "the caller's own"), *(one for n in range(20) for one in turn(n))]

    fitted = fit_messages(APP, [], history, QUESTION, {}, 400)

    assert Message("system", "the caller's own") in fitted.messages
    assert len(fitted.messages) < len(history)


def test_a_tools_result_stays_with_its_call() -> None:
    call = Message("assistant", "", {"tool_calls": [{"id": "1"}]})
    result = Message("tool", "sunny " * 300, {"tool_call_id": "1"})
    asked = Message("user", "the weather?")

    fitted = fit_messages(APP, [quote(1)], [*turn(1), asked, call], result, {}, 200)

    assert fitted.messages[-3:] == (asked, call, result)


def test_old_calls_go_with_their_results() -> None:
    call = Message("assistant", "", {"tool_calls": [{"id": "1"}]})
    result = Message("tool", "sunny " * 300, {"tool_call_id": "1"})
    history = [Message("user", "the weather?"), call, result, Message("assistant", "sunny"), *turn(2)]

    fitted = fit_messages(APP, [], history, QUESTION, {}, 400)

    assert fitted.messages[2:] == (*turn(2), QUESTION)


@given(
    quotes=st.lists(st.integers(1, 200), max_size=8),
    turns=st.lists(st.integers(1, 200), max_size=8),
    context=st.integers(200, 4000),
)
def test_it_fits_or_nothing_but_the_question_is_left(
    quotes: list[int], turns: list[int], context: int
) -> None:
    given_quotes = [quote(place, words) for place, words in enumerate(quotes)]
    history = [message for place, words in enumerate(turns) for message in turn(place, words)]

    fitted = fit_messages(APP, given_quotes, history, QUESTION, {}, context)

    room = max(context - APP.max_tokens, context // 2)
    assert cost(fitted.messages) <= room
    assert fitted.messages[-1] == QUESTION
    assert fitted.quotes == tuple(given_quotes[: len(fitted.quotes)])
    said = [message for message in fitted.messages if message.role != "system"]
    assert said == [*history, QUESTION][-len(said) :]
    if len(said) - 1 < len(history):
        # The next older turn would not have fitted, as quotes come before what was said.
        missing = history[len(history) - len(said) - 1 : len(history) - len(said) + 1]
        assert cost(fitted.messages) + cost(missing) > room


def test_details_and_citations_are_of_the_quotes_that_were_sent(
    sampled: Library, backend: OpenAIServer
) -> None:
    completion = EndpointCompletion("scripted", backend.url, None, 5.0, context_tokens=512)
    with opened(sampled, completion) as api:
        chatter = new_chatter(api, limit=5000, max_tokens=100)
        reply = chatter.send("导演是谁", detail=True, citations=True).json()

    answering = reply["responseData"][1]
    sent = backend.asked("chat/completions")[-1].body["messages"]
    told = answering["completeMessages"]
    assert [message["value"] for message in told[:-1]] == [message["content"] for message in sent]
    ids = [quote["id"] for quote in answering["quoteList"]]
    assert 0 < len(ids) < 20
    assert [citation["id"] for citation in reply["choices"][0]["message"]["citations"]] == ids
    assert all(quote["q"] in sent[0]["content"] for quote in answering["quoteList"])
    assert sent[0]["content"].count("\n") >= len(ids)
