"""An export is a table that an import makes the same records of, to the letter."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ingest.export
from ingest.export import HEADER, PAGE, export_csv, export_rows
from ingest.imports import import_file
from ingest.tables import open_table
from retrieval.errors import DatasetNotFound
from retrieval.library import Library
from retrieval.passages import custom_texts
from retrieval.store.sqlite import SqliteStore
from retrieval.types import Collection, Dataset, Passage, RecordDraft
from tests.ingest.importing import NotingEmbedder, records_of

Said = tuple[str, str, tuple[str, ...]]
"""q, a and the index texts of a record."""


def said_of(library: Library, dataset: Dataset) -> list[Said]:
    """What the records say, whole texts put together of their windows."""
    collections = library.store.list_collections(dataset.id)
    records = [
        one for collection in collections for one in library.store.list_records(collection.id, limit=10_000)
    ]
    passages = library.store.passages_of([record.id for record in records])
    return [(one.q, one.a, tuple(custom_texts(one, passages[one.id]))) for one in records]


@pytest.fixture
def embedder() -> NotingEmbedder:
    return NotingEmbedder()


@pytest.fixture
def dataset(library: Library) -> Dataset:
    return library.create_dataset("coffee")


@pytest.fixture
def collection(library: Library, dataset: Dataset) -> Collection:
    return library.ensure_collection(dataset.id, "one")


# What it looks like


def test_rows_of_all_collections_oldest_first(
    library: Library, dataset: Dataset, collection: Collection
) -> None:
    other = library.ensure_collection(dataset.id, "other")
    library.add_records(other, [RecordDraft("q3")])
    library.add_records(collection, [RecordDraft("q1", "a1", ("x", "y", "x")), RecordDraft("q2", "", ("x",))])
    assert list(export_rows(library.store, dataset.id)) == [
        HEADER,
        ("q1", "a1", "x", "y"),
        ("q2", "", "x"),
        ("q3", ""),
    ]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("x", ("x",)),
        ("1. x 2. y", ("1. x 2. y", "")),
        ("x\ny", ("x\ny", "")),
        ("- x\n- y", ("- x\n- y", "")),
        ("1. x", ("1. x",)),
    ],
)
def test_a_text_that_would_be_split_has_a_cell_beside_it(
    library: Library, dataset: Dataset, collection: Collection, text: str, cells: tuple[str, ...]
) -> None:
    library.add_records(collection, [RecordDraft("q", "a", (text,))])
    assert list(export_rows(library.store, dataset.id))[1:] == [("q", "a", *cells)]


def test_the_bytes_are_those_of_a_csv_with_a_mark(
    library: Library, dataset: Dataset, collection: Collection
) -> None:
    library.add_records(collection, [RecordDraft('咖啡, "Kaffee"', "a\nb", ("x",))])
    assert b"".join(export_csv(library.store, dataset.id)) == (
        b'\xef\xbb\xbfq,a,indexes\r\n"' + "咖啡".encode() + b', ""Kaffee""","a\nb",x\r\n'
    )


def test_an_empty_dataset_is_a_header(library: Library, dataset: Dataset) -> None:
    assert b"".join(export_csv(library.store, dataset.id)) == b"\xef\xbb\xbfq,a,indexes\r\n"


def test_an_unknown_dataset(library: Library) -> None:
    with pytest.raises(DatasetNotFound):
        list(export_csv(library.store, "unknown"))


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, 2 * PAGE + 1])
def test_records_of_several_pages(
    library: Library, dataset: Dataset, collection: Collection, count: int
) -> None:
    drafts = [RecordDraft(f"q{n}", "a\r\n" * (n % 3), (f"x{n}",) * (n % 2)) for n in range(count)]
    library.add_records(collection, drafts)
    parts = list(export_csv(library.store, dataset.id))
    assert len(parts) == 2 + count // PAGE
    rows = list(csv.reader(io.StringIO(b"".join(parts).decode("utf-8-sig"), newline="")))
    assert rows[1:] == [[draft.q, draft.a, *draft.indexes] for draft in drafts]


def test_records_that_are_deleted_meanwhile(
    library: Library, dataset: Dataset, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the first page, its last among them, some to come, and one that is in hand."""
    monkeypatch.setattr(ingest.export, "PAGE", 5)
    added = library.add_records(collection, [RecordDraft(f"q{n}", "a") for n in range(17)]).added
    rows = export_rows(library.store, dataset.id)
    assert [next(rows)[0] for _ in range(6)] == ["q", "q0", "q1", "q2", "q3", "q4"]
    library.delete_records(dataset.id, [added[n] for n in (0, 4, 5, 9, 16)])
    assert [row[0] for row in rows] == [f"q{n}" for n in (6, 7, 8, 10, 11, 12, 13, 14, 15)]


class DeletingStore(SqliteStore):
    """Deletes a record when passages are asked for: between the two halves of a page."""

    deleted = ""

    def passages_of(self, record_ids: Sequence[str]) -> dict[str, tuple[Passage, ...]]:
        self.delete_records([self.deleted])
        return super().passages_of(record_ids)


def test_a_record_that_goes_in_the_middle_of_a_page_has_no_row(
    library: Library, dataset: Dataset, collection: Collection
) -> None:
    added = library.add_records(collection, [RecordDraft(q, "a", ("x",)) for q in "pqr"]).added
    store = DeletingStore(library.data_dir / "quotebase.sqlite")
    store.deleted = added[1]
    assert list(export_rows(store, dataset.id)) == [HEADER, ("p", "a", "x"), ("r", "a", "x")]
    store.close()


# There and back

TEXT = st.text(
    st.sampled_from("ab,;\t|\"'\\\0\r\n \u2028\x85\ufeff\x1f12.)-•é问，。")
    | st.characters(exclude_categories=["Cs"]),
    max_size=12,
)
LONG = st.integers(520, 1400).map(lambda words: " ".join(f"w{n % 97}." for n in range(words)))
INDEX = TEXT | st.sampled_from(["1. x 2. y", "- x\n- y", "x\ny\nz", "1. x", "q\na"]) | LONG
DRAFTS = st.builds(
    RecordDraft,
    (TEXT | LONG).filter(lambda q: q.strip() != ""),
    TEXT | LONG,
    st.lists(INDEX, max_size=4).map(tuple),
    title=st.sampled_from(["", "", "Part > 1", "w0. w1."]),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Library, Path]]:
    folder = tmp_path_factory.mktemp("shared")
    with Library.open(folder / "library", NotingEmbedder()) as library:
        yield library, folder / "export.csv"


@given(st.lists(DRAFTS, min_size=1, max_size=6))
@settings(max_examples=150)
@example([RecordDraft("q;a", 'say \\"no\\"', ("x\\",)), RecordDraft('\\"', "\\", ('"',))])
@example([RecordDraft("\ufeffq", "\0", ("\0\r",)), RecordDraft("#line", "#reason")])
@example([RecordDraft("a;b;c", "d;e;f")] * 3)
def test_what_is_exported_is_imported_again(shared: tuple[Library, Path], drafts: list[RecordDraft]) -> None:
    library, path = shared
    number = library.store.last_sequence()
    dataset = library.create_dataset(f"there {number}")
    library.add_records(library.ensure_collection(dataset.id, "one"), drafts)
    path.write_bytes(b"".join(export_csv(library.store, dataset.id)))
    back = library.create_dataset(f"back {number}")
    report = import_file(library, back, path)
    expected = said_of(library, dataset)
    distinct = dict.fromkeys((draft.q, draft.a, draft.texts[1:], draft.title) for draft in drafts)
    assert expected == [said[:3] for said in distinct]
    # Titles are not in a table: records that differ in nothing else are one.
    assert said_of(library, back) == list(dict.fromkeys(expected))
    assert (report.read, report.rejected, report.blank) == (len(expected), 0, 0)
    again = b"".join(export_csv(library.store, back.id))
    if len(set(expected)) == len(expected):
        assert again == path.read_bytes()


def test_windows_of_a_long_text_are_one_cell(
    library: Library, dataset: Dataset, collection: Collection, tmp_path: Path
) -> None:
    """Also under a title, which stands before each of them, and where the text begins with it."""
    long = " ".join(f"Sentence {n} says {n * n}." for n in range(500))
    drafts = [
        RecordDraft("q1", long, (long[::-1], "short", f"Part\n{long}"), title="Part"),
        RecordDraft(long, "", (f"{long} twice. {long}",)),
    ]
    library.add_records(collection, drafts)
    rows = list(export_rows(library.store, dataset.id))[1:]
    assert rows == [
        ("q1", long, long[::-1], "short", f"Part\n{long}"),
        (long, "", f"{long} twice. {long}"),
    ]
    (tmp_path / "f.csv").write_bytes(b"".join(export_csv(library.store, dataset.id)))
    back = library.create_dataset("back")
    report = import_file(library, back, tmp_path / "f.csv")
    assert said_of(library, back) == [(*row[:2], row[2:]) for row in rows]
    assert len(records_of(library, report)) == 2


def test_any_delimiter_in_the_texts_leaves_the_comma(
    library: Library, dataset: Dataset, collection: Collection, tmp_path: Path
) -> None:
    """The header says what the delimiter is, however evenly another one comes."""
    library.add_records(
        collection, [RecordDraft(f"a;b|c\td {n}", "e;f|g\th", ("i;j|k\tl",)) for n in range(50)]
    )
    path = tmp_path / "f.csv"
    path.write_bytes(b"".join(export_csv(library.store, dataset.id)))
    with open_table(path, "f.csv") as table:
        assert (table.delimiter, table.encoding, table.header) == (",", "utf-8-sig", HEADER)
        assert len(list(table.rows)) == 50
