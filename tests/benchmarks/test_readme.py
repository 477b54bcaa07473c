"""benchmarks/README.md and the README's short table are the newest reports'."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.measure import FLOORS, OWN, TEXT_PEERS, VECTOR_PEERS
from benchmarks.peers.tables import quality_table, texts_table, times, vectors_table
from benchmarks.plots import exponent
from benchmarks.readme import ROOT, benchmarks_readme, fill_readme, read_reports, short_table, write_all
from benchmarks.report import publish
from benchmarks.speed_tables import chat_tables, http_tables, vectors_tables

README = "# Title\n\n<!-- measured -->\nold\n<!-- end -->\n\nAfter, <!-- end --> and all.\n"

PROVENANCE = {
    "revision": "abc123+",
    "date": "2026-11-28T10:00:00+00:00",
    "cores": 2,
    "cpu": "a processor",
    "load_average": 0.25,
}


def size(passages: int, p50_ms: float) -> dict[str, Any]:
    return {
        "passages": passages,
        "recall_at_10": 0.9912,
        "p50_ms": p50_ms,
        "p99_ms": 1.5,
        "index_bytes_per_passage": 800,
        "resident_bytes_per_passage": 950,
        "start_s": 0.21,
        "database_bytes": passages * 1000,
        "add_s": 3.4,
        "fold_s": 0.5,
    }


@pytest.fixture
def report() -> dict[str, Any]:
    return {
        "benchmark": "speed vectors",
        "provenance": PROVENANCE,
        "results": {
            "real_vectors": 100_000,
            "beyond_them": "copies with noise of length 0.2",
            "queries": 2000,
            "growth": [size(10_000, 0.25), size(1_000_000, 1.125)],
            "filters": [
                {"kept": 0.5, "recall_at_10": 0.99, "p50_ms": 1.2, "p99_ms": 2.3},
                {"kept": 0.001, "recall_at_10": 1.0, "p50_ms": 0.4, "p99_ms": 0.6},
            ],
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
`python -m benchmarks speed vectors` at revision abc123+, 2026-11-28, 2 cores of a processor, load average 0.25. \
The first 100,000 rows of the bulk table with the bundled model, beyond them copies with noise of length 0.2; 2,000 \
questions of further rows, one thread. A figure grows with passages to the power given last, fitted to logarithms.

| Passages | 10,000 | 1,000,000 | power |
|---|---|---|---|
| recall@10 | 0.9912 | 0.9912 | 0.00 |
| search p50, ms | 0.25 | 1.125 | 0.33 |
| search p99, ms | 1.5 | 1.5 | 0.00 |
| index, bytes a passage | 800 | 800 | 0.00 |
| resident, bytes a passage | 950 | 950 | 0.00 |
| database, bytes | 10000000 | 1000000000 | 1.00 |
| start from the snapshot, s | 0.21 | 0.21 | 0.00 |
| all adds until here, s | 3.4 | 3.4 | 0.00 |
| then loading and folding, s | 0.5 | 0.5 | 0.00 |

![vectors](results/vectors.png)

| Filter keeps, of 1,000,000 | recall@10 | p50, ms | p99, ms |
|---|---|---|---|
| 50.0% | 0.99 | 1.2 | 2.3 |
| 0.1% | 1.0 | 0.4 | 0.6 |

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
    del report["results"]["http"]

    assert vectors_tables(report) == "\n\n".join(TABLES.split("\n\n")[:-1])


SHORT = """\
| Passages, vectors alone | 10,000 | 1,000,000 |
|---|---|---|
| recall@10 | 0.9912 | 0.9912 |
| search p50, ms | 0.25 | 1.125 |
| search p99, ms | 1.5 | 1.5 |
| start from the snapshot, s | 0.21 | 0.21 |

| Beside others, in one run | quotebase | the best peer |  |
|---|---|---|---|
| search with texts in 100,000 passages, recall of 0.98: queries/s | 900 | 300 (LanceDB) | 3.00 × |
| import of 10,000 q/a rows: rows/s | 200 | 40.0 (LangChain + FAISS) | 5.00 × |
| search in them, question not yet embedded: queries/s | 50 | 100.0 (LangChain + FAISS) | 0.50 ×, the peer wins |
| nDCG@10 on scifact, `mixedRecall` | 0.73 | 0.66 (LangChain + FAISS) | 1.11 × |"""


def test_the_short_table_takes_the_best_peer(
    report: dict[str, Any],
    peers_vectors: dict[str, Any],
    peers_texts: dict[str, Any],
    peers_quality: dict[str, Any],
) -> None:
    """Not a floor, however quick, and none that failed or did not find enough."""
    reports = {
        "speed vectors": report,
        "peers vectors": peers_vectors,
        "peers texts": peers_texts,
        "peers quality": peers_quality,
    }

    assert short_table(reports) == SHORT
    assert fill_readme(README, reports) == README.replace("old", SHORT, 1)
    assert fill_readme(fill_readme(README, reports), reports) == fill_readme(README, reports)


@pytest.mark.parametrize(
    "readme", ["", "<!-- measured -->\n", "<!-- end -->", "<!-- end --> <!-- measured -->\n"]
)
def test_a_readme_without_the_markers(readme: str) -> None:
    with pytest.raises(ValueError, match="has no <!-- measured -->"):
        fill_readme(readme, {})


def searched(recall: float, rate: float, **setting: int) -> dict[str, Any]:
    measured = {
        "recall_at_10": recall,
        "queries_per_s": rate,
        "p50_ms": 1.0,
        "p99_ms": 2.5,
        "asked": 1980,
        "cores_busy": 0.97,
    }
    return {"setting": setting, **measured} if setting else measured


def answer(default: dict[str, Any], same: dict[str, Any] | None, **others: Any) -> dict[str, Any]:
    return {
        "returns": "ids, texts",
        "rows_per_s": 2500,
        "default": default,
        "same_recall": same,
        "disk_mb": 50.5,
        "resident_mb": 800,
        "kept_after_kill": 1.0,
        **others,
    }


@pytest.fixture
def peers_vectors() -> dict[str, Any]:
    own = searched(0.987, 900)
    answers = {
        "quotebase": answer(own, own),
        "chroma": answer(searched(0.9, 5000), None),
        "lancedb": answer(searched(0.8, 700), searched(0.981, 300, ef=100, refine_factor=5)),
        "qdrant": {"failed": "no wheel | for this machine"},
        "bare_faiss": answer(searched(0.8, 9000), searched(0.982, 2700, efSearch=96), kept_after_kill=0.0),
    }
    named = {peer.module: {"name": peer.name, "versions": ""} for peer in (OWN, *VECTOR_PEERS, *FLOORS)}
    results = {"passages": 100_000, "dim": 384, "queries": 2000, "top_k": 10, "least_recall": 0.98}
    return {
        "benchmark": "peers vectors",
        "provenance": PROVENANCE,
        "results": {**results, "peers": {name: named[name] | one for name, one in answers.items()}},
    }


def imported(rows_per_s: float, queries_per_s: float) -> dict[str, Any]:
    return {
        "rows_per_s": rows_per_s,
        "import_s": 1.0,
        "queries_per_s": queries_per_s,
        "p50_ms": 5.0,
        "p99_ms": 9.0,
        "disk_mb": 20.0,
        "resident_mb": 700,
    }


@pytest.fixture
def peers_texts() -> dict[str, Any]:
    answers = {
        "quotebase": {"name": "quotebase", "versions": "", **imported(200, 50)},
        "txtai": {"name": "txtai", "versions": "txtai==9", "failed": "no torch"},
        "langchain": {"name": "LangChain + FAISS", "versions": "l==1", **imported(40.0, 100.0)},
    }
    return {
        "benchmark": "peers texts",
        "provenance": PROVENANCE,
        "results": {"rows": 10_000, "questions": 320, "top_k": 10, "peers": answers},
    }


@pytest.fixture
def peers_quality() -> dict[str, Any]:
    answers = {peer.module: {"name": peer.name, "versions": "", "nDCG@10": 0.6} for peer in TEXT_PEERS}
    answers["langchain"]["nDCG@10"] = 0.66
    answers["txtai"] = {"name": "txtai", "versions": "", "failed": "no torch"}
    own = {"embedding": 0.65, "fullTextRecall": 0.7, "mixedRecall": 0.73}
    measured = {"documents": 5183, "queries": 300, "quotebase": own, "peers": answers}
    return {
        "benchmark": "peers quality",
        "provenance": PROVENANCE,
        "results": {"sets": {"scifact": measured}},
    }


def lines_of(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if line.startswith("| ")][1:]


def test_peers_stand_in_the_order_of_their_speed_at_the_same_recall(peers_vectors: dict[str, Any]) -> None:
    assert lines_of(vectors_table(peers_vectors)) == [
        "| quotebase | 0.987 | 900 | as it is | 0.987 | 900 | 2.5 |  | 0.97 | ids, texts | 2,500 | 50.5 | 100% |",
        "| LanceDB | 0.8 | 700 | ef 100, refine_factor 5 | 0.981 | 300 | 2.5 | 3.00 × | 0.97 | ids, texts | 2,500 "
        "| 50.5 | 100% |",
        "| Chroma | 0.9 | 5000 | not reached |  |  |  |  | 0.97 | ids, texts | 2,500 | 50.5 | 100% |",
        "| Qdrant, local mode | could not be measured: no wheel \\| for this machine |  |  |  |  |  |  |  |  |  |  |  |",
        "| FAISS HNSW, bare | 0.8 | 9000 | efSearch 96 | 0.982 | 2700 | 2.5 | 0.33 ×, the peer wins | 0.97 "
        "| ids, texts | 2,500 | 50.5 | 0% |",
    ]


def test_imports_stand_in_the_order_of_their_speed(peers_texts: dict[str, Any]) -> None:
    assert lines_of(texts_table(peers_texts)) == [
        "| quotebase | 200 |  | 50 | 5.0 | 9.0 |  | 20.0 | 700 |",
        "| LangChain + FAISS (l==1) | 40.0 | 5.00 × | 100.0 | 5.0 | 9.0 | 0.50 ×, the peer wins | 20.0 | 700 |",
        "| txtai (txtai==9) | could not be measured: no torch |  |  |  |  |  |  |  |",
    ]


def test_the_best_quality_is_bold_whoever_it_is(peers_quality: dict[str, Any]) -> None:
    ours = "| scifact, 5,183 documents, 300 queries | 0.6500 | 0.7000 | {} | 0.6000 | failed | {} | 0.6000 |"

    assert lines_of(quality_table(peers_quality)) == [ours.format("**0.7300**", "0.6600")]
    peers_quality["results"]["sets"]["scifact"]["peers"]["langchain"]["nDCG@10"] = 0.74
    assert lines_of(quality_table(peers_quality)) == [ours.format("0.7300", "**0.7400**")]


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        (3.0, 1.0, "3.00 ×"),
        (1.0, 1.0, "1.00 ×"),
        (0.99, 1.0, "0.99 ×, the peer wins"),
        (None, 1.0, ""),
        (1.0, None, ""),
    ],
)
def test_where_a_peer_wins_it_is_said(own: float | None, other: float | None, said: str) -> None:
    assert times(own, other) == said


def test_the_power_that_a_figure_grows_with() -> None:
    sizes = [10, 100, 1000]

    assert exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [7, 7, 7]) == pytest.approx(0)
    assert exponent(sizes, [0.0, 5, 50]) == pytest.approx(1)  # 0 has no logarithm
    assert exponent(sizes, [None, 0.0, 50]) is None


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


def loaded(load: dict[str, float], p50_ms: float, failed: int = 0) -> dict[str, float]:
    return {**load, "answered_per_s": 40.5, "p50_ms": p50_ms, "p99_ms": 2 * p50_ms, "failed": failed}


HTTP_REPORT = {
    "benchmark": "http",
    "provenance": PROVENANCE,
    "results": {
        "records": 100_000,
        "known": 32,
        "deltas": 20,
        "pause_ms": 5.0,
        "seconds": 15.0,
        "loads": {
            name: {
                "closed": [loaded({"clients": 4}, 20.0 + place)],
                "open": [loaded({"rate": 30.5}, 10.0), loaded({"rate": 44.0}, 500.0, failed=2)],
            }
            for place, name in enumerate(("search_new", "search_known", "chat_new", "chat_known"))
        },
    },
}

HTTP_TABLES = """\
`python -m benchmarks http` at revision abc123+, 2026-11-28, 2 cores of a processor, load average 0.25. Loads of 15 s \
by Locust on the cores of the server, which searches 100,000 records. A chat is a search and 20 deltas of a language \
model, one each 5 ms, to the last. New questions have still to be embedded, known ones are 32, again and again.

| Clients that ask as soon as they are answered | clients | answers/s | p50, ms | p99, ms | failed |
|---|---|---|---|---|---|
| `searchTest`, new questions | 4 | 40.5 | 20.0 | 40.0 | 0 |
| `searchTest`, known questions | 4 | 40.5 | 21.0 | 42.0 | 0 |
| chat, new questions | 4 | 40.5 | 22.0 | 44.0 | 0 |
| chat, known questions | 4 | 40.5 | 23.0 | 46.0 | 0 |

| Questions that come at a rate, up to more than can be done | a second | answered of them | p50, ms | p99, ms | failed |
|---|---|---|---|---|---|
| `searchTest`, new questions | 30.5 | 40.5 | 10.0 | 20.0 | 0 |
| `searchTest`, new questions | 44.0 | 40.5 | 500.0 | 1000.0 | 2 |
| `searchTest`, known questions | 30.5 | 40.5 | 10.0 | 20.0 | 0 |
| `searchTest`, known questions | 44.0 | 40.5 | 500.0 | 1000.0 | 2 |
| chat, new questions | 30.5 | 40.5 | 10.0 | 20.0 | 0 |
| chat, new questions | 44.0 | 40.5 | 500.0 | 1000.0 | 2 |
| chat, known questions | 30.5 | 40.5 | 10.0 | 20.0 | 0 |
| chat, known questions | 44.0 | 40.5 | 500.0 | 1000.0 | 2 |

![http](results/http.png)"""


def test_a_report_of_the_server_under_load_becomes_tables() -> None:
    assert http_tables(HTTP_REPORT) == HTTP_TABLES


def test_a_report_of_the_chat_becomes_tables() -> None:
    assert chat_tables(CHAT_REPORT) == CHAT_TABLES


def test_reports_become_documents_and_plots(
    tmp_path: Path, report: dict[str, Any], peers_vectors: dict[str, Any]
) -> None:
    results = tmp_path / "benchmarks" / "results"
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    for one in (report, peers_vectors, HTTP_REPORT, CHAT_REPORT):
        publish({"benchmark": "speed vectors", **one}, is_quick=False, as_json=True, folder=results)

    write_all(results, tmp_path)

    reports = read_reports(results)
    assert list(reports) == ["speed vectors", "speed chat", "http", "peers vectors"]
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == fill_readme(README, reports)
    written = (tmp_path / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert written == benchmarks_readme(reports)
    assert TABLES in written
    assert HTTP_TABLES in written
    assert CHAT_TABLES in written
    assert [path.read_bytes()[:4] for path in sorted(results.glob("*.png"))] == 3 * [b"\x89PNG"]


def test_the_document_says_how_every_peer_is_measured() -> None:
    written = benchmarks_readme({})

    for peer in (OWN, *VECTOR_PEERS, *TEXT_PEERS, *FLOORS):
        assert f"**{peer.name}.** " in written


def test_the_readme_has_the_markers_once() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert (readme.count("<!-- measured -->"), readme.count("<!-- end -->")) == (1, 1)


def test_the_tables_are_the_newest_reports() -> None:
    """If not: ``python -m benchmarks report``."""
    reports = read_reports()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert "speed vectors" in reports
    assert fill_readme(readme, reports) == readme
    assert (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8") == benchmarks_readme(reports)
