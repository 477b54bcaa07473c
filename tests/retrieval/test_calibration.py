"""Thresholds: what each does, which is chosen, and where it is kept."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.calibration import (
    GRID,
    STEPS,
    Calibrations,
    JudgedSearch,
    Point,
    Threshold,
    calibrate,
    curve_of,
    judge,
    score_type,
    without_threshold,
)
from retrieval.errors import DatasetNotFound, InvalidRequest
from retrieval.library import Library
from retrieval.types import MAX_LIMIT, SearchRequest
from tests.retrieval.results import found, quote

REQUEST = SearchRequest("", ("d",))


def search(*quotes: tuple[float, bool], relevant: int = 1) -> JudgedSearch:
    return JudgedSearch(tuple(score for score, _ in quotes), tuple(hit for _, hit in quotes), relevant)


# What a threshold does


def test_figures_by_hand() -> None:
    searches = [
        search((0.9, True), (0.8, False), (0.7, True), relevant=3),
        search((0.6, False), (0.5, True)),
        search((0.75, False), relevant=0),
        search((0.65, False), relevant=0),
    ]
    curve = curve_of(searches, 10)

    assert curve.at(0) == Point(0.0, 3 / 7, 3 / 4, 6 / 11, silent=0.0, refused=0.0)
    assert curve.at(700) == Point(0.7, 2 / 4, 2 / 4, 4 / 8, silent=0.5, refused=0.5)
    assert curve.at(1000) == Point(1.0, 1.0, 0.0, 0.0, silent=1.0, refused=1.0)


def test_a_threshold_is_inclusive() -> None:
    curve = curve_of([search((0.75, True))], 1)
    assert [curve.recall[step] for step in (749, 750, 751)] == [1, 1, 0]


def test_without_unanswerable_queries_there_are_none_to_refuse() -> None:
    assert curve_of([search((0.5, True))], 1).at(500).refused is None


def test_a_quote_without_the_score_stays() -> None:
    assert curve_of([search((math.inf, True))], 1).at(STEPS).recall == 1


def test_a_quote_moves_up_when_the_threshold_removes_one_before_it() -> None:
    """The first in a fused list may be the one with the lower score."""
    curve = curve_of([search((0.5, False), (0.9, True))], 1)
    assert (curve.at(500).recall, curve.at(501).recall) == (0, 1)


def quotes_found(size: int) -> st.SearchStrategy[list[tuple[float, bool]]]:
    scores = st.one_of(
        st.integers(0, STEPS).map(lambda step: step / STEPS), st.floats(0, 1), st.just(math.inf)
    )
    return st.lists(st.tuples(scores, st.booleans()), max_size=size)


@given(st.lists(st.tuples(quotes_found(6), st.integers(0, 2)), min_size=1, max_size=6), st.integers(1, 4))
def test_every_threshold_does_what_filtering_does(
    given_searches: Sequence[tuple[list[tuple[float, bool]], int]], top_k: int
) -> None:
    searches = [
        search(*quotes, relevant=unfound + sum(hit for _, hit in quotes))
        for quotes, unfound in given_searches
    ]
    if not any(one.relevant for one in searches):
        searches.append(search(relevant=1))
    curve = curve_of(searches, top_k)
    for step in range(0, STEPS + 1, 7):
        kept = [
            [hit for score, hit in zip(one.scores, one.hits, strict=True) if score >= GRID[step]][:top_k]
            for one in searches
        ]
        hits, count = sum(map(sum, kept)), sum(map(len, kept))
        empty = [not quotes for quotes, one in zip(kept, searches, strict=True) if one.relevant]
        point = curve.at(step)
        assert point.precision == (hits / count if count else 1)
        assert point.recall == hits / sum(one.relevant for one in searches)
        assert point.silent == sum(empty) / len(empty)


# Which is chosen


def separable(count: int) -> list[JudgedSearch]:
    """Relevant quotes from 0.8 on, others up to 0.7."""
    return [
        search((0.8 + number % 10 / 100, True), (0.7 - number % 10 / 100, False)) for number in range(count)
    ]


def test_the_middle_of_the_best_is_chosen_and_holds_for_the_other_half() -> None:
    found = calibrate(separable(40), 10)

    assert found.similarity == 0.75
    assert found.chosen == found.held_out == Point(0.75, 1.0, 1.0, 1.0, silent=0.0, refused=None)
    assert found.without == Point(0.0, 0.5, 1.0, 2 / 3, silent=0.0, refused=None)
    assert (found.choosers, len(found.searches)) == (20, 20)


def test_the_threshold_is_not_chosen_by_the_half_it_is_shown_on() -> None:
    """With other scores in the held-out half the same threshold is chosen."""
    searches = separable(41)
    found = calibrate(searches, 10)
    held_out = set(map(id, found.searches))
    changed = [search((0.1, True), (0.9, False)) if id(one) in held_out else one for one in searches]

    again = calibrate(changed, 10)

    assert (again.similarity, again.chosen) == (found.similarity, found.chosen)
    assert (again.held_out.precision, again.held_out.recall) == (0, 0)


def test_both_halves_have_their_share_of_queries_without_an_answer() -> None:
    searches = separable(20) + [search((0.3, False), relevant=0)] * 8
    found = calibrate(searches, 10)
    assert (found.choosers, len(found.searches)) == (14, 14)
    assert sum(not one.relevant for one in found.searches) == 4
    assert found.held_out.refused == 1.0


def test_the_lowest_threshold_with_a_precision() -> None:
    searches = separable(40)
    assert calibrate(searches, 10, least_precision=1.0).similarity == pytest.approx(0.701)
    assert calibrate(searches, 10, least_precision=0.5).similarity == 0.0


def test_a_precision_that_no_threshold_has() -> None:
    searches = [search((0.9, False), (0.9, True))] * 20
    assert calibrate(searches, 10, least_precision=0.5).held_out.precision == 0.5
    with pytest.raises(InvalidRequest, match=r"precision of 0\.6: 0\.500 is the most there is"):
        calibrate(searches, 10, least_precision=0.6)


def test_too_few_queries() -> None:
    assert calibrate(separable(20), 10).similarity == 0.75
    with pytest.raises(InvalidRequest, match="19 queries: give at least 20"):
        calibrate([*separable(19), search(relevant=0)], 10)


def test_queries_that_find_nothing_relevant() -> None:
    with pytest.raises(InvalidRequest, match="no relevant quote was found"):
        calibrate([search((0.9, False))] * 20, 10)


# What is judged


def test_searches_are_judged_by_content_and_by_the_score_that_is_filtered() -> None:
    results = {
        "1": found(quote("One.", ("rrf", 0.03), 0.7), quote("two", ("rrf", 0.02), ("fullText", 9.0))),
        "2": found(quote("One", ("rrf", 0.03), 0.6)),
        "3": found(),
    }
    assert judge(REQUEST, results, {"1": {"One": 1, "two": 0}, "2": {"x": 1, "y": 2}}) == [
        search((0.7, True), (math.inf, False)),
        search((0.6, False), relevant=2),
        search(relevant=0),
    ]


def test_reranked_searches_are_judged_by_the_score_of_the_reranker() -> None:
    results = {"1": found(quote("one", ("reRank", 0.9), 0.7), filtered_by="reRank")}
    request = SearchRequest("", ("d",), rerank=True)
    assert judge(request, results, {"1": {"one": 1}}) == [search((0.9, True))]


def test_what_was_not_reranked_is_not_calibrated_as_if_it_were() -> None:
    request = SearchRequest("", ("d",), rerank=True)
    with pytest.raises(InvalidRequest, match="no score reRank"):
        judge(request, {"1": found(quote("one", 0.7))}, {"1": {"one": 1}})


def test_full_text_alone_has_no_score_to_filter_by() -> None:
    with pytest.raises(InvalidRequest, match="fullTextRecall has no score"):
        score_type("fullTextRecall", rerank=False)
    assert score_type("fullTextRecall", rerank=True) == "reRank"


def test_a_list_in_another_order_than_that_of_the_score_is_looked_at_deeper() -> None:
    request = SearchRequest("", ("d",), similarity=0.9, limit=100, top_k=3)
    mixed = SearchRequest("", ("d",), mode="mixedRecall", top_k=3)
    reranked = SearchRequest("", ("d",), rerank=True, top_k=3)
    assert without_threshold(request, 3) == SearchRequest(
        "", ("d",), similarity=0.0, limit=MAX_LIMIT, top_k=3
    )
    assert [without_threshold(one, 3).top_k for one in (mixed, reranked)] == [15, 15]


# Where it is kept


def threshold(
    dataset_id: str, similarity: float = 0.8, mode: str = "embedding", rerank: bool = False
) -> Threshold:
    return Threshold(dataset_id, mode, rerank, similarity, 0.7, 0.6, "2026-01-01T00:00:00+00:00", "abc")  # type: ignore[arg-type]


def test_a_threshold_is_kept_for_each_dataset_and_mode(library: Library) -> None:
    calibrations = Calibrations(library.store)
    one, other = (library.create_dataset(name) for name in ("one", "other"))
    kept = [
        threshold(one.id),
        threshold(one.id, 0.7, "mixedRecall"),
        threshold(one.id, 0.6, "mixedRecall", rerank=True),
        threshold(other.id, 0.5),
    ]
    for each in kept:
        calibrations.put(each)

    assert calibrations.find(one, "embedding") == kept[0]
    assert calibrations.find(one, "mixedRecall") == kept[1]
    assert calibrations.find(one, "mixedRecall", rerank=True) == kept[2]
    assert calibrations.find(other, "embedding") == kept[3]
    assert calibrations.find(other, "mixedRecall") is None
    assert calibrations.list(one.id) == kept[:3]


def test_a_threshold_takes_the_place_of_the_one_before(library: Library) -> None:
    calibrations = Calibrations(library.store)
    dataset_id = library.create_dataset("one").id
    calibrations.put(threshold(dataset_id, 0.8))
    calibrations.put(threshold(dataset_id, 0.9))
    assert calibrations.list(dataset_id) == [threshold(dataset_id, 0.9)]


def test_a_threshold_can_be_deleted(library: Library) -> None:
    calibrations = Calibrations(library.store)
    dataset = library.create_dataset("one")
    calibrations.put(threshold(dataset.id))
    assert calibrations.delete(dataset.id, "embedding")
    assert not calibrations.delete(dataset.id, "embedding")
    assert calibrations.find(dataset, "embedding") is None


def test_a_threshold_that_cannot_be(library: Library) -> None:
    calibrations = Calibrations(library.store)
    dataset_id = library.create_dataset("one").id
    for similarity in (-0.1, 1.1, math.nan):
        with pytest.raises(InvalidRequest):
            calibrations.put(threshold(dataset_id, similarity))
    with pytest.raises(InvalidRequest):
        calibrations.put(threshold(dataset_id, mode="fullTextRecall"))
    with pytest.raises(DatasetNotFound):
        calibrations.put(threshold("0" * 24))
    assert calibrations.list(dataset_id) == []
