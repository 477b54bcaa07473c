"""The shape of a report: the benchmark, where its figures come from, and the figures; and where it is kept."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retrieval.types import ModelBinding

PACKAGES = ("quotebase", "faiss-cpu", "numpy", "openvino", "tokenizers", "tantivy")

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results"
QUICK = "quick"
"""Beside the results: what ``--quick`` measured, which no table shows."""

SEED = 20_24
"""Of all that is drawn by chance."""


def make_report(
    benchmark: str, model: ModelBinding, data: Path, results: Mapping[str, Any]
) -> dict[str, Any]:
    """A report with its provenance; ``data`` is the file or folder that was measured on."""
    provenance = {
        "revision": revision(ROOT),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "omp_threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load_average": round(os.getloadavg()[0], 2),
        "seed": SEED,
        "model": {"name": model.name, "dim": model.dim, "fingerprint": model.fingerprint},
        "data": {"name": data.name, "sha256": _hash(data)[:16]},
    }
    return {"benchmark": benchmark, "provenance": provenance, "results": results}


def publish(report: Mapping[str, Any], is_quick: bool, as_json: bool, folder: Path = RESULTS) -> None:
    """Keep the report as JSON, where the tables are made from it, and print it."""
    path = result_path(report["benchmark"], folder / QUICK if is_quick else folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print_report(report, as_json)


def result_path(benchmark: str, folder: Path = RESULTS) -> Path:
    """Where the newest report of a benchmark is: ``speed vectors`` in vectors.json."""
    return folder / f"{benchmark.removeprefix('speed ').replace(' ', '_')}.json"


def print_report(report: Mapping[str, Any], as_json: bool) -> None:
    """The whole report as JSON, or its figures a line each."""
    if as_json:
        print(json.dumps(report, ensure_ascii=False, indent=2))
        return
    for name, value in report["results"].items():
        print(f"{name:32} {value:.4f}" if isinstance(value, float) else f"{name:32} {value}")


def revision(root: Path) -> str:
    """The commit of a checkout, with a plus if files other than reports differ from it."""
    git = ["git", "-C", str(root)]  # the PATH's git is meant
    measured = ["status", "--porcelain", "--", ".", ":(exclude)benchmarks/results"]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changes = subprocess.run([*git, *measured], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _hash(data: Path) -> str:
    digest = sha256()
    for file in sorted(data.rglob("*")) if data.is_dir() else [data]:
        if file.is_file():
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
