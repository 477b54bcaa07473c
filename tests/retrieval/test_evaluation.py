"""Means over all judged queries, equal to those of ir_measures; runs, and two of them compared."""

import math
from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import InvalidRequest
from retrieval.evaluation import (
    MEASURES,
    Floor,
    check_measure,
    compare,
    evaluate,
    measures_at,
    missed,
    parse_floor,
    try_queries,
)
from retrieval.types import SearchRequest, SearchResult
from tests.retrieval.results import found, ignore, quote

QRELS = {"q1": {"d1": 1, "d2": 1}, "q2": {"d3": 1}, "q3": {"d4": 1}}
RUN = {
    "q1": {"d9": 0.9, "d1": 0.8, "d2": 0.7},
    "q2": {"d3": 0.5},
    "unjudged": {"d1": 1.0},
}


def calculated(
    measures: Sequence[str], run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, float]:
    """By ir_measures itself."""
    parsed = [ir_measures.parse_measure(measure) for measure in measures]
    return {str(measure): value for measure, value in ir_measures.calc_aggregate(parsed, qrels, run).items()}


def test_means_equal_ir_measures() -> None:
    assert evaluate(RUN, QRELS).means == pytest.approx(calculated(MEASURES, RUN, QRELS))


documents = st.sampled_from([f"d{number}" for number in range(6)])


@given(
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(documents, st.integers(1, 50)), min_size=1),
    st.dictionaries(
        st.sampled_from("abc"), st.dictionaries(documents, st.integers(0, 2), min_size=1), min_size=1
    ),
)
def test_any_run_is_scored_as_ir_measures_does(
    run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]]
) -> None:
    measures = measures_at(3)
    assert evaluate(run, qrels, measures).means == pytest.approx(calculated(measures, run, qrels))


def test_values_by_hand() -> None:
    evaluation = evaluate(RUN, QRELS, ["RR@10", "R@10"])
    assert evaluation.per_query["RR@10"] == {"q1": 0.5, "q2": 1.0, "q3": 0.0}
    assert evaluation.means["RR@10"] == pytest.approx(0.5)
    assert evaluation.means["R@10"] == pytest.approx(2 / 3)


def test_success_and_average_precision_by_hand() -> None:
    evaluation = evaluate(RUN, QRELS, ["Success@2", "AP@10"])
    assert evaluation.per_query["Success@2"] == {"q1": 1.0, "q2": 1.0, "q3": 0.0}
    assert evaluation.per_query["AP@10"]["q1"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_query_without_results_counts_as_zero() -> None:
    assert evaluate({}, QRELS).means == dict.fromkeys(MEASURES, 0.0)


def test_only_the_first_ten_count() -> None:
    run = {"q2": {f"x{place}": 1.0 - place / 100 for place in range(10)} | {"d3": 0.1}}
    assert evaluate(run, QRELS, ["nDCG@10"]).per_query["nDCG@10"]["q2"] == 0.0


# Names of measures


def test_other_names_are_those_of_ir_measures() -> None:
    assert [check_measure(name) for name in ("MRR@10", "Recall@5", "MAP")] == ["RR@10", "R@5", "AP"]
    assert evaluate(RUN, QRELS, ["MRR@10"]).means == {"RR@10": pytest.approx(0.5)}


@pytest.mark.parametrize("name", ["", "foo@3", "nDCG@x", "nDCG@", "1+1", "nDCG(x=1)@3", "ERR@10"])
def test_a_measure_that_cannot_be_had(name: str) -> None:
    with pytest.raises(InvalidRequest, match="there is no measure"):
        check_measure(name)


def test_a_measure_does_not_look_deeper_than_the_search() -> None:
    assert check_measure("R@5", top_k=5) == "R@5"
    for name in ("R@6", "R@0"):
        with pytest.raises(InvalidRequest, match="give --top-k"):
            check_measure(name, top_k=5)


def test_floors() -> None:
    assert parse_floor("MRR@10=0.7") == Floor("RR@10", 0.7)
    floors = [Floor("a", 0.5), Floor("b", 0.5), Floor("c", 0.5)]
    assert missed(floors, {"a": 0.51, "b": 0.5, "c": 0.49}) == [Floor("c", 0.5)]


@pytest.mark.parametrize("text", ["nDCG@10", "nDCG@10=", "nDCG@10=x", "nDCG@10=nan", "=0.5"])
def test_what_is_no_floor(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no floor"):
        parse_floor(text)


def test_a_floor_of_no_measure() -> None:
    with pytest.raises(InvalidRequest, match="there is no measure 'foo'"):
        parse_floor("foo=0.5")
    with pytest.raises(InvalidRequest, match="R@6 looks at 6 quotes"):
        parse_floor("R@6=0.5", top_k=5)


# Trials


def test_every_query_is_searched_in_every_configuration() -> None:
    asked: list[tuple[str, int | None]] = []

    def search(request: SearchRequest) -> SearchResult:
        asked.append((request.text, request.top_k))
        return found(quote("one", 0.5), request=request)

    requests = [SearchRequest("", ("d",), top_k=count) for count in (1, 2)]
    steps: list[tuple[int, int]] = []

    first, second = try_queries(
        search, {"x": "text x", "y": "text y"}, requests, lambda done, total: steps.append((done, total))
    )

    warming_up = [("text x", 1), ("text x", 2)]
    assert asked == [*warming_up, ("text x", 1), ("text x", 2), ("text y", 2), ("text y", 1)]
    assert (first.request.top_k, second.request.top_k) == (1, 2)
    assert {query_id: result.request.text for query_id, result in first.results.items()} == {
        "x": "text x",
        "y": "text y",
    }
    assert steps == [(1, 2), (2, 2)]


def test_a_run_goes_by_the_order_of_quotes_not_their_scores() -> None:
    results = {"q": found(quote("Low, first.", 0.1), quote("high second", 0.9))}
    [trial] = try_queries(lambda _: results["q"], {"q": "text"}, [SearchRequest("", ("d",))], ignore)

    assert trial.run == {"q": {"Lowfirst": 1.0, "highsecond": 0.5}}
    qrels = {"q": {"Lowfirst": 1}}
    assert evaluate(trial.run, qrels, ["RR"]).means == {"RR": 1.0}


def test_latencies_are_those_of_the_searches() -> None:
    taken_ms = [float(number) for number in range(1, 101)]
    results = [*(found(seconds=ms / 1000) for ms in taken_ms), found(seconds=9.0)]
    queries = {str(number): "text" for number in range(100)}
    [trial] = try_queries(lambda _: results.pop(), queries, [SearchRequest("", ("d",))], ignore)

    assert trial.latencies_ms == {"p50": 50.5, "p95": 95.05, "p99": 99.01, "max": 100.0}


# Comparisons


def by_number(values: Sequence[float]) -> dict[str, float]:
    return {str(number): value for number, value in enumerate(values)}


def test_two_configurations_that_do_the_same() -> None:
    comparison = compare(by_number([0.5, 0.0, 1.0]), by_number([0.5, 0.0, 1.0]))
    assert (comparison.difference, comparison.t_test, comparison.randomisation) == (0, 1, 1)
    assert (comparison.wins, comparison.ties, comparison.losses) == (0, 3, 0)


def test_the_paired_t_test_by_its_formula() -> None:
    a, b = [0.1, 0.4, 0.5, 0.9, 0.3], [0.3, 0.4, 0.9, 0.8, 0.8]
    comparison = compare(by_number(a), by_number(b))

    differences = np.subtract(b, a)
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(5))
    # The two tails of Student's distribution with four degrees of freedom, in closed form.
    share = t / math.sqrt(4 + t * t)
    assert comparison.t_test == pytest.approx(1 - (share + share * (1 - share * share) / 2))
    assert comparison.difference == pytest.approx(0.2)
    assert (comparison.wins, comparison.ties, comparison.losses) == (3, 1, 1)


@pytest.mark.filterwarnings("error")
def test_queries_that_all_gain_the_same() -> None:
    comparison = compare(by_number([0.0, 0.1, 0.3]), by_number([0.1, 0.2, 0.4]))
    assert comparison.t_test == pytest.approx(0, abs=1e-9)
    assert comparison.randomisation == pytest.approx(2 / 2**3)


def test_one_query_compares_nothing() -> None:
    with pytest.raises(InvalidRequest, match="fewer than two queries"):
        compare({"1": 0.0}, {"1": 0.5})


def test_few_queries_have_all_their_signs_flipped() -> None:
    comparison = compare(by_number([0.0] * 6), by_number([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert comparison.randomisation == pytest.approx(2 / 2**6)


def test_many_queries_have_signs_flipped_at_random_in_the_same_way() -> None:
    differences = np.random.default_rng(1).normal(0.05, 0.3, 300)
    a, b = by_number([0.0] * 300), by_number(differences.tolist())

    comparison = compare(a, b)

    assert comparison == compare(a, b)
    assert comparison.randomisation == pytest.approx(comparison.t_test, abs=0.01)


def test_the_other_way_round_it_is_the_other_way_round() -> None:
    a, b = by_number([0.1, 0.4, 0.5, 0.9]), by_number([0.3, 0.3, 0.9, 0.8])
    there, back = compare(a, b), compare(b, a)
    assert there.difference == -back.difference
    assert (there.wins, there.losses) == (back.losses, back.wins)
    assert there.t_test == pytest.approx(back.t_test)
    assert there.randomisation == pytest.approx(back.randomisation)
