"""A file as a source: what it turns out to be, and what its items are."""

from pathlib import Path

import pytest
from openpyxl import Workbook

from ingest.chunking import ChunkOptions
from ingest.documents import DOCUMENT_SUFFIXES
from ingest.mapping import ColumnChoice, RowProblem
from ingest.rows import TableOptions
from ingest.sources import AMBIGUOUS, Format, Item, Reading, Source, open_source
from retrieval.errors import InvalidRequest, MissingColumn, QuotebaseError, UnreadableFile
from retrieval.types import RecordDraft
from tests.ingest.importing import write_csv, write_jsonl


def format_of(path: Path, name: str = "", reading: Reading | None = None) -> Format:
    with open_source(path, name or path.name, reading or Reading()) as source:
        return source.format


def items_of(path: Path, name: str = "", reading: Reading | None = None) -> list[Item]:
    with open_source(path, name or path.name, reading or Reading()) as source:
        return list(source.items)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "upload"


# What a file is


def test_what_is_told_of_a_table(file: Path) -> None:
    file.write_bytes("id;question;a\n1;问;答\n".encode("gb18030"))
    choice = ColumnChoice(q="question")
    assert format_of(file, "f.csv", Reading(columns=choice)) == Format(
        "csv", "gb18030", ";", ("id", "question", "a"), ("id",), has_key=False
    )
    with_key = Reading(columns=ColumnChoice(q="question", key="id"))
    assert format_of(file, "f.csv", with_key).has_key


BINARY = (".pdf", ".docx")


@pytest.mark.parametrize("suffix", [one for one in DOCUMENT_SUFFIXES if one not in (*AMBIGUOUS, *BINARY)])
def test_documents_are_known_by_their_suffix(file: Path, suffix: str) -> None:
    """Even if they look like a table."""
    file.write_text("q,a\n")
    assert format_of(file, f"F{suffix.upper()}").kind == suffix.removeprefix(".")


@pytest.mark.parametrize("suffix", BINARY)
def test_documents_that_are_none_are_not_taken_for_tables(file: Path, suffix: str) -> None:
    file.write_text("q,a\n")
    with pytest.raises(UnreadableFile, match=f"F{suffix.upper()} cannot be read as a"):
        format_of(file, f"F{suffix.upper()}")


@pytest.mark.parametrize(
    ("text", "reading", "kind"),
    [
        ("q,a\nx,y\n", Reading(), "csv"),
        ("Q\tA\tIndexes\nx\ty\tz\n", Reading(), "csv"),
        ("index,content\nx,y\n", Reading(), "csv"),
        ("A text, of course.\n", Reading(), "txt"),
        ("q\nx\n", Reading(), "txt"),
        ("q,a,more\nx,y,z\n", Reading(), "txt"),
        ("", Reading(), "txt"),
        ("text,label\nx,y\n", Reading(columns=ColumnChoice(q="text")), "csv"),
        ("x|y\n", Reading(TableOptions(delimiter="|", has_header=False)), "csv"),
        ("x,y\n", Reading(TableOptions(has_header=False)), "csv"),
    ],
)
def test_a_txt_is_a_table_if_its_first_line_or_the_options_say_so(
    file: Path, text: str, reading: Reading, kind: str
) -> None:
    file.write_text(text)
    assert format_of(file, "f.TXT", reading).kind == kind


def test_an_encoding_that_there_is_not_is_no_sign_of_a_document(file: Path) -> None:
    file.write_text("text")
    with pytest.raises(InvalidRequest, match="'utf-99' is no encoding"):
        format_of(file, "f.txt", Reading(TableOptions("utf-99")))


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("f.csv", "x,y\n", MissingColumn, "the header has the columns 'x', 'y'"),
        ("f.csv", "", UnreadableFile, "f.csv is empty"),
        ("f.jsonl", '{"text": "x"}\n', MissingColumn, "the header has the columns 'text'"),
        ("f.jsonl", "[]", UnreadableFile, "f.jsonl, line 1"),
        ("f.pdf", "no pdf", UnreadableFile, "f.pdf cannot be read as a PDF"),
    ],
)
def test_what_is_refused(file: Path, name: str, content: str, kind: type[QuotebaseError], said: str) -> None:
    file.write_text(content)
    with pytest.raises(kind, match=said):
        format_of(file, name)


@pytest.mark.parametrize("name", ["f.csv", "f.txt", "f.md", "f.xlsx", "f.jsonl"])
def test_a_file_that_is_not_there(file: Path, name: str) -> None:
    with pytest.raises(UnreadableFile, match=f"^{name} cannot be read: No such file"):
        format_of(file, name)


# Rows


def test_items_of_a_table(file: Path) -> None:
    file.write_text('q,a,indexes\nq1,a1,x,y\n\n,a2,"1. x 2. y"\n"open,a3\nq4,a4,z\nq5,,\n')
    said = "the quoting is broken: a quote is opened and not closed on its line"
    items = items_of(file, "f.csv")
    broken = items[2].outcome
    assert isinstance(broken, RowProblem)
    assert broken.reason.startswith(said)
    assert items == [
        Item(RecordDraft("q1", "a1", ("x", "y"), 0), 2, ("q1", "a1", "x", "y"), 3),
        Item(RowProblem(4, "q", "q is empty"), 4, ("", "a2", "1. x 2. y"), 3),
        Item(broken, 5, ('"open,a3',), 0),
        Item(RecordDraft("q4", "a4", ("z",), 3), 6, ("q4", "a4", "z"), 2),
        Item(RecordDraft("q5", "", (), 4), 7, ("q5", "", ""), 1),
    ]


def test_a_cell_of_jsonl_is_never_split(file: Path) -> None:
    rows: list[dict[str, object]] = [
        {"q": "q1", "a": "", "indexes": ["1. x 2. y"]},
        {"q": "q2", "indexes": "x\ny"},
        {"q": "q3", "indexes": ["x", "y"]},
    ]
    assert [(item.outcome, item.texts) for item in items_of(write_jsonl(file, rows), "f.jsonl")] == [
        (RecordDraft("q1", "", ("1. x 2. y",), 0), 2),
        (RecordDraft("q2", "", ("x\ny",), 1), 2),
        (RecordDraft("q3", "", ("x", "y"), 2), 3),
    ]


def test_items_of_a_workbook(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (("Q", "A", "Index", "Index"), ("q1", 7, "1. x 2. y"), (), ("q2", None, "1. x 2. y", "z")):
        sheet.append(row)
    book.save(tmp_path / "f.xlsx")
    found = [(item.outcome, item.line) for item in items_of(tmp_path / "f.xlsx")]
    assert found == [
        (RecordDraft("q1", "7", ("x", "y"), 0), 2),
        (RecordDraft("q2", "", ("1. x 2. y", "z"), 1), 4),
    ]


def test_counts_go_along_with_the_items(file: Path) -> None:
    write_csv(file, [("", ""), *((f"q{n}", "x" * 100_000) for n in range(40)), (" ", "")])
    with open_source(file, "f.csv", Reading()) as source:
        next(source.items)
        assert (source.blank(), source.replaced()) == (1, 0)
        assert 0 < source.share_read() < 1
        shares = [source.share_read() for _ in source.items]
        assert shares == sorted(shares)
        assert (source.blank(), source.share_read()) == (2, 1.0)
        assert list(source.items) == []


# Chunks


def drafts_of(source: Source) -> list[RecordDraft]:
    drafts = [item.outcome for item in source.items]
    assert all(isinstance(draft, RecordDraft) for draft in drafts)
    return drafts  # type: ignore[return-value]


def test_items_of_a_document(file: Path) -> None:
    file.write_text("# Coffee\n\n## Storage\n\nKeep it dry.\n\n## Brewing\n\n" + "Pour slowly. " * 30)
    items = items_of(file, "guide.md", Reading(chunks=ChunkOptions(size=40)))
    assert len(items) > 2
    first = items[0].outcome
    assert isinstance(first, RecordDraft)
    assert "Keep it dry." in first.q
    assert [item.line for item in items] == list(range(1, len(items) + 1))
    for place, item in enumerate(items):
        assert isinstance(item.outcome, RecordDraft)
        assert (item.outcome.chunk_index, item.cells, item.texts) == (place, (item.outcome.q,), 1)
        assert (item.outcome.a, item.outcome.key, item.outcome.indexes) == ("", "", ())
    assert [item.outcome.title for item in items if isinstance(item.outcome, RecordDraft)][
        -1
    ] == "Coffee > Brewing"


def test_how_far_a_document_is(file: Path) -> None:
    file.write_text("\n\n".join(f"# Part {n}\n\n" + "Words of it. " * 40 for n in range(9)))
    with open_source(file, "f.md", Reading(chunks=ChunkOptions(size=64))) as source:
        assert source.share_read() == 0.0
        shares = []
        for _ in source.items:
            shares.append(source.share_read())
        assert shares == sorted(shares)
        assert 0 < shares[0] < 0.5
        assert source.share_read() == 1.0
        assert (source.blank(), source.replaced()) == (0, 0)
