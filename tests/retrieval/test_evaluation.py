"""Means over all judged queries, equal to those of ir_measures."""

import ir_measures
import pytest

from retrieval.evaluation import MEASURES, evaluate

QRELS = {"q1": {"d1": 1, "d2": 1}, "q2": {"d3": 1}, "q3": {"d4": 1}}
RUN = {
    "q1": {"d9": 0.9, "d1": 0.8, "d2": 0.7},
    "q2": {"d3": 0.5},
    "unjudged": {"d1": 1.0},
}


def test_means_equal_ir_measures() -> None:
    measures = [ir_measures.parse_measure(measure) for measure in MEASURES]
    expected = {
        str(measure): value for measure, value in ir_measures.calc_aggregate(measures, QRELS, RUN).items()
    }
    assert evaluate(RUN, QRELS).means == pytest.approx(expected)


def test_values_by_hand() -> None:
    evaluation = evaluate(RUN, QRELS, ["RR@10", "R@10"])
    assert evaluation.per_query["RR@10"] == {"q1": 0.5, "q2": 1.0, "q3": 0.0}
    assert evaluation.means["RR@10"] == pytest.approx(0.5)
    assert evaluation.means["R@10"] == pytest.approx(2 / 3)


def test_a_query_without_results_counts_as_zero() -> None:
    assert evaluate({}, QRELS).means == dict.fromkeys(MEASURES, 0.0)


def test_only_the_first_ten_count() -> None:
    run = {"q2": {f"x{place}": 1.0 - place / 100 for place in range(10)} | {"d3": 0.1}}
    assert evaluate(run, QRELS, ["nDCG@10"]).per_query["nDCG@10"]["q2"] == 0.0
