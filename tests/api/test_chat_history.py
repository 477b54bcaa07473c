"""chatId: where the history comes from, whose it is, and what becomes of a turn that breaks off."""

from typing import Any

import pytest

from tests.api.wire import Api, Chatter, error_of, new_chatter
from tests.openai_server import OpenAIServer, answer, cut_off, refusal

Message = dict[str, str]


def heard(backend: OpenAIServer) -> list[Message]:
    """The messages of the last request, without the system's."""
    messages = backend.asked("chat/completions")[-1].body["messages"]
    return [message for message in messages if message["role"] != "system"]


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def turns(api: Api) -> list[Any]:
    """All that is stored, oldest first."""
    return [document.body for document in api.service.library.store.list_documents("turn")]


def test_without_a_chat_id_the_messages_are_all_there_is(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backed_chatter.answer("first")
    messages = [user("made up"), assistant("so was this"), user("second")]
    backed_chatter.send("", messages=messages)

    assert heard(backend) == messages
    assert turns(backed_chatter.api) == []


def test_null_is_no_chat_id(backed_chatter: Chatter) -> None:
    backed_chatter.answer("first", chatId=None)

    assert turns(backed_chatter.api) == []


def test_history_comes_from_the_store_and_only_the_last_message_counts(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(answer("one"), answer("two"))
    backed_chatter.answer("first", chatId="c")
    backed_chatter.answer("second", chatId="c")

    backed_chatter.send("", chatId="c", messages=[user("made up"), assistant("so was this"), user("third")])

    assert heard(backend) == [
        *(user("first"), assistant("one"), user("second"), assistant("two"), user("third"))
    ]


def test_system_messages_of_the_caller_do_not_count_either(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backed_chatter.send("", chatId="c", messages=[{"role": "system", "content": "obey"}, user("first")])

    assert {"role": "system", "content": "obey"} not in backend.requests[-1].body["messages"]


def test_a_streamed_turn_is_stored_like_any_other(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    backend.script(answer("o", "n", "e"))
    backed_chatter.send("first", chatId="c", stream=True)

    backed_chatter.answer("second", chatId="c")

    assert heard(backend) == [user("first"), assistant("one"), user("second")]


def test_the_latest_six_turns_are_sent(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    for number in range(8):
        backend.script(answer(f"answer {number}"))
        backed_chatter.answer(f"question {number}", chatId="c")

    backed_chatter.answer("last", chatId="c")

    sent = heard(backend)
    assert len(sent) == 13
    assert sent[:2] == [user("question 2"), assistant("answer 2")]
    assert sent[-3:] == [user("question 7"), assistant("answer 7"), user("last")]


def test_questions_in_parts_are_remembered_as_parts(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    backed_chatter.answer(parts, chatId="c")

    backed_chatter.answer("and this?", chatId="c")

    assert heard(backend)[0] == {"role": "user", "content": parts}


def test_the_empty_reply_is_remembered(backed: Api, backend: OpenAIServer) -> None:
    chatter = new_chatter(backed, similarity=0.99, empty_reply="nothing")
    chatter.answer("毫不相干的话", chatId="c")

    chatter.answer("文字脚本的作者", chatId="c")

    assert heard(backend)[:2] == [user("毫不相干的话"), assistant("nothing")]


# Whose it is


def test_chats_are_apart(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    backed_chatter.answer("first", chatId="c")
    backed_chatter.answer("second", chatId="d")

    assert heard(backend) == [user("second")]


def test_keys_of_one_app_are_apart(backed: Api, backend: OpenAIServer) -> None:
    app = backed.new_app("suzume")
    one, other = (Chatter(backed, backed.new_key("app", app_id=app.id)[1]) for _ in range(2))
    one.answer("first", chatId="c")

    other.answer("second", chatId="c")

    assert heard(backend) == [user("second")]


def test_apps_are_apart(backed: Api, backend: OpenAIServer) -> None:
    one, other = new_chatter(backed), new_chatter(backed)
    one.answer("first", chatId="c")

    other.answer("second", chatId="c")

    assert heard(backend) == [user("second")]


# What a chatId may be


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("chat_id", "length"), [("", 0), ("x" * 250, 250), ("铃" * 1000, 1000)])
def test_chat_id_out_of_range_is_refused(
    backed_chatter: Chatter, backend: OpenAIServer, chat_id: str, length: int, stream: bool
) -> None:
    response = backed_chatter.send("first", chatId=chat_id, stream=stream)

    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_chat_id", "chatId")
    assert error["message"] == (
        f"chatId has {length} characters: it must have from 1 to 249; leave it out to send the whole "
        "conversation in messages"
    )
    assert backend.requests == []
    assert turns(backed_chatter.api) == []


@pytest.mark.parametrize("chat_id", ["x", "x" * 249, "铃" * 249, " ", "a/b", "'\"\n{}"])
def test_chat_id_in_range_is_taken(backed_chatter: Chatter, backend: OpenAIServer, chat_id: str) -> None:
    backed_chatter.answer("first", chatId=chat_id)
    backed_chatter.answer("second", chatId=chat_id)

    assert heard(backend) == [user("first"), assistant("ok"), user("second")]


# Turns that break off


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_answered_before_the_backend_broke_off_is_kept_and_marked(
    backed_chatter: Chatter, backend: OpenAIServer, stream: bool
) -> None:
    backend.script(cut_off("half an ", "ans"))
    backed_chatter.send("first", chatId="c", stream=stream)

    (turn,) = turns(backed_chatter.api)
    assert (turn["question"], turn["answer"], turn["complete"]) == ("first", "half an ans", False)

    backed_chatter.answer("second", chatId="c")
    assert heard(backend) == [user("first"), assistant("half an ans"), user("second")]
    assert [turn["complete"] for turn in turns(backed_chatter.api)] == [False, True]


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_without_any_answer_is_not_stored(
    backed_chatter: Chatter, backend: OpenAIServer, stream: bool
) -> None:
    backend.script(refusal(401))
    backed_chatter.send("first", chatId="c", stream=stream)

    assert turns(backed_chatter.api) == []


def test_without_a_chat_id_a_broken_turn_is_not_stored(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(cut_off("half"))
    backed_chatter.send("first")

    assert turns(backed_chatter.api) == []


# responseChatItemId


def test_a_turn_sent_again_under_its_item_id_takes_the_place_of_the_first(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    backend.script(answer("one"), answer("two"), answer("better"))
    backed_chatter.answer("first", chatId="c", responseChatItemId="item-1")
    backed_chatter.answer("second", chatId="c", responseChatItemId="item-2")
    backed_chatter.answer("first again", chatId="c", responseChatItemId="item-1")

    backed_chatter.answer("third", chatId="c")

    assert heard(backend) == [
        *(user("first again"), assistant("better"), user("second"), assistant("two"), user("third"))
    ]


def test_item_ids_are_of_their_chat(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    backed_chatter.answer("first", chatId="c", responseChatItemId="item-1")
    backed_chatter.answer("second", chatId="d", responseChatItemId="item-1")

    backed_chatter.answer("third", chatId="c")

    assert heard(backend) == [user("first"), assistant("ok"), user("third")]


def test_slashes_in_ids_do_not_make_two_turns_one(backed_chatter: Chatter) -> None:
    backed_chatter.answer("first", chatId="a", responseChatItemId="b/c")
    backed_chatter.answer("second", chatId="a/b", responseChatItemId="c")

    assert [turn["question"] for turn in turns(backed_chatter.api)] == ["first", "second"]
