"""Measuring searches against labelled queries: runs, the measures of ir_measures, and two runs compared.

Names are those of TREC and BEIR: a run is what was found for each query, qrels say what is relevant.
Documents go by their content (:func:`retrieval.quotes.content_key`), of which a search shows each once.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import InvalidRequest
from retrieval.quotes import content_key
from retrieval.types import SearchRequest, SearchResult
from retrieval.vectors.index import OnStep

Run = Mapping[str, Mapping[str, float]]
"""For each query id, the score of each document found."""

Qrels = Mapping[str, Mapping[str, int]]
"""For each query id, the relevance of each judged document; above 0 is relevant."""

Search = Callable[[SearchRequest], SearchResult]

SEED = 20_24

RESAMPLES = 9_999
"""Of a randomisation test; all there are, if there are not more."""

BATCH = 256
"""Resamples that are in memory at a time."""


def measures_at(top_k: int) -> tuple[str, ...]:
    """nDCG, recall, success, reciprocal rank and average precision of the first ``top_k``."""
    return tuple(f"{name}@{top_k}" for name in ("nDCG", "R", "Success", "RR", "AP"))


MEASURES = measures_at(10)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over all judged queries, and the value of each query, by measure."""

    means: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Trial:
    """What one configuration found, by query id."""

    request: SearchRequest
    results: Mapping[str, SearchResult]

    @property
    def run(self) -> Run:
        """Documents scored by their place, because no one score orders a fused list."""
        return {
            query_id: {content_key(quote.record): 1 / place for place, quote in enumerate(result.quotes, 1)}
            for query_id, result in self.results.items()
        }

    @property
    def latencies_ms(self) -> dict[str, float]:
        """Percentiles of what the searches themselves took; ``max`` is the slowest."""
        taken_ms = [1000 * result.seconds for result in self.results.values()]
        names = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
        return {name: round(float(np.percentile(taken_ms, share)), 3) for name, share in names.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """How configuration b did beside a, query by query, by one measure.

    Args:
        difference: mean of b minus mean of a.
        t_test: p of Student's paired t-test, two-sided; 1 if no query differs.
        randomisation: p of the paired randomisation test, which flips the signs of the differences.
        wins: queries that b did better, ``losses`` those that it did worse.
    """

    difference: float
    t_test: float
    randomisation: float
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that the mean of a measure has to be."""

    measure: str
    least: float


def check_measure(name: str, top_k: int | None = None) -> str:
    """The name as ir_measures writes it: MRR@10 is RR@10.

    Raises:
        InvalidRequest: there is no such measure, or it looks at more than ``top_k`` quotes.
    """
    measure = _parsed(name)
    cutoff = measure.params.get("cutoff", 1)
    if cutoff < 1 or (top_k is not None and cutoff > top_k):
        raise InvalidRequest(
            f"{name} looks at {cutoff} quotes, and a search finds 1 to {top_k}: give --top-k"
        )
    return str(measure)


def parse_floor(text: str, top_k: int | None = None) -> Floor:
    """``nDCG@10=0.7``. Raises InvalidRequest."""
    name, _, number = text.rpartition("=")
    try:
        least = float(number)
    except ValueError:
        least = math.nan
    if not (name and math.isfinite(least)):
        raise InvalidRequest(f"{text!r} is no floor: write a measure and a number, as in nDCG@10=0.7")
    return Floor(check_measure(name, top_k), least)


@cache
def _provider() -> Any:
    """What of ir_measures needs neither perl nor further packages. Not imported before it is used."""
    import ir_measures

    return ir_measures.providers.FallbackProvider(
        [ir_measures.pytrec_eval, ir_measures.msmarco, ir_measures.judged]
    )


def _parsed(name: str) -> Any:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        is_known = _provider().supports(measure)
    except (AssertionError, NameError, SyntaxError, TypeError, ValueError):
        is_known = False
    if not is_known:
        known = ", ".join(MEASURES)
        raise InvalidRequest(f"there is no measure {name!r}: give one of ir_measures, such as {known}")
    return measure


def try_queries(
    search: Search, queries: Mapping[str, str], requests: Sequence[SearchRequest], on_step: OnStep
) -> list[Trial]:
    """Search every query in each configuration, whose requests lack nothing but the text.

    The configurations take turns in being first, because the second finds the question embedded. Before
    all that is one search of each that does not count, so that no latency is that of loading an index.

    Raises:
        What ``search`` raises.
    """
    for text in list(queries.values())[:1]:
        for request in requests:
            search(replace(request, text=text))
    results: list[dict[str, SearchResult]] = [{} for _ in requests]
    for number, (query_id, text) in enumerate(queries.items()):
        for turn in range(len(requests)):
            place = (number + turn) % len(requests)
            results[place][query_id] = search(replace(requests[place], text=text))
        on_step(number + 1, len(queries))
    return [Trial(request, found) for request, found in zip(requests, results, strict=True)]


def evaluate(run: Run, qrels: Qrels, measures: Sequence[str] = MEASURES) -> Evaluation:
    """Score a run. A judged query for which nothing was found counts as 0, so that no mean can gain by silence.

    Raises:
        InvalidRequest: there is no such measure.
    """
    parsed = [_parsed(measure) for measure in measures]
    per_query = {str(measure): dict.fromkeys(qrels, 0.0) for measure in parsed}
    for metric in _provider().iter_calc(parsed, _plain(qrels), _plain(run)):
        if metric.query_id in qrels:
            per_query[str(metric.measure)][metric.query_id] = metric.value
    means = {
        measure: sum(values.values()) / len(values) if values else 0.0
        for measure, values in per_query.items()
    }
    return Evaluation(means, per_query)


def _plain(nested: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {key: dict(inner) for key, inner in nested.items()}


def compare(a: Mapping[str, float], b: Mapping[str, float]) -> Comparison:
    """Two configurations by their values of one measure for the same queries.

    Raises:
        InvalidRequest: there are fewer than two queries.
    """
    if len(a) < 2:
        raise InvalidRequest("two configurations cannot be compared by fewer than two queries: give more")
    differences = np.array([b[query_id] - value for query_id, value in a.items()])
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    t_test, randomisation = _p_values(differences) if wins or losses else (1.0, 1.0)
    ties = len(differences) - wins - losses
    return Comparison(float(differences.mean()), t_test, randomisation, wins, ties, losses)


def _p_values(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    """(of the t-test, of the randomisation test), two-sided."""
    from scipy import stats

    # If all differ by the same, there is no variance, and scipy warns.
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        t_test = stats.ttest_1samp(differences, 0.0)
    randomisation = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=BATCH,
        rng=np.random.default_rng(SEED),
    )
    return float(t_test.pvalue), float(randomisation.pvalue)


def missed(floors: Sequence[Floor], means: Mapping[str, float]) -> list[Floor]:
    """Those that the means do not reach."""
    return [floor for floor in floors if means[floor.measure] < floor.least]
