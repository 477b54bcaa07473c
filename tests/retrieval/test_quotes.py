"""Repeats, threshold and budgets: pure steps from candidates to quotes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.quotes import Budgets, Repeats, content_key
from retrieval.types import Quote, Record, Score

MOMENT = datetime(2025, 1, 1, tzinfo=UTC)


def record(q: str, a: str = "", tokens: int = 1) -> Record:
    return Record(f"id of {q}", "dataset", "collection", q, a, 0, tokens, MOMENT)


def quote(q: str = "q", a: str = "", tokens: int = 1, score: float = 0.5) -> Quote:
    return Quote(record(q, a, tokens), "collection", (Score("embedding", score, 0),), 1)


def costing(*tokens: int) -> list[Quote]:
    return [quote(f"q{place}", tokens=cost) for place, cost in enumerate(tokens)]


def costs(budgets: Budgets) -> list[int]:
    return [kept.record.tokens for kept in budgets.kept]


def distinct(quotes: Sequence[Quote]) -> list[Quote]:
    repeats = Repeats()
    return [one for one in quotes if repeats.find(one) is None]


def decided(
    quotes: Sequence[Quote], limit: int = 1000, top_k: int | None = None, per_source: int | None = None
) -> tuple[Budgets, list[str]]:
    budgets = Budgets(0.0, "embedding", limit, top_k, per_source)
    return budgets, [budgets.decide(one).dropped_by for one in quotes]


def above(quotes: Sequence[Quote], similarity: float) -> list[Quote]:
    budgets = Budgets(similarity, "embedding", 1000)
    for one in quotes:
        budgets.decide(one)
    return budgets.kept


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
    assert distinct(quotes) == [quotes[0], quotes[1], quotes[3], quotes[4]]


def test_a_repeat_says_of_which() -> None:
    repeats = Repeats()
    first, again = quote("Prices?", "10"), quote("prices", "10")
    same = quote("Prices", "10!")
    assert (repeats.find(first), repeats.find(again)) == (None, None)
    decision = repeats.find(same)
    assert decision is not None
    assert (decision.quote, decision.dropped_by) == (same, "repeat")
    assert first.record.id in decision.detail


def test_no_quotes_no_repeats() -> None:
    assert distinct([]) == []


@given(st.lists(st.text("ab?! ", max_size=3)))
def test_dropping_repeats_keeps_the_first_of_each_key_and_is_idempotent(texts: list[str]) -> None:
    quotes = [quote(text) for text in texts]
    kept = distinct(quotes)
    keys = [content_key(one.record) for one in kept]
    assert len(set(keys)) == len(keys)
    assert set(keys) == {content_key(one.record) for one in quotes}
    first = {content_key(one.record): one for one in reversed(quotes)}
    assert kept == [one for place, one in enumerate(quotes) if one is first[keys_of(quotes)[place]]]
    assert distinct(kept) == kept


def keys_of(quotes: Sequence[Quote]) -> list[str]:
    return [content_key(one.record) for one in quotes]


# Threshold


def test_similarity_is_inclusive() -> None:
    just_below, just_above = (float(np.nextafter(0.7, direction)) for direction in (0, 1))
    quotes = [quote(score=score) for score in (1.0, just_above, 0.7, just_below, 0.0)]
    assert above(quotes, just_above) == quotes[:2]
    assert above(quotes, 0.7) == quotes[:3]
    assert above(quotes, just_below) == quotes[:4]
    assert above(quotes, 0.0) == quotes
    assert above(quotes, 1.0) == quotes[:1]


def test_the_score_that_is_filtered_decides() -> None:
    reranked = Quote(record("q"), "collection", (Score("reRank", 0.2, 0), Score("embedding", 0.9, 3)), 1)
    assert reranked.score == 0.2
    for filtered_by, dropped_by in (("reRank", "similarity"), ("embedding", ""), (None, "")):
        budgets = Budgets(0.5, filtered_by, 1000)  # type: ignore[arg-type]
        assert budgets.decide(reranked).dropped_by == dropped_by


def test_a_quote_without_the_score_is_kept() -> None:
    found_by_words = Quote(record("q"), "collection", (Score("rrf", 0.01, 0), Score("fullText", 9.0, 0)), 1)
    assert Budgets(1.0, "embedding", 1000).decide(found_by_words).dropped_by == ""


def test_what_the_threshold_drops_takes_no_room() -> None:
    quotes = [quote("a", score=0.1, tokens=90), quote("b", score=0.9, tokens=90)]
    budgets = Budgets(0.5, "embedding", 100)
    assert [budgets.decide(one).dropped_by for one in quotes] == ["similarity", ""]


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
    budgets, _ = decided(costing(*tokens), limit, top_k)
    assert (costs(budgets), budgets.is_full) == (kept, is_full)


token_lists = st.lists(st.integers(1, 60), max_size=12)
limits = st.integers(1, 200)
top_ks = st.none() | st.integers(1, 14)


@given(token_lists, limits, top_ks)
def test_budget_keeps_the_longest_prefix_that_fits(tokens: list[int], limit: int, top_k: int | None) -> None:
    quotes = costing(*tokens)
    budgets, dropped_by = decided(quotes, limit, top_k)
    kept = budgets.kept
    assert kept == quotes[: len(kept)]
    assert dropped_by == [""] * len(kept) + dropped_by[-1:] * (len(quotes) - len(kept))
    assert bool(kept) == bool(quotes)
    assert len(kept) == 1 or sum(tokens[: len(kept)]) <= limit
    assert top_k is None or len(kept) <= top_k
    if len(kept) < len(quotes) and len(kept) != top_k:
        assert sum(tokens[: len(kept) + 1]) > limit


@given(token_lists, token_lists, limits, top_ks)
def test_more_candidates_cannot_change_what_is_full(
    tokens: list[int], more: list[int], limit: int, top_k: int | None
) -> None:
    budgets, _ = decided(costing(*tokens), limit, top_k)
    with_more, _ = decided(costing(*tokens, *more), limit, top_k)
    if budgets.is_full:
        assert with_more.kept == budgets.kept
    else:
        assert with_more.kept[: len(budgets.kept)] == budgets.kept
        # It was worth looking further: the cheapest quote would have been taken.
        assert costs(decided(costing(*tokens, 1), limit, top_k)[0]) == [*tokens, 1]


def test_each_budget_says_so() -> None:
    assert decided(costing(40, 30, 20), 60)[1] == ["", "limit", "limit"]
    assert decided(costing(40, 30, 20), 70)[1] == ["", "", "limit"]
    assert decided(costing(40, 30, 20), 1000, 1)[1] == ["", "topK", "topK"]


def of(collection_id: str, q: str) -> Quote:
    one = quote(q)
    return replace(one, record=replace(one.record, collection_id=collection_id))


def test_per_source_lets_others_through() -> None:
    quotes = [of("a", "1"), of("a", "2"), of("b", "3"), of("a", "4"), of("b", "5"), of("b", "6")]
    budgets, dropped_by = decided(quotes, per_source=2)
    assert dropped_by == ["", "", "", "perSource", "", "perSource"]
    assert not budgets.is_full
    assert decided(quotes, top_k=3, per_source=1)[1] == [
        "",
        "perSource",
        "",
        "perSource",
        "perSource",
        "perSource",
    ]
