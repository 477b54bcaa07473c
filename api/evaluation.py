"""An evaluation as a report: what was searched, how good what was found is, and where the figures come from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from retrieval.calibration import Calibration, Threshold, calibrate, judge, without_threshold
from retrieval.errors import InvalidRequest
from retrieval.evaluation import Evaluation, Search, Trial, compare, evaluate, try_queries
from retrieval.heldout import HeldOut
from retrieval.labels import Met
from retrieval.provenance import code_version
from retrieval.quotes import content_key
from retrieval.types import Dataset, Fusion, SearchMode, SearchRequest, now
from retrieval.vectors.index import OnStep

_READERS: dict[str, Callable[[str], object]] = {
    "mode": lambda text: {mode: mode for mode in get_args(SearchMode)}[text],
    "similarity": float,
    "limit": int,
    "top-k": int,
    "rerank": lambda text: {"true": True, "false": False}[text],
    "embedding-weight": float,
    "fusion": lambda text: {fusion: fusion for fusion in get_args(Fusion)}[text],
    "rerank-weight": float,
    "per-source": int,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One configuration, or two, with what each found and how good that is."""

    met: Met
    trials: Sequence[Trial]
    evaluations: Sequence[Evaluation]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A threshold for searches of ``top_k`` quotes as in ``request``, chosen by ``rule`` from searches with ``texts``."""

    found: Calibration
    request: SearchRequest
    top_k: int
    texts: str
    rule: str


def changed(request: SearchRequest, changes: str) -> SearchRequest:
    """The request with other values, as in ``mode=mixedRecall,top-k=5``. Raises InvalidRequest."""
    values: dict[str, Any] = {}
    for change in changes.split(","):
        name, _, text = (part.strip() for part in change.partition("="))
        try:
            values[name.replace("-", "_")] = _READERS[name](text)
        except (KeyError, ValueError):
            raise InvalidRequest(
                f"{change!r} is no change of a configuration: give name=value with one of {', '.join(_READERS)}"
            ) from None
    return replace(request, **values)


def measure(
    search: Search, met: Met, requests: Sequence[SearchRequest], measures: Sequence[str], on_step: OnStep
) -> Measured:
    """Search all queries as each request says, and evaluate. Raises what ``search`` does."""
    trials = try_queries(search, met.queries, requests, on_step)
    return Measured(met, trials, [evaluate(trial.run, met.qrels, measures) for trial in trials])


def calibrate_by_labels(
    search: Search, met: Met, request: SearchRequest, top_k: int, precision: float | None, on_step: OnStep
) -> Calibrated:
    """Choose a threshold by labelled queries. Raises InvalidRequest, and what ``search`` does."""
    deep = without_threshold(request, top_k)
    [trial] = try_queries(search, met.queries, [deep], on_step)
    found = calibrate(judge(deep, trial.results, met.qrels), top_k, precision)
    return Calibrated(found, request, top_k, "labelled queries", _rule(precision))


def calibrate_by_itself(
    search_itself: Callable[[str, int], HeldOut], request: SearchRequest, top_k: int, precision: float | None
) -> Calibrated:
    """Choose a threshold by the dataset's own texts, for searches by embedding. Raises InvalidRequest."""
    if request.mode != "embedding" or request.rerank:
        raise InvalidRequest("without --queries only --mode embedding can be calibrated, and no reranking")
    held_out = search_itself(request.dataset_ids[0], top_k)
    found = calibrate(held_out.searches, top_k, precision)
    return Calibrated(found, request, top_k, f"the dataset's own {held_out.texts}", _rule(precision))


def _rule(precision: float | None) -> str:
    return "best F1" if precision is None else f"lowest with a precision of {precision}"


def threshold_of(calibrated: Calibrated, labels: str) -> Threshold:
    """What makes it a default; ``labels`` is their hash."""
    request, held_out = calibrated.request, calibrated.found.held_out
    return Threshold(
        request.dataset_ids[0],
        request.mode,
        request.rerank,
        held_out.similarity,
        held_out.precision,
        held_out.recall,
        now().isoformat(timespec="seconds"),
        labels,
    )


def provenance(dataset: Dataset, data: str, labels: str) -> dict[str, object]:
    """``data`` and ``labels`` are hashes of the records and of the label files."""
    return {
        "code": code_version(),
        "date": now().isoformat(timespec="seconds"),
        "model": asdict(dataset.model),
        "data": data,
        "labels": labels,
    }


def measured_report(measured: Measured) -> dict[str, Any]:
    """Labels, then each configuration, then how the second did beside the first."""
    met = measured.met
    report: dict[str, Any] = {
        "queries": len(met.queries),
        "unanswerable": len(met.unanswerable),
        "records_named_by": met.names,
        "unmet": list(met.unmet),
        "leaked": sorted(met.leaked),
    }
    for name, trial, evaluation in zip("ab", measured.trials, measured.evaluations, strict=False):
        report[name] = {
            "settings": {**_settings(trial.request), "similarity": _similarity(trial)},
            "notes": sorted({note for result in trial.results.values() for note in result.notes}),
            "measures": dict(evaluation.means),
            "refused": _refused(trial, met),
            "search_ms": trial.latencies_ms,
        }
    if len(measured.evaluations) == 2:
        a, b = measured.evaluations
        report["comparison"] = {
            name: asdict(compare(values, b.per_query[name])) for name, values in a.per_query.items()
        }
    return report


def _settings(request: SearchRequest) -> dict[str, object]:
    return {name: value for name, value in asdict(request).items() if name not in ("text", "dataset_ids")}


def _similarity(trial: Trial) -> float:
    """The threshold of its searches, which may be the dataset's own."""
    return next(result.similarity for result in trial.results.values())


def _refused(trial: Trial, met: Met) -> float | None:
    """Share of the queries without an answer that rightly got no quote."""
    if not met.unanswerable:
        return None
    return sum(not trial.results[query_id].quotes for query_id in met.unanswerable) / len(met.unanswerable)


def calibration_report(calibrated: Calibrated) -> dict[str, Any]:
    found = calibrated.found
    return {
        "similarity": found.similarity,
        "settings": _settings(without_threshold(calibrated.request, calibrated.top_k)),
        "top_k": calibrated.top_k,
        "rule": calibrated.rule,
        "texts": calibrated.texts,
        "chosen_on": {"queries": found.choosers, **asdict(found.chosen)},
        "held_out": {"queries": len(found.searches), **asdict(found.held_out)},
        "held_out_without": {"queries": len(found.searches), **asdict(found.without)},
    }


def query_rows(measured: Measured) -> Iterator[list[object]]:
    """A header, and a row for each query: in each configuration the place of its first relevant quote, from 1."""
    measures = list(measured.evaluations[0].means)
    columns = ["first", "ms", *measures]
    both = [f"{column} (b)" for column in columns] if len(measured.trials) == 2 else []
    yield ["id", "query", "leaked", *columns, *both]
    met = measured.met
    for query_id, query in met.queries.items():
        row: list[object] = [query_id, query, int(query_id in met.leaked)]
        for trial, evaluation in zip(measured.trials, measured.evaluations, strict=True):
            values = [evaluation.per_query[name].get(query_id, "") for name in measures]
            ms = round(1000 * trial.results[query_id].seconds, 3)
            row += [_first(trial, query_id, met.qrels.get(query_id, {})), ms, *values]
        yield row


def _first(trial: Trial, query_id: str, judged: Mapping[str, int]) -> object:
    quotes = trial.results[query_id].quotes
    places = (place for place, quote in enumerate(quotes, 1) if judged.get(content_key(quote.record), 0) > 0)
    return next(places, "")
