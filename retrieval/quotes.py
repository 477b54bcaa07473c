"""From candidates to quotes: repeats, threshold and budgets, as pure functions of lists.

All take quotes best first and keep their order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retrieval.types import Quote, Record


@dataclass(frozen=True, slots=True)
class Budgeted:
    """What fits. ``is_full`` says that more candidates could not change it."""

    quotes: tuple[Quote, ...]
    is_full: bool


def content_key(record: Record) -> str:
    """Equal for records that differ in nothing but spaces and punctuation."""
    text = record.q + record.a
    return "".join(character for character in text if character.isalnum()) or text


def drop_repeats(quotes: Iterable[Quote]) -> list[Quote]:
    """The best of each content."""
    best: dict[str, Quote] = {}
    for quote in quotes:
        best.setdefault(content_key(quote.record), quote)
    return list(best.values())


def apply_similarity(quotes: Iterable[Quote], similarity: float) -> list[Quote]:
    """Those whose deciding score is at least ``similarity``."""
    return [quote for quote in quotes if quote.score >= similarity]


def apply_budget(quotes: Sequence[Quote], limit: int, top_k: int | None = None) -> Budgeted:
    """The longest run of best quotes within ``limit`` tokens, and ``top_k`` quotes at most.

    The best quote is kept even if it alone exceeds the limit. A worse quote never takes the place
    of a better one that did not fit.
    """
    kept: list[Quote] = []
    tokens = 0
    for quote in quotes:
        if len(kept) == top_k:
            break
        tokens += quote.record.tokens
        if kept and tokens > limit:
            return Budgeted(tuple(kept), is_full=True)
        kept.append(quote)
    return Budgeted(tuple(kept), is_full=len(kept) == top_k or tokens >= limit)
