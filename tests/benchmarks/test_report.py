"""Every report has one shape and one place."""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.report import RESULTS, make_report, publish, result_path, revision
from retrieval.types import ModelBinding

MODEL = ModelBinding("hash", 8, "abc")

PROVENANCE = {
    "revision",
    "date",
    "python",
    "packages",
    "cpu",
    "cores",
    "omp_threads",
    "load_average",
    "seed",
    "model",
    "data",
}


@pytest.mark.parametrize(
    ("benchmark", "name"),
    [
        ("speed vectors", "vectors.json"),
        ("quality scifact", "quality_scifact.json"),
        ("peers import", "peers_import.json"),
        ("embedding", "embedding.json"),
    ],
)
def test_a_report_is_kept_under_the_name_of_its_benchmark(benchmark: str, name: str) -> None:
    assert result_path(benchmark) == RESULTS / name


def test_a_report_says_where_its_figures_come_from(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("what was measured on")

    report = make_report("speed nothing", MODEL, tmp_path / "data", {"rows": 1})

    assert set(report["provenance"]) == PROVENANCE
    assert report["provenance"]["model"] == {"name": "hash", "dim": 8, "fingerprint": "abc"}
    assert report["results"] == {"rows": 1}


def test_the_revision_is_that_of_what_was_measured(tmp_path: Path) -> None:
    def git(*told: str) -> str:
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *told], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert revision(tmp_path) == "unknown"
    git("init", "-q")
    code, results = tmp_path / "code.py", tmp_path / "benchmarks/results"
    results.mkdir(parents=True)
    code.write_text("1")
    (results / "one.json").write_text("{}")
    git("add", ".")
    git("commit", "-qm", "all")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert revision(tmp_path) == commit

    (results / "one.json").write_text("{1}")
    (results / "two.json").write_text("{}")
    assert revision(tmp_path) == commit
    code.write_text("2")
    assert revision(tmp_path) == f"{commit}+"


def test_another_file_has_another_hash(tmp_path: Path) -> None:
    def hash_of(text: str) -> str:
        (tmp_path / "data").write_text(text)
        told: str = make_report("speed nothing", MODEL, tmp_path / "data", {})["provenance"]["data"]["sha256"]
        return told

    assert hash_of("one") == hash_of("one") != hash_of("two")


def test_a_quick_report_leaves_the_full_one_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full, quick = ({"benchmark": "speed nothing", "results": {"rows": rows}} for rows in (100_000, 10))

    publish(full, is_quick=False, as_json=True, folder=tmp_path)
    assert json.loads(capsys.readouterr().out) == full
    publish(quick, is_quick=True, as_json=False, folder=tmp_path)
    assert capsys.readouterr().out.split() == ["rows", "10"]

    assert json.loads((tmp_path / "nothing.json").read_text()) == full
    assert json.loads((tmp_path / "quick" / "nothing.json").read_text()) == quick
