"""What the command line prints: results on stdout, all else on stderr."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ingest.jobs import ImportReport
from ingest.mapping import RowProblem
from ingest.preview import Preview
from ingest.progress import ReportProgress
from retrieval.embedding import Progress as ModelProgress
from retrieval.types import IndexDifferences, IndexStatus
from retrieval.vectors.index import OnStep

TABLE_WIDTH = 10_000
"""Wider than any table: a cell that is cut, such as an id, is of no use."""

COUNTS = ("read", "added", "updated", "unchanged", "rejected", "removed", "embedded")

EXPLAINED_CHARS = 40
"""Of a question in the table of an explanation."""

LOGGED_S = 30.0
"""Between two lines of progress where there is no bar."""

_out = Console(soft_wrap=True, highlight=False)
_tables = Console(width=TABLE_WIDTH, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON value, and nothing else, on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_line(text: str = "") -> None:
    _out.print(Text(text))


def print_note(text: str) -> None:
    """For the person, not for the program that reads stdout."""
    _err.print(Text(text))


def print_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str], as_json: bool) -> None:
    """All of each row as JSON, or the named columns as a table."""
    if as_json:
        print_json(rows)
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(str(row[column])) for column in columns))
    _tables.print(table)


def print_quotes(quotes: Sequence[Mapping[str, Any]]) -> None:
    """As a reply to a search has them."""
    for place, quote in enumerate(quotes, start=1):
        _out.print(Text.assemble((f"{place}. {quote['score'][0]['value']:.4f}  ", "bold"), quote["q"]))
        for line in quote["a"].splitlines():
            _out.print(Text(f"   {line}"))
        _out.print(Text(f"   {quote['sourceName']} · {quote['tokens']} tokens · {quote['id']}", "dim"))


def print_explanation(explanation: Mapping[str, Any], asked: str | None) -> None:
    """A line for each candidate, with the sum that its place comes from; of one that was asked for, all of it."""
    print_line()
    table = Table("", "decision", "score", "from", "q", box=None, pad_edge=False, header_style="bold")
    for place, candidate in enumerate(explanation["candidates"], start=1):
        if asked in (None, candidate["id"]) or candidate["kept"]:
            table.add_row(*map(Text, _explained(place, candidate)))
    _tables.print(table)
    if explanation["absent"]:
        print_line(f"{asked} was not looked at: {explanation['absent']}")


def _explained(place: int, candidate: Mapping[str, Any]) -> Iterator[str]:
    deciding = candidate["score"][0]
    yield str(place)
    yield "kept" if candidate["kept"] else f"{candidate['droppedBy']}: {candidate['detail']}"
    yield f"{deciding['value']:.4f}"
    yield " + ".join(map(_term_of, candidate["parts"])) or f"{deciding['type']}, rank {deciding['index'] + 1}"
    yield candidate["q"].replace("\n", " ")[:EXPLAINED_CHARS]


def _term_of(part: Mapping[str, Any]) -> str:
    """A part of the sum: weight × share (raw score, rank)."""
    rank = "not recalled" if part["rank"] is None else f"rank {part['rank'] + 1}"
    share = f"{part['weight']:.2g} × {part['normalised']:.4f}"
    terms = f": {' '.join(part['passage']['terms'])}" if part["source"] == "fullText" and part["raw"] else ""
    return f"{share} ({part['source']} {part['raw']:.4f}, {rank}{terms})"


def print_report(report: ImportReport) -> None:
    if report.state == "failed":
        print_note(f"{report.file}: {report.error}")
        return
    counts = ", ".join(f"{name} {getattr(report, name)}" for name in COUNTS)
    print_line(f"{report.file} → {report.dataset}/{report.collection}: {counts} ({report.seconds:.1f} s)")
    _print_problems(report.problems, report.rejected)
    if report.ignored:
        print_note(f"  columns that nothing was taken from: {', '.join(report.ignored)}")


def print_preview(preview: Preview) -> None:
    """How the file would be read, its first records and problems."""
    details = ", ".join(filter(None, (preview.kind, preview.encoding, _named(preview.delimiter))))
    print_line(
        f"{preview.file} ({details}): {preview.records} records, {preview.rejected} rows rejected, "
        f"{preview.blank} blank, some {preview.tokens} tokens, {preview.seconds:.0f} s of embedding"
    )
    for draft in preview.first:
        print_line(f"  q: {draft.q}")
        for name, text in (("a", draft.a), ("key", draft.key), *(("index", text) for text in draft.indexes)):
            if text:
                print_line(f"  {name}: {text}")
    _print_problems(preview.problems, preview.rejected)


def _named(delimiter: str) -> str:
    return {"": "", "\t": "tab"}.get(delimiter, f"delimiter {delimiter}")


def _print_problems(problems: Sequence[RowProblem], rejected: int) -> None:
    for problem in problems:
        column = f", {problem.column}" if problem.column else ""
        print_note(f"  line {problem.line}{column}: {problem.reason}")
    if rejected > len(problems):
        print_note(f"  … and {rejected - len(problems)} more")


@contextmanager
def import_progress(name: str) -> Iterator[ReportProgress]:
    """A bar on stderr while a file is imported; a line now and then if it is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rows]} rows, {task.fields[rate]} texts/s"),
    )
    with Progress(*columns, console=_err, transient=True, disable=not _err.is_terminal) as progress:
        task = progress.add_task(name, total=1.0, rows=0, rate=0)
        said = time.monotonic()

        def note(report: ImportReport) -> None:
            nonlocal said
            rate = round(report.embedded / report.seconds) if report.seconds else 0
            progress.update(task, completed=report.share, rows=report.read, rate=rate)
            if not _err.is_terminal and time.monotonic() - said > LOGGED_S:
                said = time.monotonic()
                print_note(f"{name}: {report.share:.0%}, {report.read} rows, {rate} texts/s")

        yield note


def model_progress() -> ModelProgress:
    """A line on stderr for each step of preparing the model."""
    return lambda what, share: print_note(f"{what}: {share:.0%}")


@contextmanager
def step_progress(name: str) -> Iterator[OnStep]:
    """A bar on stderr for work that counts its steps, if somebody looks on."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_err, transient=True, disable=not _err.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def describe_index(index: IndexStatus) -> str:
    """Where the passages of an index are, in a few words."""
    kind = "in a graph" if index.has_graph else "exact"
    parts = [f"{index.sealed} sealed {kind}"] if index.sealed else []
    parts += [f"{index.flat} flat"] if index.flat or not parts else []
    parts += [f"{index.removed} removed"] if index.removed else []
    parts += [f"folding {index.folding:.0%}"] if index.folding is not None else []
    return ", ".join(parts)


def describe_differences(found: IndexDifferences, index: str) -> str:
    counts = ("missing", "surplus", "misfiled", "changed")
    parts = [f"{getattr(found, count)} {count}" for count in counts if getattr(found, count)]
    parts += [f"snapshot: {found.snapshot}"] if found.snapshot else []
    return f", not in {index} as in the store ({', '.join(parts)}): the index is made again"
