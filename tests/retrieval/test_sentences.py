"""Where sentences end, in chunks and in windows."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.sentences import sentence_ends


def sentences(text: str) -> list[str]:
    ends = [end for end in sentence_ends(text, 0, len(text)) if end < len(text)]
    return [text[start:end].strip() for start, end in pairwise([0, *ends, len(text)])]


@pytest.mark.parametrize(
    "parts",
    [
        ["他走了。", "她问：“去哪儿？！”", "没有人回答……", "天黑了；", "风起了"],
        ["“好。”", "他说。", "（完。）", "「是！」", "后来"],
        ['他说，"好。"', "然后走了。", '"好。"'],
        ["价格是3.14元。", "Version 2.0发布了！"],
        ["It rains.", "Does it?", "“Yes!”", "(It does.)", "**Good.**", "End"],
        ["Ask Dr. Smith, Mr. Jones or J. R. Hall, e.g. by mail.", "Then wait."],
        ["See Fig. 3, No. 5 and pp. 7 to 9 vs. the rest.", "No.", "Not at all."],
        ["It cost 3.50 in the U.S. market, i.e. much.", "In 1999.", "So did I.", "Fine"],
        ["Wait... what?", "“Stop!” he said."],
        ["1. Grind.", "2. Brew."],
        ["That is it.", "中文句子。", "And more."],
    ],
)
def test_sentences(parts: list[str]) -> None:
    is_chinese = not parts[0].isascii() and not parts[0].startswith("That")
    text = "".join(parts) if is_chinese else " ".join(parts)
    assert sentences(text) == parts


def test_a_number_that_starts_a_line_begins_its_sentence() -> None:
    assert sentences("Grind.\n1. Fine") == ["Grind.", "1. Fine"]


def test_marks_of_another_script_end_chinese_sentences() -> None:
    assert sentences('你好!在吗?!他说"好?"然后“好!”「走?」走了?https://a.b/?q=1!x 见') == [
        "你好!",
        "在吗?!",
        '他说"好?"',
        "然后“好!”",
        "「走?」",
        "走了?https://a.b/?q=1!x 见",
    ]


def test_a_part_of_a_text_is_looked_at_alone() -> None:
    text = "一。二。Three is. Four is. Five"
    assert list(sentence_ends(text, 0, len(text))) == [2, 4, 13, 22]
    assert list(sentence_ends(text, 2, 14)) == [4]
    assert list(sentence_ends(text, 2, 15)) == [4, 13]


@given(st.text("aZ1 .!?。？“”\"'」\n一二", max_size=60))
def test_ends_ascend_within_the_text(text: str) -> None:
    ends = list(sentence_ends(text, 0, len(text)))
    assert ends == sorted(set(ends))
    assert all(0 < end <= len(text) for end in ends)


@pytest.mark.parametrize("mark", [*"!?.。…\"”'", "!”", '"!', ". ", "A. "])
def test_many_marks_take_no_longer_each(mark: str) -> None:
    started = time.perf_counter()
    list(sentence_ends(mark * 100_000, 0, 100_000 * len(mark)))
    assert time.perf_counter() - started < 5
