"""Explanations: every part of a score, every decision, and why a record is not there."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.fusion import DECIMALS
from retrieval.library import Library
from retrieval.search import FIRST_CANDIDATES, POOL
from retrieval.types import (
    MAX_LIMIT,
    Collection,
    CollectionMatch,
    Decision,
    Explanation,
    Quote,
    RecordDraft,
    SearchRequest,
    SearchResult,
)
from tests.doubles import DialEmbedder, HashEmbedder
from tests.retrieval.searching import DialReranker, add, ask, ids_of, new_collection
from tests.retrieval.test_search import MODES, forbid

WORDS = ("kettle", "large", "steel", "old", "jug", "水壶", "不锈钢", "AB-12/x")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Library, list[Collection]]]:
    """Two datasets; the first has more passages than are looked at, in two collections, some of them repeats."""
    folder = tmp_path_factory.mktemp("searched")
    with Library.open(folder, HashEmbedder(), reranker=DialReranker()) as library:
        first, second = new_collection(library, "one"), new_collection(library, "two")
        beside = library.store.create_collection(first.dataset_id, "beside")
        for collection, count in ((first, 130), (beside, 20), (second, 30)):
            add(library, collection, *(draft(collection.name, number) for number in range(count)))
        yield library, [first, second]


def draft(name: str, number: int) -> RecordDraft:
    words = [WORDS[number * step % len(WORDS)] for step in (1, 3, 5)]
    indexes = tuple(f"{words[place]} of {number}" for place in range(number % 3))
    # Every tenth says the same as the one before it.
    marks = "!" * (number % 10 == 9)
    return RecordDraft(f"{name} {number - len(marks)}{marks}", f"{' '.join(words)} %0.{number % 8}", indexes)


requests = st.builds(
    SearchRequest,
    text=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    dataset_ids=st.just(()),
    similarity=st.sampled_from((0.0, 0.125, 0.3, 0.5)),
    limit=st.integers(1, 600) | st.just(MAX_LIMIT),
    top_k=st.none() | st.integers(1, 40),
    mode=st.sampled_from(MODES),
    embedding_weight=st.sampled_from((0.0, 0.3, 0.5, 1.0)),
    fusion=st.sampled_from(("scores", "ranks")),
    per_source=st.none() | st.integers(1, 9),
    rerank=st.booleans(),
    rerank_weight=st.sampled_from((0.0, 0.4, 1.0)),
)

datasets = st.sampled_from(((0,), (1,), (0, 1)))


def search(
    searched: tuple[Library, list[Collection]],
    request: SearchRequest,
    numbers: tuple[int, ...],
    **fields: Any,
) -> SearchResult:
    library, collections = searched
    ids = tuple(collections[number].dataset_id for number in numbers)
    return library.search(replace(request, dataset_ids=ids, **fields))


def told(result: SearchResult) -> Explanation:
    assert result.explanation
    return result.explanation


@settings(max_examples=60)
@given(requests, datasets)
def test_the_parts_of_a_score_are_all_of_it(
    searched: tuple[Library, list[Collection]], request: SearchRequest, numbers: tuple[int, ...]
) -> None:
    result = search(searched, request, numbers, explain=True)
    for decision in told(result).decisions:
        if decision.dropped_by not in ("depth", "repeat"):
            assert_adds_up(decision.quote, is_reranked=bool(result.reranked_by))


def assert_adds_up(quote: Quote, is_reranked: bool) -> None:
    recalled = [part for part in quote.contributions if part.source in ("embedding", "fullText")]
    ordered = [part for part in quote.contributions if part.source in ("fused", "reRank")]
    assert bool(ordered) == is_reranked
    assert all(part.value == part.weight * part.normalised for part in quote.contributions)
    assert all(0 <= part.normalised <= 1 for part in quote.contributions)
    before = quote.score
    if ordered:
        fused, relevance = ordered
        assert quote.score == round(fused.value + relevance.value, DECIMALS)
        assert fused.weight + relevance.weight == 1
        assert relevance.raw == quote.score_of("reRank")
        before = fused.raw
    if recalled:
        assert before == round(sum(part.value for part in recalled), DECIMALS)
        assert sum(part.weight for part in recalled) <= 1 + 1e-9


@settings(max_examples=60)
@given(requests, datasets)
def test_explaining_changes_no_quote(
    searched: tuple[Library, list[Collection]], request: SearchRequest, numbers: tuple[int, ...]
) -> None:
    plain = search(searched, request, numbers)
    result = search(searched, request, numbers, explain=True)
    assert plain.explanation is None
    assert result.quotes == plain.quotes


@settings(max_examples=60)
@given(requests, datasets, st.integers(1, 40), st.integers(1, 600))
def test_smaller_budgets_give_the_beginning_of_the_same_quotes(
    searched: tuple[Library, list[Collection]],
    request: SearchRequest,
    numbers: tuple[int, ...],
    top_k: int,
    limit: int,
) -> None:
    everything = search(searched, request, numbers, top_k=None, limit=MAX_LIMIT).quotes
    by_count = search(searched, request, numbers, top_k=top_k, limit=MAX_LIMIT).quotes
    assert by_count == everything[:top_k]
    by_tokens = search(searched, request, numbers, top_k=None, limit=limit).quotes
    assert by_tokens == everything[: len(by_tokens)]
    tokens = [quote.record.tokens for quote in everything]
    assert sum(tokens[: len(by_tokens)]) <= limit or len(by_tokens) == 1
    if len(by_tokens) < len(everything):
        assert sum(tokens[: len(by_tokens) + 1]) > limit
    both = search(searched, request, numbers, top_k=top_k, limit=limit).quotes
    assert both == everything[: min(len(by_count), len(by_tokens))]


@settings(max_examples=60)
@given(requests, datasets, st.sampled_from((0.2, 0.4, 0.6)))
def test_a_threshold_takes_away_what_is_below_it_and_nothing_else(
    searched: tuple[Library, list[Collection]],
    request: SearchRequest,
    numbers: tuple[int, ...],
    similarity: float,
) -> None:
    free: dict[str, Any] = {"top_k": None, "limit": MAX_LIMIT, "per_source": None}
    everything = search(searched, request, numbers, similarity=0.0, **free)
    result = search(searched, request, numbers, similarity=similarity, **free)
    kept = [quote for quote in everything.quotes if is_kept(quote, everything.filtered_by, similarity)]
    assert list(result.quotes) == kept


def is_kept(quote: Quote, filtered_by: str | None, similarity: float) -> bool:
    score = quote.score_of(filtered_by) if filtered_by else None
    return score is None or score >= similarity


@settings(max_examples=60)
@given(requests, datasets)
def test_every_candidate_is_decided_once_and_the_kept_are_the_quotes(
    searched: tuple[Library, list[Collection]], request: SearchRequest, numbers: tuple[int, ...]
) -> None:
    result = search(searched, request, numbers, explain=True)
    explanation = told(result)
    ids = Counter(decision.quote.record.id for decision in explanation.decisions)
    assert set(ids.values()) <= {1}
    kept = [decision.quote for decision in explanation.decisions if not decision.dropped_by]
    assert tuple(kept) == result.quotes
    for decision in explanation.decisions:
        assert bool(decision.detail) == bool(decision.dropped_by)
        assert explanation.texts[decision.quote.passage_id]
        for part in decision.quote.contributions:
            assert explanation.texts[part.passage_id]
            if part.source == "fullText":
                assert bool(explanation.terms[part.passage_id]) == (part.raw > 0)


# What drops a candidate


@pytest.fixture
def dial(tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "dial", DialEmbedder(), reranker=DialReranker()) as library:
        yield library


def decisions(result: SearchResult) -> dict[str, Decision]:
    return {decision.quote.record.id: decision for decision in told(result).decisions}


def dropped(result: SearchResult, record_id: str) -> tuple[str, str]:
    decision = decisions(result)[record_id]
    return decision.dropped_by, decision.detail


@pytest.mark.parametrize("mode", MODES)
def test_each_budget_says_that_it_dropped_a_candidate(dial: Library, mode: Any) -> None:
    collection = new_collection(dial)
    best, again, second, low = add(
        dial, collection, "kettle @0.75", "kettle, @0.75", "kettle a @0.5", "kettle and cups @0.25"
    )
    tokens = [dial.store.get_record(record_id).tokens for record_id in (best, second)]
    plain = ask(dial, collection, mode=mode, explain=True)
    assert dropped(plain, again) == ("repeat", f"says the same as {best}")
    assert ids_of(plain) == [best, second, low]
    one = ask(dial, collection, mode=mode, explain=True, top_k=1)
    assert dropped(one, second) == ("topK", "1 quotes are better")
    tight = ask(dial, collection, mode=mode, explain=True, limit=sum(tokens) - 1)
    assert dropped(tight, second) == (
        "limit",
        f"with its {tokens[1]} tokens there would be {sum(tokens)} of {sum(tokens) - 1}",
    )
    assert dropped(tight, low) == ("limit", f"better quotes fill the {sum(tokens) - 1} tokens")
    single = ask(dial, collection, mode=mode, explain=True, per_source=1)
    assert dropped(single, second) == ("perSource", "1 quotes of its collection are better")
    if mode != "fullTextRecall":
        strict = ask(dial, collection, mode=mode, explain=True, similarity=0.3)
        assert dropped(strict, low) == ("similarity", "embedding 0.2500 is below 0.3")


def test_an_explanation_of_many_ends_where_nothing_can_follow(dial: Library) -> None:
    """What is below the threshold is told of as far as it was looked at, not to the last passage."""
    collection = new_collection(dial)
    ids = add(dial, collection, "kettle @0.75", *(f"pot {n} @0.25" for n in range(20 * FIRST_CANDIDATES)))
    result = ask(dial, collection, similarity=0.5, explain=True)
    assert ids_of(result) == ids[:1]
    assert len(told(result).decisions) == FIRST_CANDIDATES


# Why a record is not there


def absent(library: Library, record_id: str, *collections: Collection, **fields: Any) -> str:
    result = ask(library, *collections, explain=True, explain_record=record_id, **fields)
    if record_id in decisions(result):
        assert told(result).absent == ""
    return told(result).absent


@pytest.mark.parametrize("mode", MODES)
def test_why_a_record_was_not_looked_at(dial: Library, tmp_path: Path, mode: Any) -> None:
    collection, elsewhere = new_collection(dial), new_collection(dial, "elsewhere")
    tagged = dial.store.create_collection(collection.dataset_id, "tagged", ["new"])
    closed = dial.store.create_collection(collection.dataset_id, "closed")
    (here,) = add(dial, collection, "kettle @0.75")
    (there,) = add(dial, elsewhere, "kettle @0.75")
    (new,) = add(dial, tagged, "new kettle @0.5")
    (shut,) = add(dial, closed, "closed kettle @0.5")
    forbid(tmp_path / "dial", closed)
    assert "0" * 24 in absent(dial, "0" * 24, collection, mode=mode)
    assert absent(dial, there, collection, mode=mode) == (
        "it is in the dataset 'elsewhere', which was not searched"
    )
    assert absent(dial, shut, collection, mode=mode) == "its collection 'closed' is forbidden"
    only_new = CollectionMatch(all_of=("new",))
    assert absent(dial, here, collection, mode=mode, collections=only_new) == (
        "its collection 'collection of d' does not match the filter"
    )
    assert absent(dial, shut, collection, mode=mode, collections=only_new) == (
        "its collection 'closed' is forbidden"
    )
    assert absent(dial, new, collection, mode=mode) == ""
    assert absent(dial, here, collection, elsewhere, mode=mode) == ""


@pytest.mark.parametrize("mode", MODES)
def test_why_a_record_was_not_looked_at_behind_better_ones(dial: Library, mode: Any) -> None:
    collection = new_collection(dial)
    (long,) = add(dial, collection, "kettle with many further words that make it long @0.25")
    add(dial, collection, *(f"kettle {n} @0.75" for n in range(POOL)))
    said = absent(dial, long, collection, mode=mode, top_k=1)
    assert said.startswith("others are better: its embedding score is 0.2500, that of its full text 0.")
    assert not said.endswith(" 0.000")


def test_why_a_record_without_a_word_of_the_question_was_not_found(dial: Library) -> None:
    collection = new_collection(dial)
    (pot,) = add(dial, collection, "pot @0.75")
    add(dial, collection, "kettle @0.5")
    assert absent(dial, pot, collection, mode="fullTextRecall") == "it has no word of what was searched for"
    assert absent(dial, pot, collection, mode="mixedRecall") == ""


def test_nothing_is_said_of_a_record_that_is_quoted_or_was_not_asked_for(dial: Library) -> None:
    collection = new_collection(dial)
    (kettle,) = add(dial, collection, "kettle @0.75")
    assert absent(dial, kettle, collection) == ""
    assert told(ask(dial, collection, explain=True)).absent == ""
