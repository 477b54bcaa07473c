"""Embeddings that come from elsewhere: of any length and float type, or refused by the number of their row."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from retrieval.embedding.models import Models
from retrieval.embedding.ready import split_embeddings, to_unit_length
from retrieval.errors import EmbedderUnavailable, InvalidRequest, ModelMismatch, QuotebaseError
from retrieval.library import Library
from retrieval.types import MAX_LIMIT, Collection, Embeddings, RecordDraft, SearchRequest
from tests.doubles import HashEmbedder

DIM = 8
ROWS = np.random.default_rng(5).normal(size=(6, DIM))
UNIT = (ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)).astype(np.float16)

LAST_BIT = 2.0**-11
"""Half a step of fp16 below 1."""


def assert_unit(found: npt.NDArray[np.float16], within: float = LAST_BIT) -> None:
    assert (found.dtype, found.shape) == (np.float16, UNIT.shape)
    assert np.abs(found.astype(np.float64) - UNIT.astype(np.float64)).max() <= within
    assert np.abs(np.linalg.norm(found.astype(np.float64), axis=1) - 1).max() < 1e-3


# Length


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_any_float_type_is_brought_to_unit_length(dtype: type[np.floating]) -> None:
    # What fp16 has rounded before the scaling is off by as much after it.
    assert_unit(to_unit_length(ROWS.astype(dtype), DIM), within=2 * LAST_BIT)


@pytest.mark.parametrize("length", [1e-30, 1e-20, 1e-3, 1.0, 7.5, 1e20, 1e25, 1e37])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_length_is_brought_to_unit_length(dtype: type[np.floating], length: float) -> None:
    assert_unit(to_unit_length((ROWS * length).astype(dtype), DIM))


@pytest.mark.parametrize("length", [1e-300, 1e-160, 1e160, 1e300])
def test_lengths_whose_squares_no_float_can_hold(length: float) -> None:
    assert_unit(to_unit_length(ROWS * length, DIM))


@pytest.mark.parametrize("value", [2.0**-24, 65504.0])
def test_the_ends_of_fp16(value: float) -> None:
    rows = np.full((1, 4), value, dtype=np.float16)
    assert to_unit_length(rows, 4).tolist() == [[0.5] * 4]


def test_each_row_has_its_own_length() -> None:
    lengths = np.array([1e-30, 1e25, 1.0, 1e-3, 1e3, 2.0])[:, np.newaxis]
    assert_unit(to_unit_length((ROWS * lengths).astype(np.float32), DIM))


def test_what_has_unit_length_already_stays_as_it_is() -> None:
    rows = np.array([[0.6, 0.8, 0, 0], [0, 0, -1, 0], [0.5, -0.5, 0.5, -0.5]], dtype=np.float32)
    np.testing.assert_array_equal(to_unit_length(rows, 4), rows.astype(np.float16))


def test_the_given_array_is_left_alone() -> None:
    given = ROWS.copy()
    to_unit_length(given, DIM)
    np.testing.assert_array_equal(given, ROWS)


def test_no_rows() -> None:
    assert to_unit_length(np.empty((0, DIM), dtype=np.float32), DIM).shape == (0, DIM)


@pytest.mark.parametrize("value", [0.0, -0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 3, 5])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_row_without_a_direction_is_named_by_its_number(
    dtype: type[np.floating], row: int, value: float
) -> None:
    rows = ROWS.astype(dtype)
    rows[row] = value
    with pytest.raises(InvalidRequest, match=f"^embedding {row + 1} is zero or not finite"):
        to_unit_length(rows, DIM)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_none_is_enough_to_refuse_a_row(value: float) -> None:
    rows = ROWS.astype(np.float32)
    rows[2, DIM - 1] = value
    with pytest.raises(InvalidRequest, match=r"^embedding 3 "):
        to_unit_length(rows, DIM)


def test_the_first_of_several_is_named() -> None:
    rows = ROWS.astype(np.float32)
    rows[4], rows[1] = np.nan, 0
    with pytest.raises(InvalidRequest, match=r"^embedding 2 "):
        to_unit_length(rows, DIM)


@pytest.mark.parametrize(
    "shape", [(6, DIM - 1), (6, DIM + 1), (6, 0), (DIM,), (0,), (0, DIM + 1), (1, 6, DIM), ()]
)
def test_another_shape_is_another_model(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelMismatch, match=f"rows of {DIM} numbers") as raised:
        to_unit_length(np.ones(shape, dtype=np.float32), DIM)
    assert str(shape) in raised.value.message


# Sharing out

DRAFTS = [
    RecordDraft("one"),
    RecordDraft("two", "", ("2", "zwei")),
    RecordDraft("three", "", ("three", "3", "3")),
]
"""With 1, 3 and 2 texts."""


def test_each_draft_gets_a_row_for_each_of_its_texts() -> None:
    shared = split_embeddings(DRAFTS, UNIT)
    assert [rows.tolist() for rows in shared] == [UNIT[:1].tolist(), UNIT[1:4].tolist(), UNIT[4:].tolist()]


def test_no_drafts_and_no_rows() -> None:
    assert split_embeddings([], UNIT[:0]) == []


@pytest.mark.parametrize("count", [0, 1, 5, 7, 12])
def test_more_or_fewer_rows_than_texts(count: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{count} embeddings for 6 texts"):
        split_embeddings(DRAFTS, np.resize(UNIT, (count, DIM)))


def test_rows_without_drafts() -> None:
    with pytest.raises(InvalidRequest, match="2 embeddings for 0 texts"):
        split_embeddings([], UNIT[:2])


# Added to a library


def axis(number: int, length: float = 1.0) -> list[float]:
    row = [0.0] * 64
    row[number] = length
    return row


def rows(*numbers: int) -> Embeddings:
    return np.array([axis(number) for number in numbers], dtype=np.float32).reshape(len(numbers), 64)


def stored_rows(library: Library, collection: Collection) -> dict[str, list[tuple[str, int]]]:
    """Of each record, by its q: its texts and the axis along which each lies."""
    added = library.store.changes_after(collection.dataset_id, 0, 1000).added
    axes = dict(zip(added.ids.tolist(), added.embeddings.argmax(axis=1).tolist(), strict=True))
    np.testing.assert_array_equal(added.embeddings.max(axis=1), 1)
    records = library.store.list_records(collection.id)
    passages = library.store.passages_of([record.id for record in records])
    return {
        record.q: [(passage.text, axes[passage.id]) for passage in passages[record.id]] for record in records
    }


@pytest.fixture
def collection(library: Library) -> Collection:
    return library.ensure_collection(library.create_dataset("d").id, "c")


def test_ready_embeddings_are_stored_in_the_order_of_the_texts(
    library: Library, collection: Collection, embedder: HashEmbedder
) -> None:
    given = rows(5, 9, 7, 1, 4, 2) * np.array([[3], [1e-20], [1], [0.5], [1e20], [9]], dtype=np.float32)
    result = library.add_records(collection, DRAFTS, given)
    assert (len(result.added), result.unchanged, result.embedded) == (3, 0, 0)
    assert embedder.texts_read == 0
    assert stored_rows(library, collection) == {
        "one": [("one", 5)],
        "two": [("two", 9), ("2", 7), ("zwei", 1)],
        "three": [("three", 4), ("3", 2)],
    }


def test_equal_texts_of_different_records_keep_their_own_rows(
    library: Library, collection: Collection
) -> None:
    drafts = [RecordDraft("q", "", ("same",)), RecordDraft("r", "", ("same", "q")), RecordDraft("same")]
    library.add_records(collection, drafts, rows(1, 2, 3, 4, 5, 6))
    assert stored_rows(library, collection) == {
        "q": [("q", 1), ("same", 2)],
        "r": [("r", 3), ("same", 4), ("q", 5)],
        "same": [("same", 6)],
    }


def test_repeated_and_known_drafts_use_up_their_rows(library: Library, collection: Collection) -> None:
    """Of equal drafts the first counts, and those behind a repeat do not slip into its place."""
    a, b, c = (RecordDraft(text, "", (f"{text}'",)) for text in "abc")
    first = library.add_records(collection, [a, a, b], rows(1, 2, 3, 4, 5, 6))
    assert (len(first.added), first.unchanged) == (2, 1)
    assert stored_rows(library, collection) == {"a": [("a", 1), ("a'", 2)], "b": [("b", 5), ("b'", 6)]}
    second = library.add_records(collection, [b, c, a, c], rows(10, 11, 12, 13, 14, 15, 16, 17))
    assert (len(second.added), second.unchanged) == (1, 3)
    assert stored_rows(library, collection)["c"] == [("c", 12), ("c'", 13)]
    assert stored_rows(library, collection)["b"] == [("b", 5), ("b'", 6)]


def test_ready_embeddings_are_found_at_once(
    library: Library, collection: Collection, embedder: HashEmbedder
) -> None:
    question = embedder.embed_queries(["what?"])[0]
    drafts = [RecordDraft("opposite"), RecordDraft("alike"), RecordDraft("half")]
    across = np.roll(question, 1) - (np.roll(question, 1) @ question) * question
    half = question + across / np.linalg.norm(across)
    added = library.add_records(collection, drafts, np.stack([-question, 40 * question, half])).added
    found = library.search(SearchRequest("what?", [collection.dataset_id], limit=MAX_LIMIT)).quotes
    assert [quote.record.id for quote in found] == [added[1], added[2]]
    assert [quote.score for quote in found] == pytest.approx([1.0, 0.5**0.5], abs=1e-3)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (rows(1, 2), InvalidRequest, "2 embeddings for 3 texts"),
        (rows(1, 2, 3, 4), InvalidRequest, "4 embeddings for 3 texts"),
        (rows(), InvalidRequest, "0 embeddings for 3 texts"),
        (rows(1, 2, 3)[:, :63], ModelMismatch, r"\(3, 63\).* 64 numbers"),
        (rows(1, 2, 3)[0], ModelMismatch, r"\(64,\)"),
        (np.array([axis(1), axis(2, 0.0), axis(3)], dtype=np.float32), InvalidRequest, "embedding 2 "),
        (np.array([axis(1), axis(2), axis(3, np.nan)], dtype=np.float32), InvalidRequest, "embedding 3 "),
        (np.array([axis(1, np.inf), axis(2), axis(3)], dtype=np.float32), InvalidRequest, "embedding 1 "),
    ],
)
def test_nothing_is_stored_after_a_refusal(
    library: Library,
    collection: Collection,
    embedder: HashEmbedder,
    given: Embeddings,
    kind: type[QuotebaseError],
    words: str,
) -> None:
    drafts = [RecordDraft("q", "a", ("i",)), RecordDraft("r")]
    with pytest.raises(kind, match=words):
        library.add_records(collection, drafts, given)
    assert stored_rows(library, collection) == {}
    assert library.store.count_passages(collection.dataset_id) == embedder.texts_read == 0
    assert len(library.add_records(collection, drafts, rows(1, 2, 3)).added) == 2


def test_rows_that_do_not_fit_are_refused_even_where_nothing_is_new(
    library: Library, collection: Collection
) -> None:
    library.add_records(collection, [RecordDraft("q")], rows(1))
    with pytest.raises(InvalidRequest, match="2 embeddings for 1 texts"):
        library.add_records(collection, [RecordDraft("q")], rows(1, 2))


# A model that goes wrong


class BrokenEmbedder(HashEmbedder):
    """Gives a passage that says so something that is not finite."""

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        made = super().embed_passages(texts)
        for place, text in enumerate(texts):
            if text in ("nan", "inf"):
                made[place] = float(text)
        return made


@pytest.mark.parametrize("text", ["nan", "inf"])
def test_a_model_that_returns_what_is_not_finite_is_unavailable_and_nothing_is_stored(
    library: Library, text: str
) -> None:
    library.models = Models(BrokenEmbedder())
    collection = library.ensure_collection(library.create_dataset("d").id, "c")
    with pytest.raises(EmbedderUnavailable, match="hash"):
        library.add_records(collection, [RecordDraft("good"), RecordDraft(text)])
    assert library.store.list_records(collection.id) == []
    assert library.store.count_passages(collection.dataset_id) == 0
    assert len(library.add_records(collection, [RecordDraft("good")]).added) == 1
