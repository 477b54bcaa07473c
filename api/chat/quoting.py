"""Quotes in a prompt: rendered by the app's templates, and kept in their place.

Quotes, questions and the values of variables are texts of others. They are put in where a template has their
name and not looked at again, so that names in braces in them stand for nothing. What in them looks like the
template's own marks, or like those that language models are trained to take for the border of a message, gets
full-width punctuation: it reads the same and ends nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from api.apps import App
from retrieval.types import Quote

_VARIABLE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")

_NUMBERS = {"index": r"\d{1,6}", "score": r"\d[\d.]{0,7}", "sourceId": r"[\da-f]{1,32}"}
"""What stands for no text of others, of the names that a quote template may have, and how it looks."""

_BORDERS = (
    r"<\|",  # <|im_start|>, <|eot_id|> and their like
    r"</?(?:s|bos|eos|system|user|assistant|start_of_turn|end_of_turn)>",
    r"<</?SYS>>",
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]",
)
"""Where models take a message to begin or to end."""

_BRACKETS = {"]": "[", ")": "(", "}": "{", ">": "<"}

_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F) if not chr(code).isalnum()}


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace ``{{name}}`` by its value, once: what was put in is not looked at again.

    Names without a value stay as they are.
    """
    return _VARIABLE.sub(lambda match: values.get(match[1], match[0]), template)


def render_quotes(quotes: Sequence[Quote], app: App, question: str, variables: Mapping[str, str]) -> str:
    """The quote prompt with every quote in it, numbered from 1; empty without quotes.

    Args:
        variables: their values, already neutral.
    """
    if not quotes:
        return ""
    marks = marks_of(app)
    lines = (
        _render_quote(quote, place, app, marks, variables) for place, quote in enumerate(quotes, start=1)
    )
    quoted = "\n".join(lines)
    return fill(app.quote_prompt, {**variables, "quote": quoted, "question": marks.neutral(question)})


def _render_quote(quote: Quote, place: int, app: App, marks: "Marks", variables: Mapping[str, str]) -> str:
    template = app.quote_template if quote.record.a else app.quote_template.replace("\n{{a}}", "")
    return fill(
        template,
        {
            **variables,
            "q": marks.neutral(quote.record.q),
            "a": marks.neutral(quote.record.a),
            "source": marks.neutral(quote.collection_name),
            "sourceId": quote.record.collection_id,
            "index": str(place),
            "score": f"{quote.score:.4f}",
        },
    )


@dataclass(frozen=True, slots=True)
class Marks:
    """What shows where quotes begin and end: ``borders``, and a bracket behind each quote, or none."""

    borders: re.Pattern[str]
    closing: str

    def neutral(self, text: str) -> str:
        """The text without any of them."""
        text = self.borders.sub(lambda match: _wide(match[0]), text)
        return _without_stray(text, self.closing) if self.closing else text


def marks_of(app: App) -> Marks:
    """Those of an app's templates."""
    return _marks_of(app.quote_template, app.quote_prompt)


@lru_cache(maxsize=256)
def _marks_of(quote_template: str, quote_prompt: str) -> Marks:
    lines = (*quote_template.splitlines(), *quote_prompt.splitlines())
    borders = "|".join((*_BORDERS, *(pattern for line in lines for pattern in _borders_of(line))))
    behind = _VARIABLE.split(quote_template)[-1].strip()
    return Marks(re.compile(borders, re.IGNORECASE | re.MULTILINE), behind if behind in _BRACKETS else "")


def _borders_of(line: str) -> Iterator[str]:
    """Patterns for what in a text would look like this line of a template: its beginning, its end, or all of it."""
    texts = [name for name in _VARIABLE.finditer(line) if name[1] not in _NUMBERS]
    if not texts:
        # A tag does its work anywhere; a heading, or a row of dashes, only where it is a line.
        is_tag = line.strip().startswith("<") and line.strip().endswith(">")
        yield from (
            _pattern_of(line) if is_tag else rf"^[^\S\n]*{pattern}[^\S\n]*$" for pattern in _marks_in(line)
        )
        return
    yield from (rf"^[^\S\n]*{pattern}" for pattern in _marks_in(line[: texts[0].start()]))
    behind = line[texts[-1].end() :]
    if len(behind.strip()) > 1:
        yield from _marks_in(behind)


def _marks_in(literal: str) -> Iterator[str]:
    """The pattern of a literal that has punctuation in it; a sentence without it looks like no mark."""
    if re.search(r"[^\w\s]", _VARIABLE.sub("", literal)):
        yield _pattern_of(literal)


def _pattern_of(literal: str) -> str:
    """Whatever white space it has, and whatever its numbers are."""
    pieces = _VARIABLE.split(literal.strip())
    pieces[::2] = [r"[^\S\n]*".join(map(re.escape, re.split(r"\s+", piece))) for piece in pieces[::2]]
    pieces[1::2] = [_NUMBERS[name] for name in pieces[1::2]]
    return "".join(pieces)


def _wide(mark: str) -> str:
    """The same with full-width punctuation."""
    return mark.translate(_FULL_WIDTH)


def _without_stray(text: str, closing: str) -> str:
    """With brackets that close nothing in the text in full width."""
    opening, depth, kept = _BRACKETS[closing], 0, []
    for character in text:
        is_stray = character == closing and not depth
        depth += (character == opening) - (character == closing and not is_stray)
        kept.append(_wide(character) if is_stray else character)
    return "".join(kept)
