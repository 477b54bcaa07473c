"""Texts to q/a pairs: what replies are read as, and how a model is asked, over a real connection to a scripted one."""

import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.qa_split import (
    FIRST_PAUSE_S,
    LOOK_AHEAD,
    MAX_REPLY_CHARS,
    FailedChunk,
    QaPair,
    SplitChunk,
    parse_pairs,
    split_into_pairs,
)
from retrieval.completion.endpoint import EndpointCompletion
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.errors import InvalidRequest
from tests.openai_server import Handler, OpenAIServer, Reply, answer, endless, openai_server, refusal

LAMP = QaPair("What is the lamp made of?", "Brass.")
BULB = QaPair("Which bulb fits?", "An E14 bulb.")
BOTH = (LAMP, BULB)


def read(reply: str) -> list[tuple[str, str]]:
    return [(pair.q, pair.a) for pair in parse_pairs(reply)]


# Reading: the form that was asked for, and what models make of it


@pytest.mark.parametrize(
    "form",
    [
        "Q{n}: {q}\nA{n}: {a}",
        "Q{n}: {q}\n\nA{n}: {a}\n",
        "Q{n}:\n{q}\nA{n}:\n{a}",
        "Q{n}:{q}\r\nA{n}:{a}\r",
        "q{n}: {q}\na{n}: {a}",
        "Q {n}: {q}\nA {n}: {a}",
        "Q#{n}: {q}\nA#{n}: {a}",
        "Q: {q}\nA: {a}",
        "Q{n}: {q}\nA: {a}",
        "Q: {q}\nA{n}: {a}",
        "Q{n}：{q}\nA{n}：{a}",
        "Ｑ{n}：{q}\nＡ{n}：{a}",
        "Q{n}. {q}\nA{n}. {a}",
        "Q{n}) {q}\nA{n}) {a}",
        "Q{n} - {q}\nA{n} - {a}",
        "Q{n}、{q}\nA{n}、{a}",
        "Q({n}): {q}\nA({n}): {a}",
        "[Q{n}] : {q}\n[A{n}] : {a}",
        "【问题{n}】：{q}\n【答案{n}】：{a}",
        "**Q{n}:** {q}\n**A{n}:** {a}",
        "**Q{n}**: {q}\n**A{n}**: {a}",
        "**Q{n}: {q}**\n**A{n}:** {a}",
        "**Q{n}:** **{q}**\n**A{n}:** {a}",
        "__Q{n}:__ {q}\n__A{n}:__ {a}",
        "*Q{n}:* {q}\n*A{n}:* {a}",
        "**Q{n}**\n{q}\n**A{n}**\n{a}",
        "### Q{n}. {q}\n{a_mark}{a}",
        "### Q{n}: {q}\n\n**A{n}:** {a}\n\n---\n",
        "## **Q{n}: {q}**\n\nA{n}: {a}\n\n***",
        "- Q{n}: {q}\n- A{n}: {a}",
        "- **Q:** {q}\n  - **A:** {a}",
        "* **Question:** {q}\n* **Answer:** {a}",
        "{n}. Q: {q}\n   A: {a}",
        "{n}. **Q{n}: {q}**\n   **A{n}:** {a}",
        "{n}、问题：{q}\n答案：{a}",
        "Question {n}: {q}\nAnswer {n}: {a}",
        "Question #{n}: {q}\nAnswer #{n}: {a}",
        "QUESTION {n}: {q}\nANSWER {n}: {a}",
        "Question: {q}\nAnswer: {a}",
        "问题{n}：{q}\n答案{n}：{a}",
        "问题 {n}: {q}\n回答 {n}: {a}",
        "问：{q}\n答：{a}",
        "**问：**{q}\n**答：**{a}",
        "提问：{q}\n回答：{a}",
        "### Pair {n}\nQ: {q}\nA: {a}",
        "**问答对 {n}**\n问：{q}\n答：{a}\n",
        "Q{n}: {q} A{n}: {a}",
        "Q: {q} A: {a}",
        "问：{q}答：{a}",
        "```\nQ{n}: {q}\nA{n}: {a}\n```\n",
    ],
)
def test_forms_of_a_pair(form: str) -> None:
    pairs = enumerate(BOTH, start=1)
    reply = "\n".join(form.format(n=n, q=pair.q, a=pair.a, a_mark=f"### A{n}. ") for n, pair in pairs)
    assert parse_pairs(reply) == BOTH


def test_chinese_numbers() -> None:
    numbers = ("一", "二", "十", "十一", "二十", "二十一")
    reply = "\n".join(f"问题{number}：第{number}\n答案{number}：答{number}" for number in numbers)
    assert read(reply) == [(f"第{number}", f"答{number}") for number in numbers]
    assert read("问题九：a\n答案九：b\n问题十：c\n问题十一：d\n答案十一：e") == [("a", "b"), ("d", "e")]


PLAIN = f"Q1: {LAMP.q}\nA1: {LAMP.a}\n\nQ2: {BULB.q}\nA2: {BULB.a}"


@pytest.mark.parametrize(
    "around",
    [
        "```\n{}\n```",
        "```text\n{}\n```\n",
        "~~~\n{}\n~~~",
        "Here they are:\n\n```markdown\n{}\n```\n\nHope this helps!",
        "```\n{}",
        "Sure! Here are the pairs:\n\n{}",
        "# Questions and answers\n\n## Lamps\n\n{}",
        "{}\n\nI hope these pairs help.",
        "{}\n\n---\n\nLet me know if you want more.",
        "{}\n\n以上就是根据文本整理的问答对。",
        "{}\n\n希望这些问答对您有帮助！",
        "{}\n\n如果需要更多问答，请告诉我。",
        "<think>Which bulb?\nQ1: a draft\nA1: of a pair</think>\n{}",
        "\n<thinking>\nhm\n</thinking>\n\n{}",
        "Q1: a draft\nA1: of a pair\n</think>\n\n{}",
        "<think></think>```\n{}\n```",
        "{}\n\nQ3: What was cut off?",
        "{}\nQ3: What was cut off?\nA3:",
        "{}\n\n" + PLAIN,
    ],
)
def test_what_is_around_the_pairs(around: str) -> None:
    assert parse_pairs(around.format(PLAIN)) == BOTH


def test_a_thought_that_does_not_end_has_no_pairs() -> None:
    assert parse_pairs(f"<think>\n{PLAIN}") == ()


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " \n",
        "There are no questions.",
        "Q1:\nA1: x",
        "Q1: x\nA1:  ",
        "Q1: x",
        "A1: x",
        "Q1 x\nA1 y",
        "{}",
        "[]",
    ],
)
def test_no_pairs(reply: str) -> None:
    assert parse_pairs(reply) == ()


def test_pairs_with_an_empty_side_are_left_out() -> None:
    assert read("Q1:\nA1: x\nQ2: y\nA2:\nQ3: q\nA3: a\nQ4: **\nA4: ") == [("q", "a")]


def test_a_question_in_the_middle_without_an_answer() -> None:
    assert read("Q1: a\nA1: b\nQ2: c\n\nQ3: d\nA3: e") == [("a", "b"), ("d", "e")]
    assert read("Q: a\nA: b\nQ: c\n\nQ: d\nA: e") == [("a", "b"), ("d", "e")]


# Reading: answers that look like something else

LONG = """\
Do this:

1. Open the file.
   - It is `lamp.toml`.
2. Write:

```text
Q2: not a question
A2: not an answer
A: nor this
```

| part | price |
|------|-------|
| bulb | 2 €   |

![lamp](https://lamps.example/a.png) and [more](https://lamps.example/b)

    indented code
"""


@pytest.mark.parametrize(
    "mark", ["Q{}:{} A{}:", "**Q{}:**{}**A{}:**", "### Q{}{}### A{}", "问题{}：{}答案{}："]
)
def test_an_answer_of_many_kinds(mark: str) -> None:
    first = mark.format(1, " How?\n" if ":" in mark or "：" in mark else "\nHow?\n", 1)
    second = mark.format(2, " Why?\n" if ":" in mark or "：" in mark else "\nWhy?\n", 2)
    assert read(f"{first}\n{LONG}\n{second}\nSo.") == [("How?", LONG.strip()), ("Why?", "So.")]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("He said:\nA: yes\nB: no", id="options"),
        pytest.param("As they said:\nQ: really?\nA: really.", id="a dialogue without numbers"),
        pytest.param("By quarter:\nQ1: 10\nQ2: 12\nQ3: 9\nQ4: 11", id="quarters"),
        pytest.param("Cells:\nA1: 10\nA2: 12", id="cells"),
        pytest.param("A question. Answer: none.\nAnswering: well", id="words"),
        pytest.param("```\nQ2: x\nA2: y\n```", id="a code block at once"),
        pytest.param("~~~md\n```\nQ2: x\nA2: y\n```\n~~~", id="a code block in a code block"),
        pytest.param("```\n```md\nQ2: x\nA2: y\n```", id="code that looks like the beginning of code"),
        pytest.param("Well.\n\nHope this helps!", id="a remark in the middle"),
        pytest.param("```sh\n## not a heading\n```", id="a comment at the end of code"),
        pytest.param("a\n\nb\n\n\nc", id="paragraphs"),
        pytest.param("- a\n  - b\n    - c", id="a list with levels"),
        pytest.param("Use **bold** and __init__.", id="bold"),
        pytest.param('{"q": "x", "a": "y"}', id="json"),
        pytest.param("Close it with `</think>`.", id="the end of a thought"),
    ],
)
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_answers_stay_as_they_are(said: str, is_wrapped: bool) -> None:
    reply = f"Q1: one?\nA1: {said}\n\nQ2: two?\nA2: second"
    if is_wrapped:
        reply = f"````\n{reply}\n````" if "```" in said else f"```\n{reply}\n```"
    assert read(reply) == [("one?", said), ("two?", "second")]


def test_a_code_block_in_the_code_block_around_all() -> None:
    reply = "```\nQ1: one?\nA1: so:\n```python\nx = 1\n```\nQ2: two?\nA2: second\n```\nBye!"
    assert read(reply) == [("one?", "so:\n```python\nx = 1\n```"), ("two?", "second")]


def test_code_blocks_beside_each_other() -> None:
    pairs = "Q1: one?\nA1: so:\n```python\nx = 1\n```\nQ2: two?\nA2: second"
    expected = [("one?", "so:\n```python\nx = 1\n```"), ("two?", "second")]
    assert read(f"```\n{pairs}") == expected
    assert read(f"Of this:\n```\nx\n```\n{pairs}") == expected


def test_quarters_where_pairs_have_no_numbers() -> None:
    assert read("Q: one?\nA: Well:\nQ1: 10\nQ2: 12\n\nQ: two?\nA: second") == [
        ("one?", "Well:\nQ1: 10\nQ2: 12"),
        ("two?", "second"),
    ]
    assert read("Q: one?\nA: Well:\nQ1: 10\nQ2: 12") == [("one?", "Well:\nQ1: 10\nQ2: 12")]


def test_a_code_block_that_does_not_end() -> None:
    assert read("Q1: one?\nA1: so:\n```\nx\nQ2: two?\nA2: second") == [
        ("one?", "so:\n```\nx"),
        ("two?", "second"),
    ]


def test_a_question_of_several_lines() -> None:
    reply = "Q1: Which?\nA: brass\nB: tin\nA1: A, brass."
    assert read(reply) == [("Which?\nA: brass\nB: tin", "A, brass.")]


@pytest.mark.parametrize("cell", ["A3: 10", "A1.5 is a version", "A10: 10"])
def test_a_question_with_a_line_like_an_answer(cell: str) -> None:
    assert read(f"Q1: Which?\n{cell}\nA1: none") == [(f"Which?\n{cell}", "none")]
    assert read(f"Q1: Which?\n{cell}\nA: none") == [(f"Which?\n{cell}", "none")]


def test_an_answer_in_a_list_loses_the_indentation_of_its_item() -> None:
    reply = "1. Q: How?\n   A: So:\n   - a\n     - b\n2. Q: Why?\n   A: x\n  y"
    assert read(reply) == [("How?", "So:\n- a\n  - b"), ("Why?", "x\n  y")]


@pytest.mark.parametrize(
    "said", [" Hope this helps!", "\nHope this helps!", " Well.\nSo.\nHope this helps!", " ---"]
)
def test_an_answer_that_is_no_more_than_what_is_left_out_elsewhere(said: str) -> None:
    assert read(f"Q1: How does the letter end?\nA1:{said}") == [("How does the letter end?", said.strip())]


# Reading: JSON

OBJECTS = [{"q": pair.q, "a": pair.a} for pair in BOTH]


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps(OBJECTS),
        json.dumps(OBJECTS, indent=2),
        json.dumps({"pairs": OBJECTS}),
        json.dumps({"lamps": OBJECTS[:1], "bulbs": {"all": OBJECTS[1:]}}),
        json.dumps([{"question": pair.q, "answer": pair.a} for pair in BOTH]),
        json.dumps([{"Question": pair.q, "Answer": pair.a, "id": 1} for pair in BOTH]),
        json.dumps([{"问题": pair.q, "答案": pair.a} for pair in BOTH], ensure_ascii=False),
        json.dumps({"Q1": LAMP.q, "A1": LAMP.a, "Q2": BULB.q, "A2": BULB.a}),
        "\n".join(map(json.dumps, OBJECTS)),
        "```json\n" + json.dumps(OBJECTS, indent=2) + "\n```",
        "Here {is} your list:\n" + json.dumps(OBJECTS) + "\nBye {",
        json.dumps([*OBJECTS, {"q": "cut off", "a": "half an ans"}])[:-8],
        "<think>hm</think>" + json.dumps(OBJECTS),
        json.dumps([*OBJECTS, {"q": "", "a": "x"}, {"q": "x"}, {"q": "x", "a": None}]),
    ],
)
def test_json(reply: str) -> None:
    assert parse_pairs(reply) == BOTH


def test_json_with_lines_as_they_are() -> None:
    assert read('[{"q": "x", "a": "1\n2"}]') == [("x", "1\n2")]


def test_json_that_is_nested_beyond_reason() -> None:
    assert parse_pairs('{"q":' * 20_000) == ()
    assert parse_pairs('{"x":' * 500 + json.dumps(OBJECTS) + "}" * 500) == BOTH


# Reading: properties

words = st.text("ab 文字\n", min_size=1, max_size=30).map(str.strip).filter(bool)


@given(st.lists(st.builds(QaPair, words, words), max_size=6, unique=True))
def test_pairs_in_the_form_are_read_to_the_letter(pairs: list[QaPair]) -> None:
    reply = "\n".join(f"Q{n}: {pair.q}\nA{n}: {pair.a}" for n, pair in enumerate(pairs, start=1))
    assert parse_pairs(reply) == tuple(pairs)


marks = st.sampled_from(
    [
        "Q1:",
        "A1:",
        "Q:",
        "A:",
        "问：",
        "**",
        "```",
        "~~~",
        "---",
        "<think>",
        "</think>",
        '{"q":',
        '"x"',
        "\n",
        " ",
        "1.",
    ]
)


@given(st.lists(marks | st.text(max_size=5), max_size=40).map("".join))
def test_any_reply_can_be_read(reply: str) -> None:
    for pair in parse_pairs(reply):
        assert pair.q.strip() == pair.q != ""
        assert pair.a.strip() == pair.a != ""


@pytest.mark.parametrize(
    "piece", ["\n", " ", "Q1: x\n", "A1:", "```\n", "**", "{", '{"', "<think>", "#", "Q1: x?A1: y\n"]
)
def test_reading_takes_time_in_proportion(piece: str) -> None:
    started = time.process_time()
    parse_pairs(piece * (MAX_REPLY_CHARS // len(piece)))
    assert time.process_time() - started < 5


# Asking


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
