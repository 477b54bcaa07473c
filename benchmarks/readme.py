"""From the newest reports to benchmarks/README.md and to the short table of the README, between its markers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import image, table
from benchmarks.peers.tables import fairness, quality_table, short_rows, texts_table, vectors_table
from benchmarks.plots import plot_growth, plot_http, plot_peers
from benchmarks.report import RESULTS, result_path
from benchmarks.speed_tables import GROWTH, chat_tables, http_tables, vectors_tables

ROOT = Path(__file__).parent.parent
SHOWN = ("speed vectors", "speed chat", "http", "peers vectors", "peers texts", "peers quality")
START, END = "<!-- measured -->\n", "<!-- end -->"

Report = Mapping[str, Any]

HEAD = """\
# Measured

Made by `python -m benchmarks report` from the reports in `results/`; every command keeps its own there, with
revision, versions, processor, threads, data, model, date and seed. `--quick` measures less, in under two minutes, and keeps it
in `results/quick`. Other work may have run on the machine: the ratios, each taken in one run, say more than the rates."""


def read_reports(folder: Path = RESULTS) -> dict[str, Report]:
    """The newest of each benchmark that has tables here."""
    paths = {name: result_path(name, folder) for name in SHOWN}
    return {
        name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()
    }


def write_all(folder: Path = RESULTS, root: Path = ROOT) -> None:
    """Both documents and the plots."""
    reports = read_reports(folder)
    readme = root / "README.md"
    readme.write_text(fill_readme(readme.read_text(encoding="utf-8"), reports), encoding="utf-8")
    (root / "benchmarks" / "README.md").write_text(benchmarks_readme(reports), encoding="utf-8")
    if "speed vectors" in reports:
        plot_growth(reports["speed vectors"], folder / "vectors.png")
    if "peers vectors" in reports:
        plot_peers(reports["peers vectors"], folder / "peers_vectors.png")
    if "http" in reports:
        plot_http(reports["http"], folder / "http.png")


def fill_readme(readme: str, reports: Mapping[str, Report]) -> str:
    """The README with the short table of the reports between ``<!-- measured -->`` and ``<!-- end -->``.

    Raises:
        ValueError: the markers are not there.
    """
    before, found, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ValueError("the README has no <!-- measured --> … <!-- end -->")
    return f"{before}{found}{short_table(reports)}\n{end}{after}"


def short_table(reports: Mapping[str, Report]) -> str:
    """What a reader wants to know first: growth, and the best peer by each measure."""
    parts = []
    if report := reports.get("speed vectors"):
        growth = report["results"]["growth"]
        sizes = (f"{one['passages']:,}" for one in growth)
        fields = ("recall@10", "search p50, ms", "search p99, ms", "start from the snapshot, s")
        rows = [(label, *(one[GROWTH[label]] for one in growth)) for label in fields]
        parts.append(table(("Passages, vectors alone", *sizes), *rows))
    if rows_of_peers := list(short_rows(reports)):
        parts.append(table(("Beside others, in one run", "quotebase", "the best peer", ""), *rows_of_peers))
    return "\n\n".join(parts)


def benchmarks_readme(reports: Mapping[str, Report]) -> str:
    """Everything: the peers, how each is measured, growth, the server under load, the chat layer."""
    parts = [HEAD]
    if report := reports.get("peers vectors"):
        parts += ["## Beside others: vectors with texts", vectors_table(report), image("peers_vectors")]
    if report := reports.get("peers texts"):
        parts += ["## Beside others: from q/a rows on, with the same model", texts_table(report)]
    if report := reports.get("peers quality"):
        parts += ["## Beside others: quality of the default search", quality_table(report)]
    parts += ["## How each is measured", fairness()]
    if report := reports.get("speed vectors"):
        parts += ["## The vector engine", vectors_tables(report)]
    if report := reports.get("http"):
        parts += ["## The server under load", http_tables(report)]
    if report := reports.get("speed chat"):
        parts += ["## The chat layer", chat_tables(report)]
    return "\n\n".join(parts) + "\n"
