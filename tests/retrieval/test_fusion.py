"""Several recalls become one order: by numbers worked out by hand, and by what holds for any."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.fusion import DECIMALS, RANK_CONSTANT, Fused, Recall, fuse, fuse_reranked, scores_of
from retrieval.types import Channel, Fusion, Quote, Score
from tests.retrieval.results import quote

RECORDS = {1: "a", 2: "a", 3: "b", 4: "c", 5: "d"}
"""The record of each passage."""


def recall(
    scores: Mapping[int, float],
    weight: float = 1.0,
    floor: float = 0.0,
    channel: Channel = "embedding",
    brought: Sequence[int] | None = None,
) -> Recall:
    """Of passages, best first; all of them were brought unless it is said which."""
    return Recall(channel, "why?", weight, list(scores) if brought is None else brought, scores, floor)


def order(fused: Sequence[Fused]) -> list[tuple[str, float]]:
    return [(one.record_id, one.score) for one in fused]


# Ranks


def test_ranks_are_one_sixty_first_and_so_on() -> None:
    fused = fuse([recall({3: 0.9, 4: 0.8, 5: 0.1})], RECORDS, "ranks")
    assert order(fused) == [("b", round(1 / 61, 6)), ("c", round(1 / 62, 6)), ("d", round(1 / 63, 6))]
    assert [one.contributions[0].rank for one in fused] == [0, 1, 2]
    assert [one.contributions[0].normalised for one in fused] == [1 / 61, 1 / 62, 1 / 63]


def test_ranks_of_several_recalls_add_up_by_their_weights() -> None:
    fused = fuse(
        [recall({3: 0.9, 4: 0.8}, 0.25), recall({4: 7.0, 5: 6.0}, 0.75, channel="fullText")], RECORDS, "ranks"
    )
    assert order(fused) == [
        ("c", round(0.25 / 62 + 0.75 / 61, 6)),
        ("d", round(0.75 / 62, 6)),
        ("b", round(0.25 / 61, 6)),
    ]


def test_ranks_count_records_and_not_passages() -> None:
    """a comes by two passages, and takes one place."""
    fused = fuse([recall({1: 0.9, 2: 0.8, 3: 0.7})], RECORDS, "ranks")
    assert order(fused) == [("a", round(1 / 61, 6)), ("b", round(1 / 62, 6))]
    assert fused[0].contributions[0].passage_id == 1


def test_who_comes_second_twice_is_before_who_comes_first_once() -> None:
    first = recall({3: 0.9, 5: 0.8})
    second = recall({4: 0.9, 5: 0.8})
    assert [one.record_id for one in fuse([first, second], RECORDS, "ranks")] == ["d", "b", "c"]


# Scores


def test_scores_are_shares_of_the_way_from_the_floor_to_the_best() -> None:
    fused = fuse([recall({3: 0.9, 4: 0.7, 5: 0.5, 1: 0.1}, floor=0.5)], RECORDS, "scores")
    assert order(fused) == [("b", 1.0), ("c", 0.5), ("a", 0.0), ("d", 0.0)]
    assert fused[2].contributions[0].raw == 0.1


def test_scores_of_several_recalls_add_up_by_their_weights() -> None:
    fused = fuse(
        [
            recall({3: 0.9, 4: 0.8, 5: 0.7}, 0.6, floor=0.5),
            recall({5: 8.0, 4: 6.0, 3: 0.0}, 0.4, channel="fullText"),
        ],
        RECORDS,
        "scores",
    )
    assert order(fused) == [("c", 0.75), ("d", 0.7), ("b", 0.6)]
    by_hand = {"b": [1.0, 0.0], "c": [0.75, 0.75], "d": [0.5, 1.0]}
    for one in fused:
        assert [share.normalised for share in one.contributions] == pytest.approx(by_hand[one.record_id])


def test_the_best_passage_of_a_record_counts() -> None:
    (best, other) = fuse([recall({2: 0.8, 3: 0.6, 1: 0.4})], RECORDS, "scores")
    assert (best.record_id, best.contributions[0].passage_id, best.contributions[0].raw) == ("a", 2, 0.8)
    assert order([other]) == [("b", 0.75)]


def test_of_equal_passages_of_a_record_the_first_counts() -> None:
    for passages in ({1: 0.5, 2: 0.5}, {2: 0.5, 1: 0.5}):
        assert fuse([recall(passages)], RECORDS, "scores")[0].contributions[0].passage_id == 1


def test_what_was_looked_up_counts_but_brings_nothing() -> None:
    """5 has a score that no list has; nobody asked for it. 4 is in one list, with scores in both."""
    fused = fuse(
        [
            recall({3: 0.8, 4: 0.4, 5: 0.8}, 0.5, brought=[3]),
            recall({4: 2.0, 3: 0.0, 5: 2.0}, 0.5, channel="fullText", brought=[4]),
        ],
        RECORDS,
        "scores",
    )
    assert order(fused) == [("c", 0.75), ("b", 0.5)]
    assert [share.rank for share in fused[0].contributions] == [None, 0]


def test_a_recall_that_found_nothing_gives_nothing() -> None:
    """No passage has a term of the text: then none is the best for having none."""
    nothing = recall({3: 0.0, 4: 0.0}, 0.5, channel="fullText", brought=[])
    fused = fuse([recall({3: 0.8, 4: 0.4}, 0.5), nothing], RECORDS, "scores")
    assert order(fused) == [("b", 0.5), ("c", 0.25)]
    assert [one.contributions[1].normalised for one in fused] == [0.0, 0.0]


@pytest.mark.parametrize("floor", [0.4, 0.5, 0.9])
def test_where_all_are_below_the_floor_the_best_is_still_the_best(floor: float) -> None:
    fused = fuse([recall({3: 0.4, 4: 0.3, 5: -0.2}, floor=floor)], RECORDS, "scores")
    assert order(fused) == [("b", 1.0), ("c", 0.0), ("d", 0.0)]


@pytest.mark.parametrize("method", ["scores", "ranks"])
def test_a_single_record_has_all_there_is(method: Fusion) -> None:
    (only,) = fuse([recall({3: 0.3}, 0.7), recall({3: 2.0}, 0.3, channel="fullText")], RECORDS, method)
    assert only.score == (1.0 if method == "scores" else round(1 / 61, 6))


@pytest.mark.parametrize("method", ["scores", "ranks"])
def test_nothing_comes_of_nothing(method: Fusion) -> None:
    assert fuse([], RECORDS, method) == []
    assert fuse([recall({})], RECORDS, method) == []
    assert fuse([recall({77: 0.9})], RECORDS, method) == []


@pytest.mark.parametrize("method", ["scores", "ranks"])
def test_passages_that_are_gone_take_no_place(method: Fusion) -> None:
    with_gone = fuse([recall({99: 0.9, 3: 0.8, 98: 0.7, 4: 0.6})], RECORDS, method)
    assert with_gone == fuse([recall({3: 0.8, 4: 0.6})], RECORDS, method)


def test_ties_go_by_ascending_passage_id() -> None:
    """Also where the last digits of a sum are not the same."""
    recalls = [recall({5: 0.3, 3: 0.1}, 1.0), recall({3: 0.3, 5: 0.1 + 1e-9}, 1.0)]
    assert [one.record_id for one in fuse(recalls, RECORDS, "scores")] == ["b", "d"]


score_lists = st.dictionaries(
    st.integers(1, 12), st.floats(-1, 30).map(lambda score: round(score, 3)), max_size=10
)


@st.composite
def recalls(draw: st.DrawFn) -> list[Recall]:
    found = []
    for _ in range(draw(st.integers(1, 4))):
        scores = draw(score_lists)
        ranked = sorted(scores, key=lambda passage_id: (-scores[passage_id], passage_id))
        brought = ranked[: draw(st.integers(0, len(ranked)))]
        weight, floor = draw(st.floats(0, 1)), draw(st.floats(-1, 1))
        found.append(recall(scores, weight, floor, draw(st.sampled_from(["embedding", "fullText"])), brought))
    return found


@given(recalls(), st.sampled_from(["scores", "ranks"]))
def test_contributions_add_up_to_the_score_and_scores_are_in_order(
    lists: list[Recall], method: Fusion
) -> None:
    record_of = {passage_id: f"r{passage_id // 2}" for passage_id in range(1, 12)}
    fused = fuse(lists, record_of, method)
    brought = {record_of[one] for each in lists for one in each.ranked if one in record_of}
    assert {one.record_id for one in fused} == brought
    assert len(fused) == len(brought)
    assert fused == sorted(fused, key=lambda one: (-one.score, one.first_passage))
    for one in fused:
        assert one.score == round(
            sum(share.weight * share.normalised for share in one.contributions), DECIMALS
        )
        assert one.score == round(sum(share.value for share in one.contributions), DECIMALS)
        assert all(record_of[share.passage_id] == one.record_id for share in one.contributions)
        assert all(0 <= share.normalised <= 1 for share in one.contributions)
        assert any(share.rank is not None for share in one.contributions)


# What a reply tells


def test_the_scores_of_a_reply_are_the_best_of_each_channel_that_brought_it() -> None:
    lists = [
        recall({3: 0.9, 4: 0.8}, 0.25),
        recall({4: 0.7, 3: 0.2}, 0.25),
        recall({3: 5.0, 4: 4.0}, 0.5, channel="fullText", brought=[3]),
    ]
    first, second = fuse(lists, RECORDS, "ranks")
    assert scores_of(first, 0) == (
        Score("rrf", first.score, 0),
        Score("embedding", 0.9, 0),
        Score("fullText", 5.0, 0),
    )
    assert scores_of(second, 1) == (Score("rrf", second.score, 1), Score("embedding", 0.8, 0))


# Reranking


def fused_quotes(count: int) -> list[Quote]:
    return [quote(f"q{place}", ("rrf", 1 - place / 10), ("embedding", 0.5)) for place in range(count)]


def names(quotes: Sequence[Quote]) -> list[str]:
    return [one.record.q for one in quotes]


def test_reranked_by_two_ranks() -> None:
    quotes = fused_quotes(3)
    reranked = fuse_reranked(quotes, [0.1, 0.9, 0.5], "why?", 0.75)
    assert names(reranked) == ["q1", "q2", "q0"]
    by_hand = {
        "q0": 0.25 / 61 + 0.75 / 63,
        "q1": 0.25 / 62 + 0.75 / 61,
        "q2": 0.25 / 63 + 0.75 / 62,
    }
    assert [one.score for one in reranked] == [round(by_hand[name], 6) for name in names(reranked)]
    assert reranked[0].scores == (
        Score("rrf", round(by_hand["q1"], 6), 0),
        Score("reRank", 0.9, 0),
        Score("embedding", 0.5, 0),
    )
    told = [(one.source, one.raw, one.rank, one.weight) for one in reranked[0].contributions]
    assert told == [("fused", 0.9, 1, 0.25), ("reRank", 0.9, 0, 0.75)]


@pytest.mark.parametrize(("weight", "expected"), [(0.0, ["q0", "q1", "q2"]), (1.0, ["q2", "q0", "q1"])])
def test_all_the_weight_on_one_order_is_that_order(weight: float, expected: list[str]) -> None:
    assert names(fuse_reranked(fused_quotes(3), [0.5, 0.1, 0.9], "why?", weight)) == expected


def test_equal_relevances_change_nothing() -> None:
    assert names(fuse_reranked(fused_quotes(4), [0.5] * 4, "why?", 1.0)) == ["q0", "q1", "q2", "q3"]
    assert fuse_reranked([], [], "why?", 0.5) == []


def test_what_has_only_one_score_keeps_it() -> None:
    (reranked,) = fuse_reranked([quote("q", ("embedding", 0.25))], [-3.5], "why?", 0.5)
    assert [score.type for score in reranked.scores] == ["rrf", "reRank", "embedding"]
    assert (reranked.score_of("reRank"), reranked.score_of("embedding")) == (-3.5, 0.25)


@given(st.lists(st.floats(-10, 10), max_size=12), st.floats(0, 1))
def test_reranking_keeps_all_and_its_contributions_add_up(relevances: list[float], weight: float) -> None:
    quotes = fused_quotes(len(relevances))
    reranked = fuse_reranked(quotes, relevances, "why?", weight)
    assert sorted(names(reranked)) == sorted(names(quotes))
    scores = [one.score for one in reranked]
    assert scores == sorted(scores, reverse=True)
    for index, one in enumerate(reranked):
        own = one.contributions[-2:]
        assert one.score == round(sum(share.value for share in own), DECIMALS)
        assert all(share.normalised == 1 / (RANK_CONSTANT + 1 + (share.rank or 0)) for share in own)
        assert (one.scores[0].index, one.score_of("reRank")) == (
            index,
            relevances[names(quotes).index(one.record.q)],
        )
