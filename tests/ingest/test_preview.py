"""What an import would do, told without doing it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingest.imports import import_file
from ingest.jobs import ImportSettings, Mode
from ingest.mapping import ColumnChoice, RowProblem
from ingest.preview import SHOWN, TIMED, WEIGHED, preview_file
from ingest.rows import TableOptions
from ingest.sources import Reading
from retrieval.errors import InvalidRequest, MissingColumn, UnreadableFile
from retrieval.library import Library
from retrieval.types import RecordDraft
from tests.ingest.importing import NotingEmbedder, numbered, write_csv

READING = Reading()


def named(file: str, reading: Reading = READING, mode: Mode = "append") -> ImportSettings:
    return ImportSettings(file, "all", mode, reading)


@pytest.fixture
def embedder() -> NotingEmbedder:
    return NotingEmbedder()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "faq.csv"


def test_what_a_preview_says(file: Path, embedder: NotingEmbedder) -> None:
    file.write_bytes("id;q;a;labels\n1;问;答;\n\n;;;\n;;x;\n2;;a;\n1;q2;\xff;t\n".encode("gb18030"))
    reading = Reading(columns=ColumnChoice(key="id", tags="labels"))
    preview = preview_file(file, named("shown.csv", reading), embedder)
    assert (preview.file, preview.kind, preview.encoding, preview.delimiter) == (
        "shown.csv",
        "csv",
        "gb18030",
        ";",
    )
    assert (preview.header, preview.ignored) == (("id", "q", "a", "labels"), ())
    assert (preview.read, preview.records, preview.rejected, preview.blank) == (4, 1, 3, 1)
    assert preview.first == (RecordDraft("问", "答", key="1"),)
    assert preview.problems == (
        RowProblem(5, "q", "q is empty"),
        RowProblem(6, "q", "q is empty"),
        RowProblem(7, "key", "the key '1' is that of line 2 already"),
    )


@pytest.mark.parametrize("options", [TableOptions(), TableOptions("utf-8", errors="replace")])
def test_a_preview_says_what_the_import_does(
    library: Library, file: Path, embedder: NotingEmbedder, options: TableOptions
) -> None:
    rows = [*numbered(30), ("", "no question"), ("", ""), ("with", "three", "cells"), ("", " "), ("last", "")]
    reading = Reading(options)
    preview = preview_file(write_csv(file, rows), named("faq.csv", reading), embedder)
    assert library.store.list_datasets() == []
    embedder.read.clear()
    report = import_file(
        library, library.create_dataset("d"), file, ImportSettings("faq.csv", "all", reading=reading)
    )
    same = (
        "file",
        "kind",
        "encoding",
        "delimiter",
        "ignored",
        "read",
        "rejected",
        "blank",
        "replaced",
        "problems",
    )
    for name in same:
        assert getattr(preview, name) == getattr(report, name), name
    assert preview.records == report.added
    assert preview.tokens == sum(embedder.count_tokens(embedder.read))


def test_only_the_first_are_shown(file: Path, embedder: NotingEmbedder) -> None:
    rows = [row for n, row in enumerate(numbered(SHOWN + 3)) for row in (row, ("", f"none {n}"))]
    preview = preview_file(write_csv(file, rows), named("f.csv"), embedder)
    assert [draft.q for draft in preview.first] == [q for q, _ in numbered(SHOWN)]
    assert [problem.line for problem in preview.problems] == [3, 5, 7, 9, 11]
    assert (preview.records, preview.rejected) == (SHOWN + 3, SHOWN + 3)


def test_tokens_are_those_of_the_first_records(file: Path, embedder: NotingEmbedder) -> None:
    """Four characters each in these tests: 2 of the first, index texts too, then what they say of the others."""
    rows = [("q" * 4, "a" * 3, "x" * 12)] * WEIGHED + [("q" * 4000, "a", "")] * WEIGHED
    preview = preview_file(write_csv(file, rows, ("q", "a", "indexes")), named("f.csv"), embedder)
    assert preview.tokens == 2 * WEIGHED * (2 + 3)
    assert preview.read == preview.records == 2 * WEIGHED


def test_few_texts_are_embedded(file: Path, embedder: NotingEmbedder) -> None:
    preview = preview_file(write_csv(file, numbered(300)), named("f.csv"), embedder)
    assert len(embedder.read) == 1 + TIMED
    assert preview.seconds >= 0
    embedder.read.clear()
    nothing = preview_file(write_csv(file, [("", "none")]), named("f.csv"), embedder)
    assert (nothing.tokens, nothing.seconds, nothing.first, embedder.read) == (0, 0.0, (), [])


def test_a_document_is_previewed_in_chunks(tmp_path: Path, embedder: NotingEmbedder) -> None:
    path = tmp_path / "guide.md"
    path.write_text("\n\n".join(f"# Part {n}\n\n" + "Sentence of it. " * 80 for n in range(3)))
    preview = preview_file(path, named("guide.md"), embedder)
    assert (preview.kind, preview.header, preview.rejected) == ("md", (), 0)
    assert [draft.title for draft in preview.first] == [f"Part {n}" for n in range(3)]


def test_what_an_import_would_raise(file: Path, embedder: NotingEmbedder) -> None:
    with pytest.raises(MissingColumn):
        preview_file(write_csv(file, [], ("x", "y")), named("f.csv"), embedder)
    file.write_bytes(b"q,a\nx,y\nz,\xff\n")
    with pytest.raises(UnreadableFile, match=r"^f\.csv is UTF-8, but line 3"):
        preview_file(file, named("f.csv", Reading(TableOptions("utf-8"))), embedder)


def test_an_upsert_needs_keys(library: Library, file: Path, embedder: NotingEmbedder) -> None:
    """Said in the same words as by the import."""
    chosen = named("f.csv", mode="upsert")
    write_csv(file, numbered(2))
    with pytest.raises(MissingColumn, match="upsert needs a column of keys") as told:
        preview_file(file, chosen, embedder)
    with pytest.raises(MissingColumn) as raised:
        import_file(library, library.create_dataset("d"), file, chosen)
    assert str(told.value) == str(raised.value)
    assert preview_file(write_csv(file, [("q", "a", "1")], ("q", "a", "key")), chosen, embedder).records == 1


def test_vectors_have_to_fit_the_table(file: Path, tmp_path: Path, embedder: NotingEmbedder) -> None:
    vectors = tmp_path / "v.npy"
    chosen = replace(named("f.csv"), vectors="v.npy")
    np.save(vectors, np.ones((3, 16), np.float32))
    assert preview_file(write_csv(file, numbered(3)), chosen, embedder, vectors).records == 3
    with pytest.raises(InvalidRequest, match=r"v\.npy has 3 vectors and the table 2 texts"):
        preview_file(write_csv(file, numbered(2)), chosen, embedder, vectors)
