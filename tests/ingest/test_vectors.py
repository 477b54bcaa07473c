"""A .npy file beside a table: what is taken from it, which files are none, and imports with it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import ingest.batches
from ingest.imports import import_file
from ingest.inputs import check_file
from ingest.jobs import ImportReport, ImportSettings
from ingest.mapping import RowProblem
from ingest.rows import TableOptions
from ingest.sources import Reading
from ingest.vectors import CHECKED, VectorFile, of_passages
from retrieval.errors import InvalidRequest, MissingColumn, ModelMismatch, QuotebaseError, UnreadableFile
from retrieval.library import Library
from retrieval.types import Dataset, Embeddings, RecordDraft, SearchRequest
from tests.doubles import GridEmbedder, HashEmbedder
from tests.ingest.importing import assert_balanced, numbered, records_of, texts_of, write_csv

DIM = 4


def rows(count: int) -> npt.NDArray[np.float32]:
    """Distinct ones, none of them zero."""
    return np.arange(1, count * DIM + 1, dtype=np.float32).reshape(count, DIM)


def opened(tmp_path: Path, vectors: npt.NDArray[Any], texts: int | None = None) -> VectorFile:
    path = tmp_path / "v.npy"
    np.save(path, vectors)
    return VectorFile(path, "shown.npy", len(vectors) if texts is None else texts, DIM)


def refusal_of(kind: type[QuotebaseError], path: Path, texts: int = 3) -> str:
    with pytest.raises(kind) as raised:
        VectorFile(path, "shown.npy", texts, DIM)
    assert type(raised.value) is kind
    return raised.value.message


# Taking


def test_vectors_are_taken_from_the_beginning_to_the_end(tmp_path: Path) -> None:
    vectors = opened(tmp_path, rows(6))
    taken = [vectors.take(count) for count in (1, 0, 3, 2)]
    assert [len(one) for one in taken] == [1, 0, 3, 2]
    assert np.array_equal(np.concatenate(taken), rows(6))


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floating_point_numbers_of_any_width_and_layout(tmp_path: Path, kind: str, order: Any) -> None:
    stored = np.asarray(rows(3), dtype=kind, order=order)
    assert np.array_equal(opened(tmp_path, stored).take(3), rows(3))


def test_no_vectors_for_no_texts(tmp_path: Path) -> None:
    assert opened(tmp_path, np.empty((0, DIM), np.float32)).take(0).shape == (0, DIM)


@pytest.mark.parametrize(("kind", "length"), [("f4", 1e30), ("f4", 1e-30), ("f8", 1e200), ("f8", 1e-200)])
def test_length_does_not_matter(tmp_path: Path, kind: str, length: float) -> None:
    vectors = np.full((1, DIM), length, dtype=kind)
    assert np.array_equal(opened(tmp_path, vectors).take(1), vectors)


# Passages


@pytest.mark.parametrize(
    ("indexes", "places"),
    [
        ((), [0]),
        (("x", "y"), [0, 1, 2]),
        (("x", "x", "y", "x"), [0, 1, 3]),
        (("q\na", "y"), [0, 2]),
        (("y", "q\na", "x", "y"), [0, 1, 3]),
    ],
)
def test_a_text_that_repeats_takes_its_first_vector(indexes: tuple[str, ...], places: list[int]) -> None:
    draft = RecordDraft("q", "a", indexes)
    vectors = rows(1 + len(indexes))
    assert len(draft.texts) == len(places)
    assert np.array_equal(of_passages(draft, vectors), vectors[places])


# Refusals


@pytest.mark.parametrize(("count", "texts"), [(2, 3), (4, 3), (0, 3), (3, 0)])
def test_more_or_fewer_vectors_than_texts(tmp_path: Path, count: int, texts: int) -> None:
    with pytest.raises(InvalidRequest) as raised:
        opened(tmp_path, rows(count), texts)
    assert raised.value.message == (
        f"shown.npy has {count} vectors and the table {texts} texts: give one for each text of each row, in order"
    )


@pytest.mark.parametrize("width", [DIM - 1, DIM + 1, 0])
def test_another_width_is_another_model(tmp_path: Path, width: int) -> None:
    np.save(tmp_path / "v.npy", np.ones((3, width), np.float32))
    assert refusal_of(ModelMismatch, tmp_path / "v.npy") == (
        f"shown.npy has vectors of {width} numbers, the dataset takes {DIM}: make them with its model"
    )


@pytest.mark.parametrize("value", [0.0, -0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_vector_without_a_direction_is_told_by_its_number(tmp_path: Path, value: float, place: int) -> None:
    vectors = rows(3)
    vectors[place] = value
    np.save(tmp_path / "v.npy", vectors)
    assert refusal_of(InvalidRequest, tmp_path / "v.npy") == (
        f"vector {place + 1} of shown.npy is zero or not finite: it has no direction"
    )


def test_one_number_that_is_none_is_enough(tmp_path: Path) -> None:
    vectors = rows(3)
    vectors[1, 2] = np.nan
    np.save(tmp_path / "v.npy", vectors)
    assert refusal_of(InvalidRequest, tmp_path / "v.npy").startswith("vector 2 of shown.npy ")


@pytest.mark.parametrize("place", [CHECKED - 1, CHECKED, CHECKED + 1])
def test_vectors_are_counted_through_the_blocks_that_are_looked_at(tmp_path: Path, place: int) -> None:
    vectors = rows(CHECKED + 2)
    vectors[place] = 0
    vectors[CHECKED + 1] = 0
    np.save(tmp_path / "v.npy", vectors)
    said = refusal_of(InvalidRequest, tmp_path / "v.npy", CHECKED + 2)
    assert said.startswith(f"vector {place + 1} of shown.npy is zero")


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.ones((3, DIM), np.int64), id="integers"),
        pytest.param(np.ones((3, DIM), np.bool_), id="flags"),
        pytest.param(np.ones((3, DIM), np.complex64), id="complex"),
        pytest.param(np.full((3, DIM), "1.0"), id="texts"),
        pytest.param(np.ones(3 * DIM, np.float32), id="one dimension"),
        pytest.param(np.ones((3, DIM, 1), np.float32), id="three dimensions"),
        pytest.param(np.float32(1), id="a number"),
    ],
)
def test_something_else_than_rows_of_numbers(tmp_path: Path, array: npt.NDArray[Any]) -> None:
    np.save(tmp_path / "v.npy", array)
    assert refusal_of(UnreadableFile, tmp_path / "v.npy") == (
        "shown.npy is no .npy file of rows of floating-point numbers: save it with numpy.save"
    )


def test_an_archive_of_arrays(tmp_path: Path) -> None:
    with (tmp_path / "v.npy").open("wb") as stream:
        np.savez(stream, rows(3))
    assert refusal_of(UnreadableFile, tmp_path / "v.npy").startswith("shown.npy ")


class Ran:
    """Says so when it is unpickled."""

    was = False

    def __reduce__(self) -> tuple[object, ...]:
        return setattr, (Ran, "was", True)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([[Ran()] * DIM] * 3, dtype=object), allow_pickle=True)
    assert refusal_of(UnreadableFile, tmp_path / "v.npy").startswith(
        "shown.npy cannot be read as a .npy file: "
    )
    assert not Ran.was


@pytest.mark.parametrize(
    "content",
    [b"", b"q,a\nx,y\n", b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00{", b"\x93NUMPY\x09\x00"],
)
def test_a_file_that_is_no_npy_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.npy").write_bytes(content)
    said = refusal_of(UnreadableFile, tmp_path / "v.npy")
    assert said.startswith("shown.npy cannot be read as a .npy file: ")


@pytest.mark.parametrize(
    ("place", "damage"),
    [
        pytest.param(0, b"PK\x03\x04", id="an archive that is none"),
        pytest.param(60, b"(3, 4:", id="brackets that do not close"),
        pytest.param(21, b"<04", id="no type"),
    ],
)
def test_a_damaged_header(tmp_path: Path, place: int, damage: bytes) -> None:
    np.save(tmp_path / "v.npy", rows(3))
    content = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(content[:place] + damage + content[place + len(damage) :])
    said = refusal_of(UnreadableFile, tmp_path / "v.npy")
    assert said.startswith("shown.npy cannot be read as a .npy file: ")


@pytest.mark.parametrize("left", [1, 100, 130])
def test_a_file_that_was_cut_off(tmp_path: Path, left: int) -> None:
    np.save(tmp_path / "v.npy", rows(3))
    content = (tmp_path / "v.npy").read_bytes()
    assert len(content) == 128 + 3 * DIM * 4
    (tmp_path / "v.npy").write_bytes(content[:left])
    said = refusal_of(UnreadableFile, tmp_path / "v.npy")
    assert said.startswith("shown.npy cannot be read as a .npy file: ")


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "v.npy", tmp_path):
        assert refusal_of(UnreadableFile, path).startswith("shown.npy cannot be read as a .npy file: ")


# Imports with them

V = 8
"""Records of a batch in these tests."""

GRID = GridEmbedder()
"""What it makes is exact in fp16, and of the same width as the embeddings of the library's model."""


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.batches, "BATCH_VECTORS", V)


@pytest.fixture
def dataset(library: Library) -> Dataset:
    return library.create_dataset("coffee")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "f.csv"


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    return tmp_path / "v.npy"


def save(path: Path, texts: Sequence[str]) -> Path:
    np.save(path, GRID.embed_passages(texts))
    return path


def indexed(library: Library, dataset: Dataset) -> Embeddings:
    """Of all passages of the dataset, in the order in which they came."""
    blocks = [block.embeddings for block in library.load_index(dataset.id).blocks()]
    embeddings: Embeddings = np.concatenate(blocks).astype(np.float32)
    return embeddings


def assert_indexed(library: Library, dataset: Dataset, texts: Sequence[str]) -> None:
    np.testing.assert_array_equal(indexed(library, dataset), GRID.embed_passages(texts))


INDEXED = ("q", "a", "indexes")


def test_vectors_go_to_the_texts_of_the_rows_in_order(
    library: Library, dataset: Dataset, table: Path, ready: Path, embedder: HashEmbedder
) -> None:
    rows = [
        ("q1", "a1", "x", "y"),
        ("q2", ""),
        (),
        ("q3", "a3", " ", "z"),
        ("q4", "a4"),
        ("q1", "a1", "x", "y"),
    ]
    texts = ["q1\na1", "x", "y", "q2", "q3\na3", "z", "q4\na4"]
    save(ready, [*texts, "q1\na1", "x", "y"])
    report = import_file(library, dataset, write_csv(table, rows, INDEXED), vectors=ready)
    assert (report.read, report.added, report.unchanged, report.embedded) == (5, 4, 1, 0)
    assert embedder.texts_read == 0
    assert_indexed(library, dataset, texts)
    assert [text for own in texts_of(library, records_of(library, report)) for text in own] == texts


@pytest.mark.parametrize(
    ("header", "rows", "vectors", "taken"),
    [
        pytest.param(
            INDEXED,
            [("q1", "", "x", "q1", "x", "y"), ("q2", "a2", "x")],
            ["q1", "x", "out", "out", "y", "q2\na2", "x again"],
            ["q1", "x", "y", "q2\na2", "x again"],
            id="texts that repeat in a row",
        ),
        pytest.param(
            INDEXED,
            [("", "none", "i", "j"), ("q1", "a1"), (" ", "", ""), ("q2", "a2", "x"), ("", "none", "i")],
            ["out", "out", "out", "q1\na1", "q2\na2", "x", "out", "out"],
            ["q1\na1", "q2\na2", "x"],
            id="rows that are refused",
        ),
        pytest.param(
            ("q", "a"),
            [("q1", "a1"), ("q2", "a2", "with a comma"), ("q3", "a3")],
            ["q1\na1", "out", "q3\na3"],
            ["q1\na1", "q3\na3"],
            id="cells beyond the header are no texts",
        ),
        pytest.param(
            INDEXED,
            [("q1", "a1", "1. x 2. y"), ("q2", "a2", "1. x 2. y", "")],
            ["q1\na1", "x", "y", "q2\na2", "1. x 2. y"],
            ["q1\na1", "x", "y", "q2\na2", "1. x 2. y"],
            id="a cell of several texts",
        ),
        pytest.param(
            ("key", "q", "a"),
            [("k", "q1", "a1"), ("k", "q2", "a2"), ("", "q3", ""), ("l", "q4", "")],
            ["q1\na1", "out", "out", "q4"],
            ["q1\na1", "q4"],
            id="keys that repeat or miss",
        ),
    ],
)
def test_each_text_of_each_row_has_one(
    library: Library,
    dataset: Dataset,
    table: Path,
    ready: Path,
    header: tuple[str, ...],
    rows: list[tuple[str, ...]],
    vectors: list[str],
    taken: list[str],
) -> None:
    report = import_file(library, dataset, write_csv(table, rows, header), vectors=save(ready, vectors))
    assert report.embedded == 0
    assert_balanced(report)
    assert_indexed(library, dataset, taken)


def test_a_broken_row_has_none(library: Library, dataset: Dataset, table: Path, ready: Path) -> None:
    """Nobody can tell what its texts are."""
    table.write_text('q,a\nq1,a1\n"q2,a2\nq3,a3\n')
    report = import_file(library, dataset, table, vectors=save(ready, ["q1\na1", "q3\na3"]))
    assert (report.read, report.added, report.rejected) == (3, 2, 1)
    assert_indexed(library, dataset, ["q1\na1", "q3\na3"])


@pytest.mark.parametrize("count", [V - 1, V, V + 1, 3 * V])
def test_vectors_keep_their_places_from_batch_to_batch(
    library: Library, dataset: Dataset, table: Path, ready: Path, count: int
) -> None:
    rows = numbered(count)
    texts = [f"{q}\n{a}" for q, a in rows]
    rows[-2] = ("", "refused")
    told: list[int] = []
    report = import_file(
        library,
        dataset,
        write_csv(table, rows),
        vectors=save(ready, texts),
        on_progress=lambda report: told.append(report.read),
    )
    assert sorted(set(told)) == [0, *range(V, count, V), count]
    assert (report.added, report.rejected, report.embedded) == (count - 1, 1, 0)
    del texts[-2]
    assert_indexed(library, dataset, texts)


class Interruption(Exception):
    """Out of a progress bar, say."""


def test_an_import_that_is_cut_off_goes_on_with_the_vectors_it_is_at(
    library: Library, dataset: Dataset, table: Path, ready: Path, embedder: HashEmbedder
) -> None:
    rows: list[tuple[str, ...]] = [(q, a, f"x{q}") for q, a in numbered(4 * V)]
    texts = [text for q, a, x in rows for text in (f"{q}\n{a}", x)]
    rows[3] = ("", "refused", "x")
    write_csv(table, rows, INDEXED)
    save(ready, texts)

    def stop(report: ImportReport) -> None:
        if report.read >= V and report.state == "running":
            raise Interruption

    for _ in range(2):
        with pytest.raises(Interruption):
            import_file(library, dataset, table, vectors=ready, on_progress=stop)
    report = import_file(library, dataset, table, vectors=ready)
    assert (report.read, report.added, report.rejected, report.unchanged) == (4 * V, 4 * V - 1, 1, 0)
    assert embedder.texts_read == 0
    assert_indexed(library, dataset, texts[:6] + texts[8:])


def test_vectors_of_a_jsonl_file(library: Library, dataset: Dataset, tmp_path: Path, ready: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text('{"q": "q1", "a": "a1", "indexes": ["x", " ", "y"]}\n\n{"a": "refused"}\n{"q": "q2"}\n')
    save(ready, ["q1\na1", "x", "y", "out", "q2"])
    report = import_file(library, dataset, path, vectors=ready)
    assert (report.read, report.added, report.rejected, report.embedded) == (3, 2, 1, 0)
    assert report.problems == (RowProblem(3, "q", "q is empty"),)
    assert_indexed(library, dataset, ["q1\na1", "x", "y", "q2"])


def test_vectors_of_a_document_are_those_of_its_chunks(
    library: Library, dataset: Dataset, tmp_path: Path, ready: Path
) -> None:
    path = tmp_path / "guide.md"
    path.write_text("# One\n\n" + "Words of it. " * 120 + "\n\n# Two\n\n" + "Words of it. " * 120)
    report = import_file(library, dataset, path, vectors=save(ready, ["one", "two"]))
    assert (report.read, report.added, report.embedded) == (2, 2, 0)
    assert_indexed(library, dataset, ["one", "two"])
    with pytest.raises(InvalidRequest, match="0 vectors and the table 2 texts"):
        import_file(library, dataset, path, vectors=save(ready, []))


def test_vectors_of_any_length_are_found_by_their_direction(
    library: Library, dataset: Dataset, table: Path, ready: Path
) -> None:
    np.save(ready, HashEmbedder().embed_passages(["the one", "the other"]) * np.float32(40))
    import_file(library, dataset, write_csv(table, [("q1", "a1"), ("q2", "a2")]), vectors=ready)
    (quote,) = library.search(SearchRequest("the other", [dataset.id], top_k=1)).quotes
    assert (quote.record.q, quote.score) == ("q2", pytest.approx(1, abs=1e-3))


def test_vectors_again_cost_nothing(
    library: Library, dataset: Dataset, table: Path, ready: Path, embedder: HashEmbedder
) -> None:
    texts = [f"{q}\n{a}" for q, a in numbered(30)]
    write_csv(table, numbered(30))
    first = import_file(library, dataset, table, vectors=save(ready, texts))
    sequence, before = library.store.last_sequence(), indexed(library, dataset)
    second = import_file(library, dataset, table, vectors=save(ready, texts[::-1]))
    assert (second.read, second.added, second.unchanged, second.embedded) == (30, 0, 30, 0)
    assert second.collection_id == first.collection_id
    assert embedder.texts_read == 0
    assert library.store.last_sequence() == sequence
    assert np.array_equal(indexed(library, dataset), before)


def test_vectors_may_be_of_more_than_is_new(
    library: Library, dataset: Dataset, table: Path, ready: Path
) -> None:
    """Rows that are there keep the embeddings that the model made."""
    import_file(library, dataset, write_csv(table, [("q1", "a1")]))
    write_csv(table, [("q0", "a0"), ("q1", "a1"), ("q2", "a2")])
    report = import_file(library, dataset, table, vectors=save(ready, ["q0", "not taken", "q2"]))
    assert (report.added, report.unchanged, report.embedded) == (2, 1, 0)
    assert np.array_equal(indexed(library, dataset)[1:], GRID.embed_passages(["q0", "q2"]))


TEXTS = 2 * V + 1


def refused_vectors() -> dict[str, tuple[type[QuotebaseError], npt.NDArray[Any], str]]:
    good = np.ones((TEXTS, 64), np.float32)
    zero, nan = good.copy(), good.copy()
    zero[-1] = 0
    nan[-1, 7] = np.nan
    return {
        "too few": (InvalidRequest, good[1:], f"{TEXTS - 1} vectors and the table {TEXTS} texts"),
        "too many": (InvalidRequest, good[[0, *range(TEXTS)]], f"{TEXTS + 1} vectors and the table {TEXTS}"),
        "zero": (InvalidRequest, zero, rf"^vector {TEXTS} of v\.npy is zero or not finite"),
        "not a number": (InvalidRequest, nan, rf"^vector {TEXTS} of v\.npy is zero or not finite"),
        "narrow": (ModelMismatch, good[:, 1:], "vectors of 63 numbers, the dataset takes 64"),
        "integers": (UnreadableFile, good.astype(np.int32), "no .npy file of rows of floating-point numbers"),
        "one dimension": (UnreadableFile, good[:, 0], "no .npy file of rows of floating-point numbers"),
    }


@pytest.mark.parametrize("what", refused_vectors())
def test_refused_vectors_leave_nothing(
    library: Library, dataset: Dataset, table: Path, ready: Path, embedder: HashEmbedder, what: str
) -> None:
    """Also where what is wrong comes after rows that are whole batches."""
    kind, vectors, said = refused_vectors()[what]
    np.save(ready, vectors)
    with pytest.raises(kind, match=said) as raised:
        import_file(library, dataset, write_csv(table, numbered(TEXTS)), vectors=ready)
    assert type(raised.value) is kind
    assert "done and safe" not in raised.value.message
    assert_empty(library, dataset, embedder)


@pytest.mark.parametrize("content", [b"", b"no vectors", None])
def test_vectors_that_cannot_be_read_leave_nothing(
    library: Library,
    dataset: Dataset,
    table: Path,
    ready: Path,
    embedder: HashEmbedder,
    content: bytes | None,
) -> None:
    if content is not None:
        ready.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"^v\.npy cannot be read"):
        import_file(library, dataset, write_csv(table, numbered(1)), vectors=ready)
    assert_empty(library, dataset, embedder)


def test_with_vectors_a_broken_file_leaves_nothing(
    library: Library, dataset: Dataset, table: Path, ready: Path, embedder: HashEmbedder
) -> None:
    """All rows are counted before the first is imported."""
    write_csv(table, [(q, "so " * 30_000) for q, _ in numbered(V + 1)])
    with table.open("ab") as more:
        more.write(b"damage,\xff\n")
    chosen = ImportSettings("f.csv", "all", reading=Reading(TableOptions("utf-8")))
    with pytest.raises(UnreadableFile, match=f"line {V + 3} has the byte 0xff"):
        import_file(library, dataset, table, chosen, save(ready, ["text"] * (V + 2)))
    assert_empty(library, dataset, embedder)


def assert_empty(library: Library, dataset: Dataset, embedder: HashEmbedder) -> None:
    assert library.store.list_collections(dataset.id) == []
    assert library.store.count_passages(dataset.id) == library.store.last_sequence() == 0
    assert embedder.texts_read == 0


def test_a_check_raises_what_the_import_would(table: Path, ready: Path) -> None:
    write_csv(table, [("q1", "a1", "x"), ("q2", "a2")], INDEXED)
    plain = ImportSettings("t.csv", "all")
    chosen = replace(plain, vectors="ready.npy")
    check_file(table, plain)
    check_file(table, chosen, save(ready, ["q1", "x", "q2"]))
    with pytest.raises(InvalidRequest, match=r"^ready\.npy has 2 vectors and the table 3 texts"):
        check_file(table, chosen, save(ready, ["q1", "q2"]))
    with pytest.raises(MissingColumn, match="upsert needs a column of keys"):
        check_file(table, replace(plain, mode="upsert"))
    with pytest.raises(MissingColumn):
        check_file(write_csv(table, [], ("x", "y")), plain)
