"""Measuring a ranking against relevance judgements, by ir_measures.

Names are those of TREC and BEIR: a run is what was found for each query, qrels say what is relevant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures

Run = Mapping[str, Mapping[str, float]]
"""For each query id, the score of each document found."""

Qrels = Mapping[str, Mapping[str, int]]
"""For each query id, the relevance of each judged document; above 0 is relevant."""

MEASURES = ("nDCG@10", "R@10", "RR@10")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over all judged queries, and the value of each query, by measure."""

    means: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, float]]


def evaluate(run: Run, qrels: Qrels, measures: Sequence[str] = MEASURES) -> Evaluation:
    """Score a run. A judged query for which nothing was found counts as 0, so that no mean can gain by silence.

    Raises:
        NameError, SyntaxError: a measure that ir_measures does not know.
    """
    parsed = [ir_measures.parse_measure(measure) for measure in measures]
    per_query: dict[str, dict[str, float]] = {measure: dict.fromkeys(qrels, 0.0) for measure in measures}
    for metric in ir_measures.iter_calc(parsed, _plain(qrels), _plain(run)):
        if metric.query_id in qrels:
            per_query[str(metric.measure)][metric.query_id] = metric.value
    means = {
        measure: sum(values.values()) / len(values) if values else 0.0
        for measure, values in per_query.items()
    }
    return Evaluation(means, per_query)


def _plain(nested: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {key: dict(inner) for key, inner in nested.items()}
