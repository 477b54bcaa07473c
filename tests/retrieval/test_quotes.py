"""Repeats, threshold and budgets: what becomes of each quote, and why."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.quotes import HEAD, Budgets, Repeats, content_key
from retrieval.types import Decision, Quote, Record, Score

MOMENT = datetime(2025, 1, 1, tzinfo=UTC)

Dropped = Literal["", "repeat", "depth", "similarity", "limit", "topK", "perSource"]


def record(q: str, a: str = "", tokens: int = 1, source: str = "collection") -> Record:
    return Record(f"id of {q}", "dataset", source, q, a, 0, tokens, MOMENT)


def quote(
    q: str = "q", a: str = "", tokens: int = 1, score: float = 0.5, source: str = "collection"
) -> Quote:
    return Quote(record(q, a, tokens, source), source, (Score("embedding", score, 0),), 1)


def costing(*tokens: int) -> list[Quote]:
    return [quote(f"q{place}", tokens=cost) for place, cost in enumerate(tokens)]


def budgets(
    limit: int = 1000, top_k: int | None = None, similarity: float = 0.0, per_source: int | None = None
) -> Budgets:
    return Budgets(similarity, "embedding", limit, top_k, per_source)


def fates(decisions: Sequence[Decision]) -> list[Dropped]:
    return [decision.dropped_by for decision in decisions]


def decide(applied: Budgets, quotes: Sequence[Quote]) -> list[Dropped]:
    decisions = [applied.decide(one) for one in quotes]
    assert [decision.quote for decision in decisions] == list(quotes)
    assert applied.kept == [decision.quote for decision in decisions if not decision.dropped_by]
    assert all(bool(decision.detail) == bool(decision.dropped_by) for decision in decisions)
    return fates(decisions)


def costs(applied: Budgets) -> list[int]:
    return [kept.record.tokens for kept in applied.kept]


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


def test_contents_are_letters_and_digits_in_every_script() -> None:
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
    assert content_key(record(every)) == "".join(filter(str.isalnum, every))
    ascii_only = every[:128]
    assert content_key(record(ascii_only)) == "".join(filter(str.isalnum, ascii_only))


def test_the_best_of_each_content_is_no_repeat() -> None:
    quotes = [
        quote("Opening hours?", "9 to 5", score=0.9),
        quote("Prices?", "10", score=0.8),
        quote("Opening hours", "9 to 5.", score=0.7),
        quote("Opening hours?", "9 to 6", score=0.6),
        quote("prices", "10", score=0.5),
        quote("Prices", "(10)", score=0.4),
    ]
    repeats = Repeats()
    found = [repeats.find(one) for one in quotes]
    assert [decision is not None for decision in found] == [False, False, True, False, False, True]
    assert found[2] == Decision(quotes[2], "repeat", "says the same as id of Opening hours?")
    assert found[5] == Decision(quotes[5], "repeat", "says the same as id of Prices?")


def test_each_search_has_its_own_repeats() -> None:
    assert Repeats().find(quote("a")) is None
    assert Repeats().find(quote("a!")) is None


LONG = [
    "x" * HEAD,
    "x" * HEAD + "a",
    "x" * HEAD + "b",
    "x " * HEAD + "a",
    "x  " * HEAD + "b",
    "?" * 3 * HEAD + "x" * HEAD + "a",
    "?" * 3 * HEAD + "y" + "x" * HEAD,
    "?" * 3 * HEAD,
    "!" * 3 * HEAD,
]
"""Contents that begin alike, or with nothing but marks."""


@given(st.lists(st.one_of(st.text("ab?! ", max_size=3), st.sampled_from(LONG))))
def test_exactly_the_first_of_each_content_is_no_repeat(texts: list[str]) -> None:
    quotes = [quote(text) for text in dict.fromkeys(texts)]
    repeats = Repeats()
    first: dict[str, str] = {}
    for one in quotes:
        before = first.setdefault(content_key(one.record), one.record.id)
        decision = repeats.find(one)
        if before == one.record.id:
            assert decision is None
        else:
            assert decision == Decision(one, "repeat", f"says the same as {before}")


# Threshold


def test_similarity_is_inclusive() -> None:
    just_below, just_above = (float(np.nextafter(0.7, direction)) for direction in (0, 1))
    quotes = [quote(score=score) for score in (1.0, just_above, 0.7, just_below, 0.0, -0.5)]

    def kept(similarity: float) -> int:
        return decide(budgets(similarity=similarity), quotes).count("")

    assert kept(just_above) == 2
    assert kept(0.7) == 3
    assert kept(just_below) == 4
    assert kept(0.0) == 5
    assert kept(1.0) == 1
    assert kept(-0.5) == 6


def test_what_is_below_the_threshold_costs_nothing_and_says_so() -> None:
    applied = budgets(limit=10, similarity=0.5)
    low = quote(tokens=100, score=0.4321)
    assert applied.decide(low) == Decision(low, "similarity", "embedding 0.4321 is below 0.5")
    assert not applied.is_full
    assert decide(applied, []) == []
    assert applied.decide(quote(tokens=10)).dropped_by == ""


def scored(*scores: tuple[str, float]) -> Quote:
    return replace(quote(), scores=tuple(Score(type_, value, 0) for type_, value in scores))


def test_the_score_of_the_type_decides_wherever_it_stands() -> None:
    fused = scored(("rrf", 0.01), ("reRank", 0.2), ("embedding", 0.9))
    for filtered_by, dropped_by in (("embedding", ""), ("reRank", "similarity"), (None, "")):
        applied = Budgets(0.5, filtered_by, 1000)
        assert applied.decide(fused).dropped_by == dropped_by


def test_a_quote_without_a_score_of_the_type_is_kept() -> None:
    assert budgets(similarity=1.0).decide(scored(("rrf", 0.01), ("fullText", 3.0))).dropped_by == ""


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
        ([500, 1], 100, None, [500], True),
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
    applied = budgets(limit, top_k)
    decide(applied, costing(*tokens))
    assert (costs(applied), applied.is_full) == (kept, is_full)


def test_the_first_is_kept_though_it_exceeds_the_limit() -> None:
    assert decide(budgets(limit=1), costing(500, 1, 1)) == ["", "limit", "limit"]


def test_a_worse_quote_does_not_take_the_place_of_a_better_one_that_did_not_fit() -> None:
    applied = budgets(limit=100)
    decisions = [applied.decide(one) for one in costing(50, 60, 10)]
    assert fates(decisions) == ["", "limit", "limit"]
    assert decisions[1].detail == "with its 60 tokens there would be 110 of 100"
    assert decisions[2].detail == "better quotes fill the 100 tokens"


def test_top_k_says_so() -> None:
    applied = budgets(top_k=2)
    decisions = [applied.decide(one) for one in costing(5, 5, 5, 5)]
    assert fates(decisions) == ["", "", "topK", "topK"]
    assert decisions[2].detail == "2 quotes are better"


def test_where_both_are_full_top_k_says_so() -> None:
    assert decide(budgets(limit=10, top_k=2), costing(5, 5, 5)) == ["", "", "topK"]


def test_below_the_threshold_is_said_also_when_all_is_full() -> None:
    quotes = [quote("a", score=0.9), quote("b", score=0.8), quote("c", score=0.1)]
    assert decide(budgets(top_k=1, similarity=0.5), quotes) == ["", "topK", "similarity"]


# Sources


def from_sources(*sources: str, tokens: int = 1) -> list[Quote]:
    return [quote(f"q{place}", tokens=tokens, source=source) for place, source in enumerate(sources)]


def test_one_source_gives_no_more_than_it_may() -> None:
    applied = budgets(per_source=2)
    decisions = [applied.decide(one) for one in from_sources("x", "x", "y", "x", "y", "y", "z")]
    assert fates(decisions) == ["", "", "", "perSource", "", "perSource", ""]
    assert decisions[3].detail == "2 quotes of its collection are better"
    assert not applied.is_full


def test_what_its_source_drops_takes_no_tokens_and_no_place() -> None:
    quotes = from_sources("x", "x", "x", "y", "z", tokens=10)
    assert decide(budgets(limit=20, per_source=1), quotes) == ["", "perSource", "perSource", "", "limit"]
    assert decide(budgets(top_k=2, per_source=1), quotes) == ["", "perSource", "perSource", "", "topK"]


def test_what_is_below_the_threshold_does_not_count_for_its_source() -> None:
    quotes = [quote("a", score=0.1, source="x"), quote("b", score=0.9, source="x")]
    assert decide(budgets(similarity=0.5, per_source=1), quotes) == ["similarity", ""]


# Properties

token_lists = st.lists(st.integers(1, 60), max_size=12)
limits = st.integers(1, 200)
top_ks = st.none() | st.integers(1, 14)


@given(token_lists, limits, top_ks)
def test_budget_keeps_the_longest_prefix_that_fits(tokens: list[int], limit: int, top_k: int | None) -> None:
    quotes = costing(*tokens)
    applied = budgets(limit, top_k)
    decide(applied, quotes)
    kept = applied.kept
    assert kept == quotes[: len(kept)]
    assert bool(kept) == bool(quotes)
    assert len(kept) <= 1 or sum(tokens[: len(kept)]) <= limit
    assert top_k is None or len(kept) <= top_k
    if len(kept) < len(quotes) and len(kept) != top_k:
        assert sum(tokens[: len(kept) + 1]) > limit


@given(token_lists, token_lists, limits, top_ks)
def test_more_candidates_cannot_change_what_is_full(
    tokens: list[int], more: list[int], limit: int, top_k: int | None
) -> None:
    applied, with_more, with_one = (budgets(limit, top_k) for _ in range(3))
    decide(applied, costing(*tokens))
    decide(with_more, costing(*tokens, *more))
    if applied.is_full:
        assert with_more.kept == applied.kept
        assert with_more.is_full
    else:
        assert with_more.kept[: len(applied.kept)] == applied.kept
        # It was worth looking further: the cheapest quote would have been taken.
        decide(with_one, costing(*tokens, 1))
        assert costs(with_one) == [*tokens, 1]


mixed_quotes = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from("xyz"), st.sampled_from([0.2, 0.5, 0.8])), max_size=14
).map(
    lambda rows: [
        quote(f"q{place}", tokens=tokens, score=score, source=source)
        for place, (tokens, source, score) in enumerate(rows)
    ]
)


@given(mixed_quotes, limits, top_ks, st.none() | st.integers(1, 3), st.sampled_from([0.0, 0.5, 0.9]))
def test_no_quote_is_dropped_in_favour_of_a_worse_one(
    quotes: list[Quote], limit: int, top_k: int | None, per_source: int | None, similarity: float
) -> None:
    """The result is that of each rule alone, one after the other."""
    decisions = decide(budgets(limit, top_k, similarity, per_source), quotes)
    similar = [one for one in quotes if one.score >= similarity]
    of_sources = [
        one
        for place, one in enumerate(similar)
        if per_source is None
        or [other.record.collection_id for other in similar[:place]].count(one.record.collection_id)
        < per_source
    ]
    expected = of_sources[:1]
    for one in of_sources[1:top_k]:
        if sum(kept.record.tokens for kept in expected) + one.record.tokens > limit:
            break
        expected.append(one)
    assert [one for one, fate in zip(quotes, decisions, strict=True) if not fate] == expected
    assert decisions.count("similarity") == len(quotes) - len(similar)
