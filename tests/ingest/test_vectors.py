"""A .npy file beside a table: what is taken from it, and which files are none."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ingest.vectors import CHECKED, VectorFile, of_passages
from retrieval.errors import InvalidRequest, ModelMismatch, QuotebaseError, UnreadableFile
from retrieval.types import RecordDraft

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
