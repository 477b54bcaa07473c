"""What a command loads before it does anything."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.conftest import DATA
from tests.api.processes import environment, run

HEAVY = (
    *("torch", "fastapi", "pandas", "sentence_transformers", "openai", "uvicorn", "pymongo", "mcp"),
    "prometheus_client",
    *("pypdf", "mammoth", "bs4", "markdownify", "openpyxl", "chardet"),
    "limits",
)


def imported(*arguments: str, data_dir: Path) -> set[str]:
    """The top-level packages that a command imports."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "from api.cli import main; main()", *arguments],
        env=environment(data_dir, {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return {
        name.split(".")[0]
        for name in re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", ran.stderr, re.MULTILINE)
    }


@pytest.mark.model
def test_a_search_loads_nothing_heavy_that_it_does_not_need(tmp_path: Path) -> None:
    assert run("ingest", DATA / "suzume.csv", "--dataset", "suzume", data_dir=tmp_path / "data").code == 0

    packages = imported("search", "suzume", "导演是谁", "--json", data_dir=tmp_path / "data")

    assert packages >= {"openvino", "faiss", "numpy", "typer", "sqlite3"}
    assert packages & set(HEAVY) == set()


@pytest.mark.parametrize("command", ["datasets", "jobs", "apps", "keys"])
def test_a_list_loads_no_model(tmp_path: Path, command: str) -> None:
    packages = imported(command, "list", data_dir=tmp_path / "data")

    assert packages >= {"typer", "sqlite3"}
    assert packages & {*HEAVY, "openvino", "tokenizers"} == set()
