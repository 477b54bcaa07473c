"""The reports of the peers as Markdown: who is faster, by how much, and how each was measured."""

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.markdown import provenance, table
from benchmarks.peers.measure import FLOORS, OWN, TEXT_PEERS, VECTOR_PEERS

Answers = Mapping[str, Mapping[str, Any]]

FLOOR_NAMES = {peer.module for peer in FLOORS}


def vectors_table(report: Mapping[str, Any]) -> str:
    """Searches with texts, fastest at the same recall first; floors last."""
    results, answers = report["results"], report["results"]["peers"]
    rows = [_vectors_row(answers[OWN.module], answer) for answer in _in_order(answers)]
    head = (
        f"{results['passages']:,} × {results['dim']} with texts",
        "by default: recall@10",
        "queries/s",
        f"set for {results['least_recall']}",
        "recall@10",
        "queries/s",
        "p99, ms",
        "quotebase is",
        "cores busy",
        "returned",
        "added, rows/s, index included",
        "on disk, MB",
        "kept after a kill",
    )
    return f"{provenance(report, 'peers vectors')}\n\n{table(head, *rows)}"


def _vectors_row(own: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[object, ...]:
    if "failed" in answer:
        return (_label(answer), f"could not be measured: {answer['failed']}", *[""] * 11)
    default, same = answer["default"], answer["same_recall"]
    reached = (
        (
            _setting(same),
            same["recall_at_10"],
            same["queries_per_s"],
            same["p99_ms"],
            "" if answer is own else times(_rate(own), _rate(answer)),
        )
        if same
        else ("not reached", "", "", "", "")
    )
    return (
        _label(answer),
        default["recall_at_10"],
        default["queries_per_s"],
        *reached,
        (same or default)["cores_busy"],
        answer["returns"],
        f"{answer['rows_per_s']:,}",
        answer["disk_mb"],
        f"{answer['kept_after_kill']:.0%}",
    )


def texts_table(report: Mapping[str, Any]) -> str:
    """Import and search from plain rows on, the fastest import first."""
    results, answers = report["results"], report["results"]["peers"]
    own = answers[OWN.module]
    head = (
        f"{results['rows']:,} rows of q and a, {results['questions']} questions",
        "rows/s",
        "quotebase is",
        "queries/s",
        "p50, ms",
        "p99, ms",
        "quotebase is",
        "on disk, MB",
        "memory, MB",
    )
    rows = [
        (_label(one), f"could not be measured: {one['failed']}", *[""] * 7)
        if "failed" in one
        else (
            _label(one),
            one["rows_per_s"],
            "" if one is own else times(own["rows_per_s"], one["rows_per_s"]),
            one["queries_per_s"],
            one["p50_ms"],
            one["p99_ms"],
            "" if one is own else times(own["queries_per_s"], one["queries_per_s"]),
            one["disk_mb"],
            one["resident_mb"],
        )
        for one in sorted(answers.values(), key=lambda one: -one.get("rows_per_s", 0))
    ]
    return f"{provenance(report, 'peers texts')}\n\n{table(head, *rows)}"


def quality_table(report: Mapping[str, Any]) -> str:
    """nDCG@10; the best of each set in bold, whoever it is."""
    rows = []
    for name, measured in report["results"]["sets"].items():
        values = [*measured["quotebase"].values()]
        values += [measured["peers"][peer.module].get("nDCG@10") for peer in TEXT_PEERS]
        best = max(value for value in values if value is not None)
        label = f"{name}, {measured['documents']:,} documents, {measured['queries']:,} queries"
        rows.append((label, *(_score(value, value == best) for value in values)))
    modes = next(iter(report["results"]["sets"].values()))["quotebase"]
    head = ("nDCG@10", *(f"quotebase, `{mode}`" for mode in modes), *(peer.name for peer in TEXT_PEERS))
    return f"{provenance(report, 'peers quality')}\n\n{table(head, *rows)}"


def _score(value: float | None, is_best: bool) -> str:
    if value is None:
        return "failed"
    return f"**{value:.4f}**" if is_best else f"{value:.4f}"


def short_rows(reports: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[object, ...]]:
    """What was measured, quotebase, the best peer, and their ratio; of the reports that there are."""
    if report := reports.get("peers vectors"):
        results = report["results"]
        yield _short(
            f"search with texts in {results['passages']:,} passages, recall of {results['least_recall']}: queries/s",
            {name: _rate(one) for name, one in results["peers"].items() if name not in FLOOR_NAMES},
            results["peers"],
        )
    if report := reports.get("peers texts"):
        results = report["results"]
        for label, field in (
            (f"import of {results['rows']:,} q/a rows: rows/s", "rows_per_s"),
            ("search in them, question not yet embedded: queries/s", "queries_per_s"),
        ):
            rates = {name: one.get(field) for name, one in results["peers"].items()}
            yield _short(label, rates, results["peers"])
    if report := reports.get("peers quality"):
        for name, measured in report["results"]["sets"].items():
            values = {module: one.get("nDCG@10") for module, one in measured["peers"].items()}
            own = {OWN.module: measured["quotebase"]["mixedRecall"]}
            yield _short(f"nDCG@10 on {name}, `mixedRecall`", own | values, measured["peers"])


def _short(label: str, values: Mapping[str, float | None], answers: Answers) -> tuple[object, ...]:
    own = values[OWN.module]
    others = {name: value for name, value in values.items() if value is not None and name != OWN.module}
    if own is None or not others:
        return (label, own or "not reached", "none", "")
    best = max(others, key=lambda name: others[name])
    return (label, own, f"{others[best]} ({answers[best]['name']})", times(own, others[best]))


def times(own: float | None, other: float | None) -> str:
    """How many times as much the project does; where it does less, that the other wins."""
    if own is None or not other:
        return ""
    ratio = own / other
    return f"{ratio:.2f} ×" if ratio >= 1 else f"{ratio:.2f} ×, the peer wins"


def fairness() -> str:
    """A paragraph for each peer, from its module."""
    peers = {peer.module: peer for peer in (OWN, *VECTOR_PEERS, *TEXT_PEERS, *FLOORS)}
    return "\n\n".join(f"**{peer.name}.** {' '.join(peer.fairness.split())}" for peer in peers.values())


def _in_order(answers: Answers) -> list[Mapping[str, Any]]:
    names = sorted(answers, key=lambda name: (name in FLOOR_NAMES, -(_rate(answers[name]) or 0)))
    return [answers[name] for name in names]


def _rate(answer: Mapping[str, Any]) -> float | None:
    same = answer.get("same_recall")
    return same["queries_per_s"] if same else None


def _label(answer: Mapping[str, Any]) -> str:
    return f"{answer['name']} ({answer['versions']})" if answer["versions"] else str(answer["name"])


def _setting(measured: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in measured.get("setting", {}).items()) or "as it is"
