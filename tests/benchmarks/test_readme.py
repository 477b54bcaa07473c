"""The README's tables are the newest report's."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.readme import CHAT, ROOT, VECTORS, chat_tables, fill_readme, vectors_tables

README = "# Title\n\n<!-- vectors -->\nold\n<!-- end -->\n\nAfter, <!-- end --> and all.\n"


def size(passages: int, p50_ms: float) -> dict[str, Any]:
    return {
        "passages": passages,
        "recall_at_10": 0.9912,
        "p50_ms": p50_ms,
        "p99_ms": 1.5,
        "index_bytes_per_passage": 800,
        "resident_bytes_per_passage": 950,
        "start_s": 0.21,
        "add_s": 3.4,
        "fold_s": 0.5,
    }


@pytest.fixture
def report() -> dict[str, Any]:
    return {
        "benchmark": "speed vectors",
        "provenance": {"revision": "abc123+"},
        "results": {
            "real_vectors": 100_000,
            "beyond_them": "copies with noise of length 0.2",
            "queries": 2000,
            "growth": [size(10_000, 0.25), size(1_000_000, 1.125)],
            "filters": [
                {"kept": 0.5, "recall_at_10": 0.99, "p50_ms": 1.2, "p99_ms": 2.3},
                {"kept": 0.001, "recall_at_10": 1.0, "p50_ms": 0.4, "p99_ms": 0.6},
            ],
            "texts": {
                "passages": 100_000,
                "recall_at_10": 0.991,
                "queries_per_s": 1500,
                "bare_hnsw": {"effort": 96, "recall_at_10": 0.992, "queries_per_s": 2000},
                "chroma": {
                    "version": "1.3.5",
                    "default": {"recall_at_10": 0.98, "queries_per_s": 300},
                    "same_recall": {"ef_search": 400, "recall_at_10": 0.992, "queries_per_s": 200},
                },
                "times_bare_hnsw": 0.75,
                "times_chroma": 5.0,
                "times_chroma_at_same_recall": 7.5,
            },
            "deletion": {
                "deleted": 100_000,
                "passages_before": 1_000_000,
                "collections_per_s": 12.5,
                "records_per_s": 4321,
                "deleted_ones_returned": 0,
                "searched_for_deleted": 9000,
                "memory_bytes_before": 900_000_000,
                "memory_bytes_after_delete": 901_000_000,
                "memory_bytes_after_rebuild": 810_400_000,
                "rebuild_s": 61.5,
            },
            "http": {
                "clients": 16,
                "questions": 2000,
                "batched": {"requests_per_s": 220, "p50_ms": 70.1, "p99_ms": 99.9},
                "unbatched": {"requests_per_s": 110, "p50_ms": 140.2, "p99_ms": 180.3},
            },
        },
    }


TABLES = """\
`python -m benchmarks speed vectors` at revision abc123+: the first 100,000 rows of the bulk table with the bundled \
model, beyond them copies with noise of length 0.2; 2,000 questions of further rows, one thread.

| Passages | 10,000 | 1,000,000 |
|---|---|---|
| recall@10 | 0.9912 | 0.9912 |
| search p50, ms | 0.25 | 1.125 |
| search p99, ms | 1.5 | 1.5 |
| index, bytes a passage | 800 | 800 |
| resident, bytes a passage | 950 | 950 |
| start from the snapshot, s | 0.21 | 0.21 |
| all adds until here, s | 3.4 | 3.4 |
| then loading and folding, s | 0.5 | 0.5 |

![Growth](benchmarks/results/vectors.png)

| Filter keeps, of 1,000,000 | recall@10 | p50, ms | p99, ms |
|---|---|---|---|
| 50.0% | 0.99 | 1.2 | 2.3 |
| 0.1% | 1.0 | 0.4 | 0.6 |

| 100,000 passages | recall@10 | queries/s | quotebase is |
|---|---|---|---|
| quotebase, whole searches, records from SQLite | 0.991 | 1500 |  |
| FAISS HNSW by itself (efSearch 96), ids only | 0.992 | 2000 | 0.75 × |
| Chroma 1.3.5, PersistentClient with documents, its defaults | 0.98 | 300 | 5.0 × |
| the same with ef_search 400 | 0.992 | 200 | 7.5 × |

| Deleting 100,000 of 1,000,000 |  |
|---|---|
| whole collections of 1,000, a second | 12.5 |
| single records, a second | 4321 |
| deleted passages returned afterwards | 0 in 9,000 searches |
| memory before, after, after the rebuild | 900 MB → 901 MB → 810 MB |
| the rebuild, s | 61.5 |

| 16 clients on `searchTest`, 2000 questions each way | requests/s | p50, ms | p99, ms |
|---|---|---|---|
| embedded together | 220 | 70.1 | 99.9 |
| each by itself | 110 | 140.2 | 180.3 |"""


def test_a_report_becomes_tables(report: dict[str, Any]) -> None:
    assert vectors_tables(report) == TABLES


def test_what_was_not_measured_has_no_table(report: dict[str, Any]) -> None:
    del report["results"]["texts"], report["results"]["http"]

    parts = TABLES.split("\n\n")
    assert vectors_tables(report) == "\n\n".join([*parts[:4], parts[5]])


def test_tables_go_between_the_markers_and_nothing_else_changes(report: dict[str, Any]) -> None:
    filled = fill_readme(README, report)

    assert filled == README.replace("old", TABLES, 1)
    assert fill_readme(filled, report) == filled


def test_a_newer_report_takes_the_place_of_the_older(report: dict[str, Any]) -> None:
    older = fill_readme(README, report)
    report["provenance"]["revision"] = "def456"

    assert fill_readme(older, report) == README.replace("old", TABLES.replace("abc123+", "def456"), 1)


@pytest.mark.parametrize(
    "readme", ["", "<!-- vectors -->\n", "<!-- end -->", "<!-- end --> <!-- vectors -->\n"]
)
def test_a_readme_without_the_markers(readme: str, report: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has no <!-- vectors -->"):
        fill_readme(readme, report)


def percentiles(p50: float) -> dict[str, float]:
    return {"p50": p50, "p99": 2 * p50}


def way(lag_ms: float) -> dict[str, Any]:
    return {
        "first_delta_lag_ms": percentiles(lag_ms),
        "delta_lag_ms": percentiles(lag_ms / 2),
        "to_first_delta_ms": percentiles(lag_ms + 5),
    }


CHAT_REPORT = {
    "benchmark": "speed chat",
    "provenance": {"revision": "abc123", "cores": 2},
    "results": {
        "records": 20_000,
        "deltas": 200,
        "pause_ms": 5.0,
        "one_by_one": {"answers": 100, "through": way(1.5), "direct": way(0.25)},
        "at_once": {
            "streams": 32,
            "rounds": 10,
            "through": {"s": 1.5, "deltas_per_s": 4267, **way(30.0)},
            "direct": {"s": 1.0, "deltas_per_s": 6400, **way(0.5)},
            "times_direct": 1.5,
        },
    },
}

CHAT_TABLES = """\
`python -m benchmarks speed chat` at revision abc123: a language model that sends 200 deltas, one each 5 ms, behind \
a server that searches 20,000 records with the bundled model; model, server and clients share 2 cores.

| 100 answers, one after another: p50, p99 in ms | by the server | by the model |
|---|---|---|
| first delta, from its sending to its arrival | 1.5, 3.0 | 0.25, 0.5 |
| any delta | 0.75, 1.5 | 0.125, 0.25 |
| first delta, from the question | 6.5, 13.0 | 5.25, 10.5 |

| 32 answers at once, 10 times | by the server | by the model |
|---|---|---|
| s for all, search and all | 1.5 | 1.0 |
| deltas a second | 4,267 | 6,400 |
| times as long | 1.5 |  |
| first delta, from its sending to its arrival: p50, p99 in ms | 30.0, 60.0 | 0.5, 1.0 |
| any delta: p50, p99 in ms | 15.0, 30.0 | 0.25, 0.5 |
| first delta, from the question: p50, p99 in ms | 35.0, 70.0 | 5.5, 11.0 |"""


def test_a_report_of_the_chat_becomes_tables_behind_its_own_marker() -> None:
    both = f"{README}\n<!-- chat -->\nold\n<!-- end -->\n"

    assert chat_tables(CHAT_REPORT) == CHAT_TABLES
    assert fill_readme(both, CHAT_REPORT) == f"{README}\n<!-- chat -->\n{CHAT_TABLES}\n<!-- end -->\n"


def test_the_readme_has_the_markers_once(report: dict[str, Any]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert [readme.count(f"<!-- {name} -->") for name in ("vectors", "chat", "end")] == [1, 1, 2]
    assert TABLES in fill_readme(readme, report)


@pytest.mark.parametrize("path", [VECTORS, CHAT], ids=lambda path: path.stem)
def test_the_readmes_tables_are_the_reports(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"there is no report {path}: python -m benchmarks speed {path.stem} --json makes one")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert fill_readme(readme, json.loads(path.read_text(encoding="utf-8"))) == readme
