"""What the completion backend is told, compared with what it says it was told."""

import json
from typing import Any

import pytest

from retrieval.library import Library
from retrieval.tokens import count_tokens
from retrieval.types import RecordDraft
from tests.api.conftest import BACKEND_KEY
from tests.api.wire import Api, Chatter, error_of, new_chatter
from tests.openai_server import OpenAIServer, answer, tool_calls

QUESTION = "文字脚本的作者"
"""A custom index of the record below, to the letter."""

Q, A = "剧本出自何人之手？", "剧本由新海诚亲自撰写，他同时写了同名小说。"

QUOTED = f"下面是知识库内容:\n1. [{Q}\n{A}]\n"

SPEAKERS = {"System": "system", "Human": "user", "AI": "assistant", "Tool": "tool"}


def one_quote(backed: Api, **settings: Any) -> Chatter:
    """An app whose budget holds one quote."""
    return new_chatter(backed, **{"limit": 1, **settings})


def heard(backend: OpenAIServer) -> list[dict[str, Any]]:
    """The messages of the last request."""
    messages: list[dict[str, Any]] = backend.asked("chat/completions")[-1].body["messages"]
    return messages


def system(content: str) -> dict[str, str]:
    return {"role": "system", "content": content}


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def add_record(library: Library, q: str, a: str, index: str) -> str:
    """The name of a new dataset with one record, found by ``index``."""
    dataset = library.create_dataset("one record")
    library.add_records(library.store.create_collection(dataset.id, "by hand"), [RecordDraft(q, a, (index,))])
    return dataset.name


# Order


def test_quotes_come_first_then_the_apps_prompts_then_the_history_then_the_question(
    backed: Api, backend: OpenAIServer
) -> None:
    chatter = one_quote(backed, system_prompt="be brief", limit_prompt="be kind")
    history = [user("before"), {"role": "assistant", "content": "and after"}]

    chatter.send("", messages=[*history, user(QUESTION)])

    assert heard(backend) == [
        *(system(QUOTED), system("be brief"), system("be kind")),
        *history,
        user(QUESTION),
    ]


def test_prompts_that_are_not_set_are_not_sent(backed: Api, backend: OpenAIServer) -> None:
    one_quote(backed).send(QUESTION)

    assert heard(backend) == [system(QUOTED), user(QUESTION)]


def test_without_quotes_there_is_no_quote_prompt(backed: Api, backend: OpenAIServer) -> None:
    one_quote(backed, similarity=1.0, system_prompt="be brief").send("毫不相干的话")

    assert heard(backend) == [system("be brief"), user("毫不相干的话")]


def test_several_quotes_are_a_line_each_numbered_from_one(backed: Api, backend: OpenAIServer) -> None:
    chatter = new_chatter(backed, limit=300)

    reply = chatter.send(QUESTION, detail=True).json()

    quotes = reply["responseData"][1]["quoteList"]
    lines = [f"{place}. [{quote['q']}\n{quote['a']}]" for place, quote in enumerate(quotes, start=1)]
    assert len(lines) > 1
    assert heard(backend)[0] == system("下面是知识库内容:\n" + "\n".join(lines) + "\n")


def test_quote_without_an_answer_is_its_text_alone(
    backed: Api, backend: OpenAIServer, sampled: Library
) -> None:
    name = add_record(sampled, "一段没有答案的文字", "", "find me")

    new_chatter(backed, name).send("find me")

    assert heard(backend)[0] == system("下面是知识库内容:\n1. [一段没有答案的文字]\n")


def test_system_messages_of_the_caller_are_part_of_the_history(backed: Api, backend: OpenAIServer) -> None:
    messages = [system("mine"), {"role": "developer", "content": "theirs"}, user(QUESTION)]

    one_quote(backed, system_prompt="the app's").send("", messages=messages)

    assert heard(backend) == [
        *(system(QUOTED), system("the app's"), system("mine"), system("theirs"), user(QUESTION))
    ]


# Templates and variables


def test_every_field_of_a_quote_can_be_in_the_template(backed: Api, backend: OpenAIServer) -> None:
    chatter = one_quote(
        backed,
        quote_template="{{index}}|{{q}}|{{a}}|{{source}}|{{sourceId}}|{{score}}",
        quote_prompt="<{{quote}}> asked: {{question}}",
    )

    quote = chatter.send(QUESTION, detail=True).json()["responseData"][1]["quoteList"][0]

    line = f"1|{Q}|{A}|suzume.csv|{quote['collectionId']}|{quote['score']:.4f}"
    assert heard(backend)[0] == system(f"<{line}> asked: {QUESTION}")


def test_variables_are_filled_into_prompts_and_templates(backed: Api, backend: OpenAIServer) -> None:
    chatter = one_quote(
        backed,
        system_prompt="你好，{{name}}（{{ uid }}）",
        limit_prompt="{{name}}，{{unknown}}",
        quote_template="{{name}}: {{q}}",
        quote_prompt="{{name}}\n{{quote}}",
    )

    chatter.send(QUESTION, variables={"name": "张三", "uid": "asdfadsfasfd2323"})

    assert heard(backend)[:3] == [
        system(f"张三\n张三: {Q}"),
        system("你好，张三（asdfadsfasfd2323）"),
        system("张三，{{unknown}}"),
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *((7, "7"), (0.5, "0.5"), (True, "true"), (None, ""), ("", ""), (["剑", 1], '["剑", 1]')),
        ({"a": None}, '{"a": null}'),
    ],
)
def test_variables_that_are_no_text_are_written_as_json(
    backed: Api, backend: OpenAIServer, value: object, written: str
) -> None:
    one_quote(backed, system_prompt="<{{v}}>").send(QUESTION, variables={"v": value})

    assert heard(backend)[1] == system(f"<{written}>")


def test_braces_in_quotes_are_not_filled_in(backed: Api, backend: OpenAIServer, sampled: Library) -> None:
    q, a = "what is {{a}} and {{name}}?", "{{q}} {{question}} {{quote}} {{index}}"
    name = add_record(sampled, q, a, "find me")

    new_chatter(backed, name, quote_prompt="{{quote}} / {{question}}").send(
        "find me", variables={"name": "secret"}
    )

    assert heard(backend)[0] == system(f"1. [{q}\n{a}] / find me")


def test_braces_in_the_question_and_in_variables_are_not_filled_in(
    backed: Api, backend: OpenAIServer
) -> None:
    question = "文字脚本的作者 {{name}} {{quote}}"
    chatter = one_quote(backed, quote_prompt="{{question}}", system_prompt="{{name}}")

    chatter.send(question, variables={"name": "{{question}}{{name}}", "question": "not this", "quote": "nor"})

    assert heard(backend) == [system(question), system("{{question}}{{name}}"), user(question)]


@pytest.mark.parametrize(
    "fields",
    [
        {"variables": {"v": "\ud800"}},
        {"variables": {"v": {"deep": ["\udfff"]}}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}]},
        {"tools": [{"type": "function", "function": {"name": "\ud800"}}]},
    ],
)
def test_half_a_surrogate_pair_is_refused(backed_chatter: Chatter, fields: dict[str, Any]) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], **fields}

    response = backed_chatter.api.client.post(
        "/v1/chat/completions",
        content=json.dumps(body),
        headers={**backed_chatter.headers, "Content-Type": "application/json"},
    )

    assert response.status_code == 422
    assert error_of(response)["param"] == next(iter(fields))


# What is sent besides


def test_the_app_decides_model_temperature_and_length(backed: Api, backend: OpenAIServer) -> None:
    chatter = one_quote(backed, model="the-apps", temperature=0.25, max_tokens=77)

    reply = chatter.send(QUESTION, model="mine", temperature=1.5, max_tokens=9, top_p=0.1, n=3).json()

    body = backend.requests[-1].body
    del body["messages"]
    assert body == {
        "model": "the-apps",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.25,
        "max_tokens": 77,
    }
    assert reply["model"] == "the-apps"


def test_what_the_app_leaves_open_is_left_to_the_backend(backed: Api, backend: OpenAIServer) -> None:
    reply = one_quote(backed).send(QUESTION, model="mine", temperature=1.5).json()

    body = backend.requests[-1].body
    assert body["model"] == reply["model"] == "scripted-model"
    assert "temperature" not in body
    assert body["max_tokens"] == 2000


def test_the_backends_key_is_sent_to_it(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    backed_chatter.send(QUESTION)

    assert backend.requests[-1].path == "/v1/chat/completions"
    assert backend.requests[-1].headers["authorization"] == f"Bearer {BACKEND_KEY}"


def test_tools_are_passed_on(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    choice = {"type": "function", "function": {"name": "weather"}}
    backend.script(tool_calls({"index": 0, "id": "1", "type": "function", "function": {"name": "weather"}}))

    backed_chatter.send(QUESTION, tools=tools, tool_choice=choice, parallel_tool_calls=False)

    body = backend.requests[-1].body
    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == (tools, choice, False)


def test_a_tools_result_is_a_last_message_too(backed: Api, backend: OpenAIServer) -> None:
    call = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        user("天气如何"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": QUESTION, "tool_call_id": "call-1"},
    ]

    one_quote(backed).send("", messages=messages)

    assert heard(backend)[1:] == [messages[0], {**messages[1], "content": ""}, messages[2]]


def test_fields_of_messages_that_openai_does_not_know_stay_here(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    known: dict[str, Any] = {"role": "user", "content": QUESTION, "name": "zhang"}

    backed_chatter.send("", messages=[{**known, "dataId": "d1", "hideInUI": False, "value": []}])

    assert heard(backend)[-1] == known


# Messages as parts

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
FILE = {"type": "file_url", "name": "a.pdf", "url": "https://example.org/a.pdf"}


def test_parts_are_passed_on_and_their_texts_are_searched_with(backed: Api, backend: OpenAIServer) -> None:
    parts = [{"type": "text", "text": QUESTION}, IMAGE, FILE]

    reply = one_quote(backed).send(parts, detail=True).json()

    assert heard(backend) == [system(QUOTED), {"role": "user", "content": parts}]
    assert reply["responseData"][1]["question"] == QUESTION


def test_texts_of_parts_are_joined_by_lines(backed_chatter: Chatter) -> None:
    parts = [{"type": "text", "text": "one"}, IMAGE, {"type": "text", "text": "two"}]

    reply = backed_chatter.send(parts, detail=True).json()

    assert reply["responseData"][1]["question"] == "one\ntwo"


def test_parts_without_a_text_are_refused(backed_chatter: Chatter) -> None:
    assert error_of(backed_chatter.send([IMAGE]))["param"] == "messages"


# What is told of it


@pytest.mark.parametrize("stream", [False, True])
def test_complete_messages_are_what_the_backend_received_and_what_it_said(
    backed: Api, backend: OpenAIServer, stream: bool
) -> None:
    chatter = new_chatter(backed, system_prompt="be brief", limit_prompt="be kind", limit=300)
    parts = [{"type": "text", "text": QUESTION}, IMAGE]
    messages = [user("before"), {"role": "assistant", "content": "after"}, {"role": "user", "content": parts}]
    backend.script(answer("a", "b", "c"))

    response = chatter.send("", messages=messages, detail=True, stream=stream)

    modules = (
        json.loads(response.text.split("event: flowResponses\ndata: ")[1])
        if stream
        else response.json()["responseData"]
    )
    *sent, answered = modules[1]["completeMessages"]
    assert [{"role": SPEAKERS[m["obj"]], "content": m["value"]} for m in sent] == heard(backend)
    assert answered == {"obj": "AI", "value": "abc"}


def test_usage_is_the_backends_own_count(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    backend.script(answer("ok", usage=(1234, 56)))

    reply = backed_chatter.send(QUESTION, detail=True).json()

    assert reply["usage"] == {"prompt_tokens": 1234, "completion_tokens": 56, "total_tokens": 1290}
    assert reply["responseData"][1]["tokens"] == 1290


def test_usage_is_counted_where_the_backend_gives_none(backed: Api, backend: OpenAIServer) -> None:
    backend.script(answer("一个", "答案"))

    reply = one_quote(backed, system_prompt="be brief").send(QUESTION, detail=True).json()

    prompt = count_tokens(QUOTED) + count_tokens("be brief") + count_tokens(QUESTION)
    completion = count_tokens("一个答案")
    assert reply["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "estimated": True,
    }
    assert reply["responseData"][0]["tokens"] == count_tokens(QUESTION)


def test_prices_are_of_a_thousand_tokens(backed: Api, backend: OpenAIServer) -> None:
    backend.script(answer("ok", usage=(300, 3)))

    reply = one_quote(backed, search_price=200.0, chat_price=1500.0).send(QUESTION, detail=True).json()

    search, chat = reply["responseData"]
    assert search["price"] == count_tokens(QUESTION) / 5
    assert chat["price"] == 454.5
