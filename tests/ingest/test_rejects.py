"""Rejected rows as a file: what is in it, and that it can be imported again."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import ingest.batches
from ingest.imports import run_job
from ingest.jobs import ImportReport, ImportSettings
from ingest.mapping import ColumnChoice, RowProblem
from ingest.queueing import queue_import
from ingest.rejects import Rejects, rejects_path
from ingest.rows import TableOptions
from ingest.sources import Item, Reading
from retrieval.library import Library
from retrieval.types import Dataset, RecordDraft
from tests.ingest.importing import NotingEmbedder, records_of, refuse, texts_of, write_csv, write_jsonl

HEADER = ("q", "a", "indexes")


def rejected(line: int, *cells: str, column: str = "q", reason: str = "q is empty") -> Item:
    return Item(RowProblem(line, column, reason), line, cells)


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "rejects.csv"


# The file


def test_rejected_rows_with_line_and_reason(path: Path) -> None:
    rejects = Rejects(path, HEADER)
    rejects.write([rejected(3, "", 'a "b",\nc', "x"), Item(RecordDraft("q"), 4, ("q",))])
    rejects.write([rejected(5, 'x"y', column="", reason="the quoting is broken")])
    rejects.close()
    assert read(path) == [
        ["#line", "#reason", *HEADER],
        ["3", "q: q is empty", "", 'a "b",\nc', "x"],
        ["5", "the quoting is broken", 'x"y'],
    ]


def test_without_a_header_rows_are_as_they_were(path: Path) -> None:
    rejects = Rejects(path, ())
    assert rejects.size == 0
    rejects.write([rejected(1, "", "a"), rejected(2, " ", "b", "c")])
    rejects.close()
    assert read(path) == [["", "a"], [" ", "b", "c"]]


@pytest.mark.parametrize("header", [HEADER, ()])
def test_what_came_after_the_part_to_keep_goes(path: Path, header: tuple[str, ...]) -> None:
    for keep in (0, 0):
        rejects = Rejects(path, header, keep)
        rejects.write([rejected(2, "", "läuft über")])
        noted = rejects.size
        rejects.write([rejected(3, "", "not noted")])
        rejects.close()
        assert path.stat().st_size > noted
    rejects = Rejects(path, header, noted)
    assert rejects.size == path.stat().st_size == noted
    rejects.write([rejected(4, "", "ü"), rejected(5, "", "last")])
    assert rejects.size == path.stat().st_size
    rejects.close()
    assert [row[-1] for row in read(path)][bool(header) :] == ["läuft über", "ü", "last"]


def test_a_file_that_is_shorter_than_was_noted_is_not_filled(path: Path) -> None:
    rejects = Rejects(path, HEADER, keep=500)
    rejects.write([rejected(4, "", "a")])
    rejects.close()
    assert read(path) == [["#line", "#reason", *HEADER], ["4", "q: q is empty", "", "a"]]


# Imported again


@pytest.fixture
def embedder() -> NotingEmbedder:
    return NotingEmbedder(refuse("poison"))


@pytest.fixture
def dataset(library: Library) -> Dataset:
    return library.create_dataset("coffee")


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.batches, "BATCH_RECORDS", 3)
    monkeypatch.setattr(ingest.batches, "QUICK_S", 0.0)


def run(library: Library, dataset: Dataset, path: Path, reading: Reading) -> ImportReport:
    job = queue_import(library, dataset, path, ImportSettings(path.name, "all", reading=reading))
    return run_job(library, job, sleep=lambda _: None)


CHOSEN = ColumnChoice("text", "3", ("also", "more"), "1", metadata=("source",))

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A table, its rejected rows once mended, and q, a, key and index texts of the records that are to be."""

    header: Cells
    rows: list[Cells]
    mended: list[Cells]
    records: list[tuple[str, str, str, Cells]]
    choice: ColumnChoice = field(default_factory=ColumnChoice)
    mended_by_the_first: int = 0


CASES = {
    "q and a": Case(
        ("q", "a"),
        [("", "a1"), ("q2", "a2"), ("poison", "a3"), ("q4", "a4", "beyond")],
        [("q1", "a1"), ("harmless", "a3"), ("q4", "a4, beyond")],
        [("q1", "a1", "", ()), ("harmless", "a3", "", ()), ("q4", "a4, beyond", "", ())],
    ),
    "index texts": Case(
        ("q", "a", "indexes"),
        [("", "a1", "x", "y"), (" ", "a2", "1. x 2. y"), ("q3", "a3"), ("q4", "a4", "poison", "z")],
        [("q1", "a1", "x", "y"), ("q2", "a2", "1. x 2. y"), ("q4", "a4", "", "z")],
        [("q1", "a1", "", ("x", "y")), ("q2", "a2", "", ("x", "y")), ("q4", "a4", "", ("z",))],
    ),
    "index and content": Case(
        ("index", "content"),
        [("", "a1"), ("q2", "a2"), ("poison", "a3")],
        [("q1", "a1"), ("q3", "a3")],
        [("q1", "a1", "", ()), ("q3", "a3", "", ())],
    ),
    "chosen": Case(
        ("id", "text", "answer", "source", "also", "more", "author"),
        [
            ("k1", "q1", "a1", "web", "x", ""),
            ("", "q2", "a2", "web", "x", "y", "me"),
            ("k1", "q3", "a3", "book", "", "y"),
            ("k4", "poison", "a4", "", "", ""),
        ],
        [("k2", "q2", "a2", "web", "x", "y", "me"), ("k3", "q3", "a3", "book", "", "y"), ("k4", "q4", "a4")],
        [("q2", "a2", "k2", ("x", "y")), ("q3", "a3", "k3", ("y",)), ("q4", "a4", "k4", ())],
        CHOSEN,
        mended_by_the_first=1,
    ),
    "no header": Case(
        (),
        [("", "a1"), ("q2", "a2"), ("", "a3", "x", "y")],
        [("q1", "a1"), ("q3", "a3", "x", "y")],
        [("q1", "a1", "", ()), ("q3", "a3", "", ("x", "y"))],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_rejected_rows_is_imported_again(
    library: Library, dataset: Dataset, tmp_path: Path, embedder: NotingEmbedder, name: str
) -> None:
    """By the same options: as it is, and mended."""
    case = CASES[name]
    reading = Reading(TableOptions(has_header=bool(case.header)), case.choice)
    first = run(library, dataset, write_csv(tmp_path / "f.csv", case.rows, case.header), reading)
    path = rejects_path(library, first.job)
    noted = 2 if case.header else 0
    header, found = (read(path)[0], read(path)[1:]) if noted else ([], read(path))
    first_line = 2 if noted else 1
    assert [row[noted:] for row in found] == [
        list(case.rows[problem.line - first_line]) for problem in first.problems
    ]
    again = run(library, dataset, path, reading)
    assert again.ignored == first.ignored
    assert again.read == first.rejected == len(case.mended)
    # The second row of a key is the first in the file of rejected ones.
    assert again.rejected == first.rejected - case.mended_by_the_first

    mended = [(*row[:noted], *cells) for row, cells in zip(found, case.mended, strict=True)]
    report = run(
        library, library.create_dataset("tea"), write_csv(tmp_path / "mended.csv", mended, header), reading
    )
    records = records_of(library, report)
    assert report.rejected == 0
    assert [
        (one.q, one.a, one.key, texts[1:])
        for one, texts in zip(records, texts_of(library, records), strict=True)
    ] == case.records


def test_rejected_rows_of_jsonl_are_a_table(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    rows: list[dict[str, object] | str] = [
        {"q": "q1", "a": "", "indexes": ["x"]},
        {"q": "", "a": "a\n2", "indexes": ["y", "z"]},
        '{"q": broken',
    ]
    first = run(library, dataset, write_jsonl(tmp_path / "f.jsonl", rows), Reading())
    found = read(rejects_path(library, first.job))
    assert found[0] == ["#line", "#reason", "q", "a", "indexes"]
    assert found[1] == ["2", "q: q is empty", "", "a\n2", "y", "z"]
    assert (found[2][0], found[2][2:]) == ("3", ['{"q": broken'])


def test_a_refused_chunk_of_a_document_is_not_lost(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "guide.md"
    path.write_text("# One\n\n" + "Harmless. " * 500 + "\n\n# Two\n\nDrink no poison.\n")
    report = run(library, dataset, path, Reading())
    assert report.rejected == 1
    assert report.added == report.read - 1 > 0
    ((text,),) = read(rejects_path(library, report.job))
    assert text == "# Two\n\nDrink no poison."
