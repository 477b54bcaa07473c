"""Nothing is lost while clients write and search at once: a short version of ``benchmarks speed soak``."""

from pathlib import Path

from benchmarks.server import environment_of
from benchmarks.soak import measure_soak
from tests.openai_server import openai_server

SECONDS = 3.0


def test_writers_and_searchers_at_once_lose_nothing(tmp_path: Path) -> None:
    rows = [(f"question {n} about {n * 7919 % 1000}", f"answer {n}") for n in range(40_000)]
    with openai_server() as embeddings:
        environment = {
            **environment_of(tmp_path / "data", tmp_path / "cache"),
            "QUOTEBASE_EMBEDDING_BASE_URL": embeddings.url,
            "QUOTEBASE_EMBEDDING_MODEL": "scripted",
        }
        results = measure_soak(environment, rows, SECONDS, 4, 4, lambda _: None)

    assert results["errors"] == []
    differences = ("lost", "wrong", "unexpected", "deleted_ones_found")
    assert [results[name] for name in differences] == [0, 0, 0, 0]
    assert results["verify"] == "clean"
    assert results["records"] > 50
    assert {"insert", "push", "update", "delete", "search"} <= results["requests"].keys()
