"""The q/a pairs in a model's reply, which may say them in many ways."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import NamedTuple

MAX_BROKEN_OBJECTS = 1000
"""Braces that begin no JSON: after so many, none is looked for."""


@dataclass(frozen=True, slots=True)
class QaPair:
    """A question and its answer, neither of them empty."""

    q: str
    a: str


def parse_pairs(reply: str) -> tuple[QaPair, ...]:
    """The pairs in a model's reply, without repeats; none if it has none.

    They are lines ``Q1: …`` and ``A1: …``, with what models make of them (other words, no numbers,
    bold, headings, lists, a code block around all), or JSON objects with a question and an answer.
    What comes before the first pair is left out, and so is a question without an answer.
    """
    body = _THOUGHTS.sub("", reply)
    found = _from_lines(_unwrapped(body.split("\n"))) or _from_json(body)
    stripped = (QaPair(pair.q.strip(), pair.a.strip()) for pair in found)
    return tuple(dict.fromkeys(pair for pair in stripped if pair.q and pair.a))


# Reading lines

_THOUGHTS = re.compile(
    r"\A\s*<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)"
    # Some templates open the block themselves, so that only its end is in the reply.
    r"|\A(?:(?!<think).)*?^[ \t]*</(?:think|thinking)>[ \t]*$",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)

_MARK = re.compile(
    r"""
    (?P<indent> [ \t]* (?: [-*+•] [ \t]+ | \d{1,3} [.)、] [ \t]* )? )
    (?: \#{1,6} [ \t]* )?
    (?P<bold> \*\*|__|\*|_ )?
    [\[【]?
    (?: (?P<question> question|问题|提问|问|[QＱ] ) | answer|答案|回答|答|[AＡ] )
    (?: [ ]? [#.\-(（]? [ ]? (?P<number> \d{1,4} | [一二三四五六七八九十]{1,3} ) [)）]? )?
    [\]】]?
    (?P<closed> (?P=bold) )?
    [ \t]*
    (?: [:：] | (?(number) (?: [.．、)）] (?!\d) | [-–—][ ] | $ ) | (?!) ) )
    (?(closed) | (?P<closed_late> (?P=bold) )? )
    """,
    re.VERBOSE | re.IGNORECASE,
)

_INLINE_ANSWER = re.compile(
    r"(?<=[\s?？.。!！])[*_]*(?:answer|答案|回答|答|A)[ ]?\d*[*_]*[:：][*_]*", re.IGNORECASE
)

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*([^`]*)\Z")

_BETWEEN_PAIRS = re.compile(
    r"\s*(?:[-*_=]{3,}|\#{2,6}\s.*|[\s*#]*(?:pair|q\s*&\s*a|qa|问答对?|第)\s*\d+\s*[对组个]?[\s*:：.]*)?\s*",
    re.IGNORECASE,
)

_CLOSING_REMARK = re.compile(
    r"(?:i )?hope (?:this|these) |let me know if |feel free to (?:ask|let me)\b"
    r"|(?:these|the above|above) .{0,20}(?:pairs|questions|q&a)|希望(?:以上|这些|这)"
    r"|(?:以上|上述)(?:就?是|为|共).{0,20}(?:问答|问题)|如(?:果|需|有).{0,20}(?:告诉我|随时)",
    re.IGNORECASE,
)

_CHINESE_DIGITS = {digit: value for value, digit in enumerate("一二三四五六七八九", start=1)}


class _Mark(NamedTuple):
    """Where a question or an answer begins. ``rest`` is its first line."""

    line: int
    is_question: bool
    number: int | None
    indent: int
    rest: str


def _from_lines(lines: Sequence[str]) -> list[QaPair]:
    found = _matched(_marks(lines))
    ends = [*(question.line for question, _ in found[1:]), len(lines)]
    pairs = []
    for (question, answer), end in zip(found, ends, strict=False):
        if answer:
            q = "\n".join([question.rest, *lines[question.line + 1 : answer.line]])
            a = _dedented([answer.rest, *lines[answer.line + 1 : end]], answer.indent)
        elif inline := _INLINE_ANSWER.search(question.rest):
            q = question.rest[: inline.start()]
            a = [question.rest[inline.end() :], *lines[question.line + 1 : end]]
        else:
            continue
        pairs.append(QaPair(_question(q), _answer(a, is_last=end == len(lines))))
    return pairs


def _marks(lines: Sequence[str]) -> list[_Mark]:
    """All lines that look like the beginning of a question or an answer, but for those in code."""
    is_code = _code(lines)
    marks = []
    for place, line in enumerate(lines):
        found = None if is_code[place] else _MARK.match(line.rstrip())
        if found:
            rest = line[found.end() :]
            if found["bold"] and not found["closed"] and not found["closed_late"]:
                rest = rest.replace(found["bold"], "", 1)
            number = _number(found["number"]) if found["number"] else None
            marks.append(_Mark(place, bool(found["question"]), number, len(found["indent"]), rest))
    return marks


def _matched(marks: Sequence[_Mark]) -> list[tuple[_Mark, _Mark | None]]:
    """The questions with their answers; marks that are part of a question or an answer are left out."""
    found = _with_answers(marks)
    answered = [question.number for question, answer in found if answer]
    if answered and answered[0] is not None:
        # Where pairs are numbered, what has no number is what somebody says in an answer.
        found = _with_answers([mark for mark in marks if mark.number is not None or not mark.is_question])
    kept = []
    before = 0.0
    for (question, answer), after in zip(found, _next_answered(found), strict=True):
        number = question.number
        if answer:
            before = inf if number is None else number
        # A question without an answer is one if its number is one that the pairs around it leave free.
        if answer or number is None or before < number < after or _INLINE_ANSWER.search(question.rest):
            kept.append((question, answer))
    return kept


def _next_answered(found: Sequence[tuple[_Mark, _Mark | None]]) -> list[float]:
    """For each question the number of the next that has an answer: infinite if there is none, 0 if it has none."""
    numbers = []
    after = inf
    for question, answer in reversed(found):
        numbers.append(after)
        if answer:
            after = question.number or 0
    return numbers[::-1]


def _with_answers(marks: Sequence[_Mark]) -> list[tuple[_Mark, _Mark | None]]:
    starts = [place for place, mark in enumerate(marks) if mark.is_question]
    return [
        (marks[start], _pick(marks[start], marks[start + 1 : end]))
        for start, end in pairwise([*starts, len(marks)])
    ]


def _pick(question: _Mark, answers: Sequence[_Mark]) -> _Mark | None:
    """The one with the question's number, or else the first without any, or else the first."""
    return min(
        answers,
        key=lambda answer: (answer.number != question.number, answer.number is not None),
        default=None,
    )


def _code(lines: Sequence[str]) -> list[bool]:
    """Whether each line is in a code block; a block that nothing closes is none."""
    is_code = [False] * len(lines)
    fence, start = "", 0
    for place, line in enumerate(lines):
        found = _fence(line)
        if not found:
            continue
        if not fence:
            fence, start = found[1], place + 1
        elif found[1].startswith(fence) and not found[2].strip():
            is_code[start : place + 1] = [True] * (place + 1 - start)
            fence = ""
    return is_code


def _fence(line: str) -> re.Match[str] | None:
    return _FENCE.match(_MARK.sub("", line, count=1) if _MARK.match(line) else line)


def _unwrapped(lines: list[str]) -> list[str]:
    """The lines in the code block around the pairs, or in those around each, if there is one."""
    first = next((place for place, line in enumerate(lines) if _MARK.match(line)), 0)
    openings = [(place, found[1]) for place in range(first) if (found := _fence(lines[place]))]
    if len(openings) % 2 == 0:
        return lines
    start, wrapper = openings[-1]
    inside = lines[start + 1 :]
    fences = [place for place, line in enumerate(inside) if (found := _fence(line)) and found[1] == wrapper]
    for closing, opening in pairwise(fences):
        if not any(line.strip() for line in inside[closing + 1 : opening]):
            inside[closing] = inside[opening] = ""
    return inside[: fences[-1]] if len(fences) % 2 else inside


def _question(text: str) -> str:
    bold = re.fullmatch(r"\*\*([^*]+)\*\*", text.strip())
    return bold[1] if bold else text


def _dedented(lines: list[str], indent: int) -> list[str]:
    """The lines without the indentation of the list item that the answer is, if all have it."""
    first, *others = lines
    is_indented = all(line[:indent].isspace() for line in others if line.strip())
    return [first, *(line[indent:] for line in others)] if indent and is_indented else lines


def _answer(lines: list[str], is_last: bool) -> str:
    kept = _without_rules(lines)
    if is_last and len(kept) > 2 and not kept[-2].strip() and _CLOSING_REMARK.match(kept[-1].strip()):
        kept = _without_rules(kept[:-1])
    return "\n".join(kept)


def _without_rules(lines: list[str]) -> list[str]:
    """The lines but for blank ones, rules and headings at their end, which belong to what comes after."""
    end = len(lines)
    while end > 1 and _BETWEEN_PAIRS.fullmatch(lines[end - 1]):
        end -= 1
    return lines[:end]


def _number(text: str) -> int:
    if text.isdigit():
        return int(text)
    tens, ten, ones = text.rpartition("十")
    return (_CHINESE_DIGITS.get(tens, 1) * 10 if ten else 0) + _CHINESE_DIGITS.get(ones, 0)


# Reading JSON


def _from_json(text: str) -> list[QaPair]:
    """The pairs of all objects that can be read, wherever they are: a list may be cut off."""
    decoder = json.JSONDecoder(strict=False)
    pairs: list[QaPair] = []
    broken = 0
    start = text.find("{")
    while start >= 0 and broken < MAX_BROKEN_OBJECTS:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
            broken += 1
        else:
            pairs.extend(_pairs_in(value))
        start = text.find("{", end)
    return pairs


def _pairs_in(value: object) -> Iterator[QaPair]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as found:
                yield from _pairs_of(found)
                waiting.extend(reversed(found.values()))
            case list() as found:
                waiting.extend(reversed(found))


def _pairs_of(found: dict[str, object]) -> Iterator[QaPair]:
    """Pairs of an object's own fields, such as ``q`` and ``a``, or ``Q1`` and ``A1``."""
    texts: dict[tuple[bool, str | None], str] = {}
    for key, value in found.items():
        mark = _MARK.fullmatch(f"{key}:")
        if mark and isinstance(value, str):
            texts.setdefault((bool(mark["question"]), mark["number"]), value)
    for (is_question, number), text in texts.items():
        if is_question and (False, number) in texts:
            yield QaPair(text, texts[False, number])
