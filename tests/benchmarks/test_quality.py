"""The quality benchmark: its figures by hand on a set of the test's, and on a real one."""

from pathlib import Path
from typing import get_args

import pytest

from benchmarks.quality import measure_quality
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.types import SearchMode
from tests.doubles import HashEmbedder
from tests.ingest.test_labelled import write_set


def measure(
    folder: Path, embedder: HashEmbedder | BundledEmbedder, data_dir: Path | None = None
) -> dict[str, float]:
    results: dict[str, float] = measure_quality(
        folder, "test", get_args(SearchMode), embedder, data_dir, lambda _: None
    )["results"]
    return results


def test_figures_of_a_small_set(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "T\\nbody"}\n{"_id": "2", "text": "alone"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\t7\t1\n2\t7\t1\n")
    results = measure(folder, HashEmbedder())
    assert results["embedding RR@10"] == 0.75  # found first for query 1, second for query 2
    assert results["embedding R@10"] == 1.0
    assert results["fullTextRecall RR@10"] == 0.5  # no word of query 2 is in the right one
    assert results["documents"] == 2
    assert results["queries"] == 2


def test_a_kept_dataset_is_not_embedded_again(tmp_path: Path) -> None:
    folder, embedder = write_set(tmp_path / "set"), HashEmbedder()
    assert measure(folder, embedder, tmp_path / "kept")["embedded"] == 2
    assert measure(folder, embedder, tmp_path / "kept")["embedded"] == 0


@pytest.mark.model
@pytest.mark.slow
def test_quality_on_a_real_faq(shared_data: Path, bundled: BundledEmbedder) -> None:
    results = measure(shared_data / "retrieval" / "covid_faq_en", bundled)
    assert results["embedding nDCG@10"] >= 0.80
    assert results["fullTextRecall nDCG@10"] >= 0.68
    assert results["mixedRecall nDCG@10"] >= 0.82
