"""From an order to a result: repeats, threshold and budgets, quote by quote.

A quote that is dropped never makes room for a worse one within the same budget, and every decision
says what it was made by.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from retrieval.types import Decision, Quote, Record, RecordDraft

_ASCII_MARKS = {code: None for code in range(128) if not chr(code).isalnum()}
_MARKS = re.compile(r"[\W_]+")


def content_key(record: Record | RecordDraft) -> str:
    """Equal for records that differ in nothing but spaces and punctuation."""
    text = record.q + record.a
    return _letters_and_digits(text) or text


def _letters_and_digits(text: str) -> str:
    # Translating is twenty times as quick as the expression where all is ASCII, and half as quick where it is not.
    return text.translate(_ASCII_MARKS) if text.isascii() else _MARKS.sub("", text)


HEAD = 24
"""Letters and digits by which most contents differ; they are looked for in twice as many characters."""


def _content_head(record: Record) -> str:
    """Equal for records of equal :func:`content_key`, and quicker to have."""
    text = record.q + record.a
    head = _letters_and_digits(text[: 2 * HEAD])
    return (head if len(head) >= HEAD else content_key(record))[:HEAD]


@dataclass(slots=True)
class Repeats:
    """Tells quotes that say the same as one before."""

    _heads: dict[str, Record | dict[str, str]] = field(default_factory=dict)
    """By the head of a content the one record that has it, or the ids by the contents of all that have."""

    def find(self, quote: Quote) -> Decision | None:
        """That the quote repeats another; ``None`` if it does not."""
        head = _content_head(quote.record)
        alike = self._heads.get(head)
        if alike is None:
            self._heads[head] = quote.record
            return None
        if not isinstance(alike, dict):
            alike = self._heads[head] = {content_key(alike): alike.id}
        key = content_key(quote.record)
        first = alike.get(key)
        if first is None:
            alike[key] = quote.record.id
            return None
        return Decision(quote, "repeat", f"says the same as {first}")


@dataclass(slots=True)
class Budgets:
    """The threshold and the budgets of one search, applied to quotes from the best to the worst.

    Args:
        similarity: lowest score to keep, inclusive.
        filtered_by: the type of score that is compared with it; a quote without one is kept.
        limit: tokens of all quotes together. The best quote is kept even if it alone has more.
        top_k: most quotes.
        per_source: most quotes of one collection.
    """

    similarity: float
    filtered_by: Literal["embedding", "reRank"] | None
    limit: int
    top_k: int | None = None
    per_source: int | None = None
    kept: list[Quote] = field(default_factory=list)
    is_full: bool = False
    """Whether worse quotes could not change the result."""
    _tokens: int = 0
    _full_by: Literal["limit", "topK"] = "limit"
    _sources: Counter[str] = field(default_factory=Counter)

    def decide(self, quote: Quote) -> Decision:
        """Keep the quote, or say what drops it."""
        score = quote.score_of(self.filtered_by) if self.filtered_by else None
        if score is not None and score < self.similarity:
            return Decision(
                quote, "similarity", f"{self.filtered_by} {score:.4f} is below {self.similarity:g}"
            )
        if self.is_full:
            return Decision(quote, self._full_by, self._fullness())
        source = quote.record.collection_id
        if self.per_source is not None and self._sources[source] >= self.per_source:
            return Decision(quote, "perSource", f"{self.per_source} quotes of its collection are better")
        tokens = self._tokens + quote.record.tokens
        if self.kept and tokens > self.limit:
            self.is_full = True
            return Decision(
                quote,
                "limit",
                f"with its {quote.record.tokens} tokens there would be {tokens} of {self.limit}",
            )
        self._keep(quote, tokens)
        return Decision(quote, "", "")

    def _keep(self, quote: Quote, tokens: int) -> None:
        self.kept.append(quote)
        if self.per_source is not None:
            self._sources[quote.record.collection_id] += 1
        self._tokens = tokens
        if len(self.kept) == self.top_k:
            self.is_full, self._full_by = True, "topK"
        elif tokens >= self.limit:
            self.is_full = True

    def _fullness(self) -> str:
        if self._full_by == "topK":
            return f"{self.top_k} quotes are better"
        return f"better quotes fill the {self.limit} tokens"
