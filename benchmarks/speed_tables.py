"""The reports of the vector engine, of the server under load and of the chat layer as Markdown."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import image, provenance, table
from benchmarks.plots import exponent

Report = Mapping[str, Any]

GROWTH = {
    "recall@10": "recall_at_10",
    "search p50, ms": "p50_ms",
    "search p99, ms": "p99_ms",
    "index, bytes a passage": "index_bytes_per_passage",
    "resident, bytes a passage": "resident_bytes_per_passage",
    "database, bytes": "database_bytes",
    "start from the snapshot, s": "start_s",
    "all adds until here, s": "add_s",
    "then loading and folding, s": "fold_s",
}

WAYS = ("through", "direct")

CHAT_ROWS = {
    "first delta, from its sending to its arrival": "first_delta_lag_ms",
    "any delta": "delta_lag_ms",
    "first delta, from the question": "to_first_delta_ms",
}


LOADS = {
    "search_new": "`searchTest`, new questions",
    "search_known": "`searchTest`, known questions",
    "chat_new": "chat, new questions",
    "chat_known": "chat, known questions",
}


def vectors_tables(report: Report) -> str:
    """Growth, filters, deletion and HTTP as Markdown."""
    results = report["results"]
    parts = [
        f"{provenance(report, 'speed vectors')} The first {results['real_vectors']:,} rows of the bulk table with the "
        f"bundled model, beyond them {results['beyond_them']}; {results['queries']:,} questions of further rows, one "
        "thread. A figure grows with passages to the power given last, fitted to logarithms.",
        _growth(results["growth"]),
        image("vectors"),
        _filters(results["filters"], results["growth"][-1]["passages"]),
        _deletion(results["deletion"]),
    ]
    if "http" in results:
        parts.append(_http(results["http"]))
    return "\n\n".join(parts)


def _growth(growth: list[dict[str, Any]]) -> str:
    passages = [one["passages"] for one in growth]
    rows = []
    for label, field in GROWTH.items():
        values = [one[field] for one in growth]
        power = exponent(passages, values)
        rows.append((label, *values, "" if power is None else f"{power:.2f}"))
    return table(("Passages", *(f"{size:,}" for size in passages), "power"), *rows)


def _filters(filters: list[dict[str, Any]], passages: int) -> str:
    rows = [(f"{one['kept']:.1%}", one["recall_at_10"], one["p50_ms"], one["p99_ms"]) for one in filters]
    return table((f"Filter keeps, of {passages:,}", "recall@10", "p50, ms", "p99, ms"), *rows)


def _deletion(deletion: Mapping[str, Any]) -> str:
    megabytes = {
        moment: f"{deletion[f'memory_bytes_{moment}'] / 1e6:,.0f} MB"
        for moment in ("before", "after_delete", "after_rebuild")
    }
    return table(
        (f"Deleting {deletion['deleted']:,} of {deletion['passages_before']:,}", ""),
        ("whole collections of 1,000, a second", deletion["collections_per_s"]),
        ("single records, a second", deletion["records_per_s"]),
        (
            "deleted passages returned afterwards",
            f"{deletion['deleted_ones_returned']} in {deletion['searched_for_deleted']:,} searches",
        ),
        ("memory before, after, after the rebuild", " → ".join(megabytes.values())),
        ("the rebuild, s", deletion["rebuild_s"]),
    )


def _http(http: Mapping[str, Any]) -> str:
    rows = [
        (label, http[mode]["requests_per_s"], http[mode]["p50_ms"], http[mode]["p99_ms"])
        for label, mode in (("embedded together", "batched"), ("each by itself", "unbatched"))
    ]
    title = f"{http['clients']} clients on `searchTest`, {http['questions']} questions each way"
    return table((title, "requests/s", "p50, ms", "p99, ms"), *rows)


def http_tables(report: Report) -> str:
    """Clients at once, and questions at a rate, as Markdown."""
    results = report["results"]
    loads = {label: results["loads"][name] for name, label in LOADS.items()}
    columns = ("p50, ms", "p99, ms", "failed")
    return "\n\n".join(
        (
            f"{provenance(report, 'http')} Loads of {results['seconds']:g} s by Locust on the cores of the server, which "
            f"searches {results['records']:,} records. A chat is a search and {results['deltas']} deltas of a language "
            f"model, one each {results['pause_ms']:g} ms, to the last. New questions have still to be embedded, known ones "
            f"are {results['known']}, again and again.",
            table(
                ("Clients that ask as soon as they are answered", "clients", "answers/s", *columns),
                *(
                    (label, one["clients"], *_load(one))
                    for label, load in loads.items()
                    for one in load["closed"]
                ),
            ),
            table(
                (
                    "Questions that come at a rate, up to more than can be done",
                    "a second",
                    "answered of them",
                    *columns,
                ),
                *((label, one["rate"], *_load(one)) for label, load in loads.items() for one in load["open"]),
            ),
            image("http"),
        )
    )


def _load(one: Mapping[str, Any]) -> tuple[object, ...]:
    return (one["answered_per_s"], one["p50_ms"], one["p99_ms"], one["failed"])


def chat_tables(report: Mapping[str, Any]) -> str:
    """Answers one by one, and many at once, as Markdown."""
    results, told = report["results"], report["provenance"]
    alone, at_once = results["one_by_one"], results["at_once"]
    return "\n\n".join(
        (
            f"`python -m benchmarks speed chat` at revision {told['revision']}: a language model that sends "
            f"{results['deltas']} deltas, one each {results['pause_ms']:g} ms, behind a server that searches "
            f"{results['records']:,} records with the bundled model; model, server and clients share "
            f"{told['cores']} cores.",
            table(
                (
                    f"{alone['answers']} answers, one after another: p50, p99 in ms",
                    "by the server",
                    "by the model",
                ),
                *(_chat_row(label, alone, field) for label, field in CHAT_ROWS.items()),
            ),
            table(
                (
                    f"{at_once['streams']} answers at once, {at_once['rounds']} times",
                    "by the server",
                    "by the model",
                ),
                ("s for all, search and all", *(at_once[way]["s"] for way in WAYS)),
                ("deltas a second", *(f"{at_once[way]['deltas_per_s']:,}" for way in WAYS)),
                ("times as long", at_once["times_direct"], ""),
                *(
                    _chat_row(f"{label}: p50, p99 in ms", at_once, field)
                    for label, field in CHAT_ROWS.items()
                ),
            ),
        )
    )


def _chat_row(label: str, results: Mapping[str, Any], field: str) -> tuple[str, ...]:
    return (label, *(f"{results[way][field]['p50']}, {results[way][field]['p99']}" for way in WAYS))
