"""From the newest reports to the tables of the README, between their markers, and to plots."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
VECTORS = RESULTS / "vectors.json"
CHAT = RESULTS / "chat.json"
PLOT = RESULTS / "vectors.png"

GROWTH = {
    "recall@10": "recall_at_10",
    "search p50, ms": "p50_ms",
    "search p99, ms": "p99_ms",
    "index, bytes a passage": "index_bytes_per_passage",
    "resident, bytes a passage": "resident_bytes_per_passage",
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


def fill_readme(readme: str, report: Mapping[str, Any]) -> str:
    """The README with the tables of the report between its marker, such as ``<!-- vectors -->``, and ``<!-- end -->``.

    Raises:
        ValueError: the markers are not there.
    """
    name, tables_of = TABLES[report["benchmark"]]
    marker = f"<!-- {name} -->\n"
    before, found, rest = readme.partition(marker)
    _, end, after = rest.partition("<!-- end -->")
    if not found or not end:
        raise ValueError(f"the README has no <!-- {name} --> … <!-- end -->")
    return f"{before}{found}{tables_of(report)}\n{end}{after}"


def vectors_tables(report: Mapping[str, Any]) -> str:
    """Growth, filters, texts, deletion and HTTP as Markdown."""
    results, provenance = report["results"], report["provenance"]
    parts = [
        f"`python -m benchmarks speed vectors` at revision {provenance['revision']}: the first "
        f"{results['real_vectors']:,} rows of the bulk table with the bundled model, beyond them "
        f"{results['beyond_them']}; {results['queries']:,} questions of further rows, one thread.",
        _growth(results["growth"]),
        f"![Growth]({PLOT.relative_to(ROOT).as_posix()})",
        _filters(results["filters"], results["growth"][-1]["passages"]),
    ]
    if "texts" in results:
        parts.append(_texts(results["texts"]))
    parts.append(_deletion(results["deletion"]))
    if "http" in results:
        parts.append(_http(results["http"]))
    return "\n\n".join(parts)


def _table(*rows: tuple[object, ...]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return "\n".join(lines)


def _growth(growth: list[dict[str, Any]]) -> str:
    sizes = [f"{one['passages']:,}" for one in growth]
    rows = [(label, *(one[field] for one in growth)) for label, field in GROWTH.items()]
    return _table(("Passages", *sizes), *rows)


def _filters(filters: list[dict[str, Any]], passages: int) -> str:
    rows = [(f"{one['kept']:.1%}", one["recall_at_10"], one["p50_ms"], one["p99_ms"]) for one in filters]
    return _table((f"Filter keeps, of {passages:,}", "recall@10", "p50, ms", "p99, ms"), *rows)


def _texts(texts: Mapping[str, Any]) -> str:
    bare, chroma = texts["bare_hnsw"], texts["chroma"]
    return _table(
        (f"{texts['passages']:,} passages", "recall@10", "queries/s", "quotebase is"),
        ("quotebase, whole searches, records from SQLite", texts["recall_at_10"], texts["queries_per_s"], ""),
        (
            f"FAISS HNSW by itself (efSearch {bare['effort']}), ids only",
            bare["recall_at_10"],
            bare["queries_per_s"],
            f"{texts['times_bare_hnsw']} ×",
        ),
        (
            f"Chroma {chroma['version']}, PersistentClient with documents, its defaults",
            chroma["default"]["recall_at_10"],
            chroma["default"]["queries_per_s"],
            f"{texts['times_chroma']} ×",
        ),
        (
            f"the same with ef_search {chroma['same_recall'].get('ef_search', 'as it is')}",
            chroma["same_recall"]["recall_at_10"],
            chroma["same_recall"]["queries_per_s"],
            f"{texts['times_chroma_at_same_recall']} ×",
        ),
    )


def _deletion(deletion: Mapping[str, Any]) -> str:
    megabytes = {
        moment: f"{deletion[f'memory_bytes_{moment}'] / 1e6:,.0f} MB"
        for moment in ("before", "after_delete", "after_rebuild")
    }
    return _table(
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
    return _table((title, "requests/s", "p50, ms", "p99, ms"), *rows)


def chat_tables(report: Mapping[str, Any]) -> str:
    """Answers one by one, and many at once, as Markdown."""
    results, provenance = report["results"], report["provenance"]
    alone, at_once = results["one_by_one"], results["at_once"]
    return "\n\n".join(
        (
            f"`python -m benchmarks speed chat` at revision {provenance['revision']}: a language model that sends "
            f"{results['deltas']} deltas, one each {results['pause_ms']:g} ms, behind a server that searches "
            f"{results['records']:,} records with the bundled model; model, server and clients share "
            f"{provenance['cores']} cores.",
            _table(
                (
                    f"{alone['answers']} answers, one after another: p50, p99 in ms",
                    "by the server",
                    "by the model",
                ),
                *(_chat_row(label, alone, field) for label, field in CHAT_ROWS.items()),
            ),
            _table(
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


TABLES: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "speed vectors": ("vectors", vectors_tables),
    "speed chat": ("chat", chat_tables),
}
"""By benchmark: the marker, and what stands behind it."""


def plot_growth(report: Mapping[str, Any], path: Path) -> None:
    """Latency, start, bytes and time to build against passages, both axes logarithmic, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    growth = report["results"]["growth"]
    sizes = [one["passages"] for one in growth]
    lines = {
        "search p50, ms": [one["p50_ms"] for one in growth],
        "search p99, ms": [one["p99_ms"] for one in growth],
        "start, s": [one["start_s"] for one in growth],
        "adds and folds, s": [one["add_s"] + one["fold_s"] for one in growth],
        "index, MB": [one["index_bytes_per_passage"] * one["passages"] / 1e6 for one in growth],
    }
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for label, values in lines.items():
        axes.loglog(sizes, values, marker="o", label=label)
    axes.set_xlabel("passages")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
