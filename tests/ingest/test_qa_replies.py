"""A model's replies, read as q/a pairs: the form that is asked for, and what models make of it."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.qa_replies import QaPair, parse_pairs
from ingest.qa_split import MAX_REPLY_CHARS

LAMP = QaPair("What is the lamp made of?", "Brass.")
BULB = QaPair("Which bulb fits?", "An E14 bulb.")
BOTH = (LAMP, BULB)


def read(reply: str) -> list[tuple[str, str]]:
    return [(pair.q, pair.a) for pair in parse_pairs(reply)]


# The form that was asked for, and what models make of it


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


# Answers that look like something else

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


# JSON

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


# Properties

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
