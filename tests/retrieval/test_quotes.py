"""Repeats, threshold and budgets: pure steps from candidates to quotes."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.quotes import Budgeted, apply_budget, apply_similarity, content_key, drop_repeats
from retrieval.types import Quote, Record, Score

MOMENT = datetime(2025, 1, 1, tzinfo=UTC)


def record(q: str, a: str = "", tokens: int = 1) -> Record:
    return Record(f"id of {q}", "dataset", "collection", q, a, 0, tokens, MOMENT)


def quote(q: str = "q", a: str = "", tokens: int = 1, score: float = 0.5) -> Quote:
    return Quote(record(q, a, tokens), "collection", (Score("embedding", score, 0),), 1)


def costing(*tokens: int) -> list[Quote]:
    return [quote(f"q{place}", tokens=cost) for place, cost in enumerate(tokens)]


def costs(budgeted: Budgeted) -> list[int]:
    return [kept.record.tokens for kept in budgeted.quotes]


# Repeats


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (record("How long?", "Ten days."), record("How long", "Ten days")),
        (record("How long?", "Ten days."), record("Howlong?Ten", "days")),
        (record("咖啡豆怎么保存？", "密封，避光。"), record("咖啡豆 怎么保存?", "密封, 避光")),
        (record("a\u3000b\u2028c"), record("a b\nc")),
        (record("…！？"), record("…！", "？")),
    ],
)
def test_records_that_differ_in_spaces_and_punctuation_are_repeats(left: Record, right: Record) -> None:
    assert content_key(left) == content_key(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (record("10 days"), record("20 days")),
        (record("A"), record("a")),
        (record("咖啡"), record("咖 啡 豆")),
        (record("…！"), record("…？")),
        (record("?"), record("!")),
        (record("a", "b"), record("b", "a")),
        (record("①"), record("②")),
    ],
)
def test_records_that_differ_in_more_are_not_repeats(left: Record, right: Record) -> None:
    assert content_key(left) != content_key(right)


def test_the_best_of_each_content_stays_in_its_place() -> None:
    quotes = [
        quote("Opening hours?", "9 to 5", score=0.9),
        quote("Prices?", "10", score=0.8),
        quote("Opening hours", "9 to 5.", score=0.7),
        quote("Opening hours?", "9 to 6", score=0.6),
        quote("prices", "10", score=0.5),
        quote("Prices", "(10)", score=0.4),
    ]
    assert list(drop_repeats(quotes)) == [quotes[0], quotes[1], quotes[3], quotes[4]]


def test_no_quotes_no_repeats() -> None:
    assert list(drop_repeats([])) == []


@given(st.lists(st.text("ab?! ", max_size=3)))
def test_dropping_repeats_keeps_the_first_of_each_key_and_is_idempotent(texts: list[str]) -> None:
    quotes = [quote(text) for text in texts]
    kept = list(drop_repeats(quotes))
    keys = [content_key(one.record) for one in kept]
    assert len(set(keys)) == len(keys)
    assert set(keys) == {content_key(one.record) for one in quotes}
    first = {content_key(one.record): one for one in reversed(quotes)}
    assert kept == [one for place, one in enumerate(quotes) if one is first[keys_of(quotes)[place]]]
    assert list(drop_repeats(kept)) == kept


def keys_of(quotes: Sequence[Quote]) -> list[str]:
    return [content_key(one.record) for one in quotes]


# Threshold


def test_similarity_is_inclusive() -> None:
    just_below, just_above = (float(np.nextafter(0.7, direction)) for direction in (0, 1))
    quotes = [quote(score=score) for score in (1.0, just_above, 0.7, just_below, 0.0)]
    assert list(apply_similarity(quotes, just_above)) == quotes[:2]
    assert list(apply_similarity(quotes, 0.7)) == quotes[:3]
    assert list(apply_similarity(quotes, just_below)) == quotes[:4]
    assert list(apply_similarity(quotes, 0.0)) == quotes
    assert list(apply_similarity(quotes, 1.0)) == quotes[:1]


def test_the_first_score_decides() -> None:
    reranked = Quote(record("q"), "collection", (Score("rerank", 0.2, 0), Score("embedding", 0.9, 3)), 1)
    assert reranked.score == 0.2
    assert list(apply_similarity([reranked], 0.5)) == []


# Budgets


@pytest.mark.parametrize(
    ("tokens", "limit", "top_k", "kept", "is_full"),
    [
        ([], 100, None, [], False),
        ([], 100, 1, [], False),
        ([40, 30, 20], 100, None, [40, 30, 20], False),
        ([40, 30, 20], 91, None, [40, 30, 20], False),
        ([40, 30, 20], 90, None, [40, 30, 20], True),
        ([40, 30, 20], 89, None, [40, 30], True),
        ([40, 30, 20], 70, None, [40, 30], True),
        ([40, 30, 20], 69, None, [40], True),
        ([40, 30, 20], 1, None, [40], True),
        ([500], 100, None, [500], True),
        ([100], 100, None, [100], True),
        ([99], 100, None, [99], False),
        ([50, 60, 10], 100, None, [50], True),
        ([40, 30, 20], 100, 1, [40], True),
        ([40, 30, 20], 100, 2, [40, 30], True),
        ([40, 30, 20], 100, 3, [40, 30, 20], True),
        ([40, 30, 20], 100, 4, [40, 30, 20], False),
        ([40, 30, 20], 50, 2, [40], True),
    ],
)
def test_budget(tokens: list[int], limit: int, top_k: int | None, kept: list[int], is_full: bool) -> None:
    budgeted = apply_budget(costing(*tokens), limit, top_k)
    assert (costs(budgeted), budgeted.is_full) == (kept, is_full)


token_lists = st.lists(st.integers(1, 60), max_size=12)
limits = st.integers(1, 200)
top_ks = st.none() | st.integers(1, 14)


@given(token_lists, limits, top_ks)
def test_budget_keeps_the_longest_prefix_that_fits(tokens: list[int], limit: int, top_k: int | None) -> None:
    quotes = costing(*tokens)
    kept = apply_budget(quotes, limit, top_k).quotes
    assert kept == tuple(quotes[: len(kept)])
    assert bool(kept) == bool(quotes)
    assert len(kept) == 1 or sum(tokens[: len(kept)]) <= limit
    assert top_k is None or len(kept) <= top_k
    if len(kept) < len(quotes) and len(kept) != top_k:
        assert sum(tokens[: len(kept) + 1]) > limit


@given(token_lists, token_lists, limits, top_ks)
def test_more_candidates_cannot_change_what_is_full(
    tokens: list[int], more: list[int], limit: int, top_k: int | None
) -> None:
    budgeted = apply_budget(costing(*tokens), limit, top_k)
    with_more = apply_budget(costing(*tokens, *more), limit, top_k)
    if budgeted.is_full:
        assert with_more == budgeted
    else:
        assert with_more.quotes[: len(budgeted.quotes)] == budgeted.quotes
        # It was worth looking further: the cheapest quote would have been taken.
        assert costs(apply_budget(costing(*tokens, 1), limit, top_k)) == [*tokens, 1]


# Laziness: a step asks for no more than it needs, because each further quote is read from the store


class Counted:
    """Quotes that count how many of them were asked for."""

    def __init__(self, quotes: Sequence[Quote]) -> None:
        self._quotes = quotes
        self.asked = 0

    def __iter__(self) -> Iterator[Quote]:
        for one in self._quotes:
            self.asked += 1
            yield one


@pytest.mark.parametrize(
    ("limit", "top_k", "asked"),
    [
        (1000, 1, 1),
        (1000, 3, 3),
        (1000, None, 6),
        (20, None, 2),
        (19, None, 2),
        (21, None, 3),
        (10, None, 1),
        (9, None, 1),
    ],
)
def test_a_budget_asks_for_nothing_behind_the_quote_that_fills_it(
    limit: int, top_k: int | None, asked: int
) -> None:
    source = Counted(costing(10, 10, 10, 10, 10, 10))
    apply_budget(source, limit, top_k)
    assert source.asked == asked


def test_nothing_is_asked_for_before_somebody_wants_it() -> None:
    source = Counted([quote(f"q{number}") for number in range(4)])
    steps = apply_similarity(drop_repeats(source), 0.5)
    assert source.asked == 0
    next(steps)
    assert source.asked == 1


def test_repeats_and_what_is_below_the_threshold_are_asked_for_only_up_to_the_next_that_counts() -> None:
    quotes = [
        quote("a", score=0.9),
        quote("a!", score=0.8),
        quote("b", score=0.25),
        quote("c", score=0.75),
        quote("d", score=0.7),
    ]
    source = Counted(quotes)
    steps = apply_similarity(drop_repeats(source), 0.5)
    assert next(steps) is quotes[0]
    assert source.asked == 1
    assert next(steps) is quotes[3]
    assert source.asked == 4


def test_the_whole_line_of_steps_stops_with_the_budget() -> None:
    source = Counted([quote("same"), quote("same!"), quote("other"), quote("third"), quote("fourth")])
    budgeted = apply_budget(apply_similarity(drop_repeats(source), 0.0), 1000, 2)
    assert [kept.record.q for kept in budgeted.quotes] == ["same", "other"]
    assert source.asked == 3
