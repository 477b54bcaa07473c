"""The exact index is equal to brute force, whatever is asked, added and removed."""

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import ModelMismatch
from retrieval.types import Changes, Embeddings, Hit, PassageBlock, StoredEmbeddings
from retrieval.vectors.flat import FlatIndex
from tests.oracle import TOLERANCE, assert_as_near, nearest

DIM = 24
NOTHING = np.empty(0, dtype=np.int64)


def block(
    embeddings: npt.ArrayLike, first_id: int = 1, collections: int | Sequence[int] = 1, step: int = 1
) -> PassageBlock:
    """Passages with the ids ``first_id``, ``first_id + step`` …"""
    stored = np.asarray(embeddings, dtype=np.float16)
    ids = np.arange(first_id, first_id + step * len(stored), step, dtype=np.int64)
    keys = np.broadcast_to(np.asarray(collections, dtype=np.int64), len(stored)).copy()
    return PassageBlock(ids, keys, stored)


def addition(passages: PassageBlock, removed: Sequence[int] = ()) -> Changes:
    last = int(passages.ids[-1]) if len(passages) else 0
    return Changes(passages, np.array(removed, dtype=np.int64), last, is_last=True)


def removal(dim: int, *passage_ids: int, watermark: int = 0) -> Changes:
    nothing = block(np.empty((0, dim)))
    return Changes(nothing, np.array(passage_ids, dtype=np.int64), watermark, is_last=True)


def index_of(passages: PassageBlock) -> FlatIndex:
    index = FlatIndex(passages.embeddings.shape[1])
    index.apply(addition(passages))
    return index


def unit_rows(count: int, seed: int, dim: int = DIM) -> Embeddings:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    unit: Embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def found_ids(hits: Sequence[Hit]) -> list[int]:
    return [hit.passage_id for hit in hits]


@pytest.fixture(scope="module")
def passages() -> PassageBlock:
    """200 passages with ids 7, 10, 13 …, among them 60 copies of one, 10 copies of another."""
    rows = unit_rows(200, seed=1)
    rows[20:140:2] = rows[0]
    rows[150:160] = rows[1]
    return block(rows, first_id=7, step=3, collections=[1, 2, 3, 4] * 50)


@pytest.fixture(scope="module")
def queries(passages: PassageBlock) -> Embeddings:
    """Unrelated ones, and two of the passages themselves, so that their copies come first."""
    return np.concatenate([unit_rows(20, seed=2), passages.embeddings[:2].astype(np.float32)])


# Against brute force


@pytest.mark.parametrize("top_k", [1, 2, 10, 59, 60, 61, 62, 64, 70, 199, 200, 201, 10_000])
def test_equals_brute_force_for_any_k(passages: PassageBlock, queries: Embeddings, top_k: int) -> None:
    answers = index_of(passages).search(queries, top_k)
    assert len(answers) == len(queries)
    for query, hits in zip(queries, answers, strict=True):
        everything = nearest(passages.ids, passages.embeddings, query, len(passages))
        assert_as_near(hits, everything, top_k)


@pytest.mark.parametrize("top_k", [1, 2, 30, 60, 61])
def test_copies_come_by_ascending_id_and_the_first_of_them_make_the_cut(
    passages: PassageBlock, queries: Embeddings, top_k: int
) -> None:
    copies = [int(passages.ids[0]), *passages.ids[20:140:2].tolist()]
    assert len(copies) == 61
    assert found_ids(index_of(passages).search(queries[-2:-1], top_k)[0]) == copies[:top_k]


def test_copies_at_the_end_of_the_list_come_by_ascending_id(
    passages: PassageBlock, queries: Embeddings
) -> None:
    copies = {int(passages.ids[0]), *passages.ids[20:140:2].tolist()}
    for hits in index_of(passages).search(queries, 150):
        in_order = [passage_id for passage_id in found_ids(hits) if passage_id in copies]
        assert in_order == sorted(copies)[: len(in_order)]


grids = st.integers(min_value=1, max_value=3).flatmap(
    lambda dim: st.lists(
        st.lists(st.integers(-2, 2), min_size=dim, max_size=dim), min_size=1, max_size=40
    ).map(lambda rows: np.array(rows, dtype=np.float16) / 16)
)
"""Coarse vectors: sums of their products are exact in any order, and equal ones are common."""


@given(data=st.data(), embeddings=grids)
@settings(max_examples=150)
def test_equals_brute_force_exactly_where_arithmetic_is(
    data: st.DataObject, embeddings: StoredEmbeddings
) -> None:
    keys = data.draw(st.lists(st.integers(1, 3), min_size=len(embeddings), max_size=len(embeddings)))
    everything = block(embeddings, first_id=5, step=2, collections=keys)
    index = index_of(everything)
    gone = data.draw(st.sets(st.sampled_from(everything.ids.tolist())))
    index.apply(removal(embeddings.shape[1], *gone))
    wanted = data.draw(st.none() | st.sets(st.integers(1, 4)))
    query = data.draw(st.sampled_from(list(embeddings))).astype(np.float32)
    top_k = data.draw(st.integers(1, len(embeddings) + 2))
    scores = sorted({float(score) for score in embeddings.astype(np.float32) @ query})
    similarity = data.draw(st.sampled_from([-1.0, *scores, *(np.nextafter(s, 1) for s in scores)]))

    kept = ~np.isin(everything.ids, list(gone))
    if wanted is not None:
        kept &= np.isin(everything.collection_keys, list(wanted))
    expected = nearest(everything.ids[kept], embeddings[kept], query, top_k, np.float32(similarity))
    assert index.search(query[np.newaxis], top_k, float(np.float32(similarity)), wanted)[0] == expected


# Thresholds


def test_threshold_is_inclusive_to_the_bit(passages: PassageBlock, queries: Embeddings) -> None:
    index = index_of(passages)
    for query in queries:
        everything = index.search(query[np.newaxis], len(passages))[0]
        score = everything[40].score
        at = index.search(query[np.newaxis], len(passages), score)[0]
        below = index.search(query[np.newaxis], len(passages), float(np.nextafter(np.float32(score), -1)))[0]
        above = index.search(query[np.newaxis], len(passages), float(np.nextafter(np.float32(score), 2)))[0]
        assert at == below == [hit for hit in everything if hit.score >= score]
        assert above == [hit for hit in everything if hit.score > score]
        assert len(above) < len(at)


def test_threshold_and_k_both_cut(passages: PassageBlock, queries: Embeddings) -> None:
    index = index_of(passages)
    everything = index.search(queries[:1], len(passages))[0]
    place = next(place for place in range(5, 200) if everything[place].score > everything[place + 1].score)
    assert index.search(queries[:1], 5, everything[place].score)[0] == everything[:5]
    assert index.search(queries[:1], 200, everything[place].score)[0] == everything[: place + 1]


def test_negative_scores_are_found_unless_the_threshold_is_higher() -> None:
    index = index_of(block([[1, 0], [-1, 0], [0, 1]]))
    query = np.array([[1, 0]], dtype=np.float32)
    assert index.search(query, 3)[0] == [Hit(1, 1.0), Hit(3, 0.0), Hit(2, -1.0)]
    assert index.search(query, 3, 0.0)[0] == [Hit(1, 1.0), Hit(3, 0.0)]


def test_scores_are_at_most_one_and_then_ties_like_any_other() -> None:
    # Rounded to fp16, unit rows can be longer than one.
    index = index_of(block([[1.0, 0], [1.002, 0], [1.001, 0], [0.5, 0], [1.004, 0]]))
    query = np.array([[1, 0]], dtype=np.float32)
    assert index.search(query, 5)[0] == [*(Hit(id_, 1.0) for id_ in (1, 2, 3, 5)), Hit(4, 0.5)]
    assert index.search(query, 2)[0] == [Hit(1, 1.0), Hit(2, 1.0)]
    assert found_ids(index.search(query, 9, 1.0)[0]) == [1, 2, 3, 5]


# Sizes


def test_empty_index_finds_nothing() -> None:
    index = FlatIndex(DIM)
    assert len(index) == 0
    assert index.search(unit_rows(2, seed=3), 10) == [[], []]
    assert index.search(unit_rows(1, seed=3), 10, 0.5, [1]) == [[]]


def test_no_queries_no_lists(passages: PassageBlock) -> None:
    assert index_of(passages).search(np.empty((0, DIM), dtype=np.float32), 10) == []


# Filters


@pytest.mark.parametrize("collections", [[2], [1, 4], [1, 2, 3, 4], (3, 3), {2, 99}])
def test_filter_equals_brute_force_over_the_allowed(
    passages: PassageBlock, queries: Embeddings, collections: Sequence[int]
) -> None:
    kept = np.isin(passages.collection_keys, list(collections))
    answers = index_of(passages).search(queries, 20, collections=collections)
    for query, hits in zip(queries, answers, strict=True):
        everything = nearest(passages.ids[kept], passages.embeddings[kept], query, len(passages))
        assert_as_near(hits, everything, 20)


def test_narrow_filter_finds_the_one_at_the_far_end() -> None:
    rows = np.tile(np.array([1.0, 0.0]), (500, 1))
    rows[400] = [-1.0, 0.0]
    keys = [1] * 500
    keys[400] = 2
    index = index_of(block(rows, collections=keys))
    query = np.array([[1, 0]], dtype=np.float32)
    assert index.search(query, 3, collections=[2])[0] == [Hit(401, -1.0)]
    assert index.search(query, 3, 0.0, collections=[2])[0] == []


@pytest.mark.parametrize("collections", [[], [99], frozenset()])
def test_filter_that_allows_nothing_finds_nothing(
    passages: PassageBlock, queries: Embeddings, collections: Sequence[int]
) -> None:
    assert index_of(passages).search(queries, 10, collections=collections) == [[]] * len(queries)


# Changes


@pytest.mark.parametrize(
    "places", [[0], [199], [0, 199], [3, 4, 5, 80], list(range(1, 200)), list(range(200))]
)
def test_removed_passages_are_not_found_and_the_others_are(
    passages: PassageBlock, queries: Embeddings, places: list[int]
) -> None:
    index = index_of(passages)
    index.apply(removal(DIM, *passages.ids[places]))
    assert len(index) == 200 - len(places)
    kept = np.delete(np.arange(200), places)
    for query, hits in zip(queries, index.search(queries, 200), strict=True):
        everything = nearest(passages.ids[kept], passages.embeddings[kept], query, 200)
        assert_as_near(hits, everything, 200)


def test_removal_moves_collection_labels_along(passages: PassageBlock, queries: Embeddings) -> None:
    index = index_of(passages)
    index.apply(removal(DIM, *passages.ids[:7]))
    expected = {int(id_) for id_, key in zip(passages.ids, passages.collection_keys, strict=True) if key == 2}
    expected -= set(passages.ids[:7].tolist())
    assert set(found_ids(index.search(queries[:1], 200, collections=[2])[0])) == expected


def test_unknown_removals_change_nothing_but_the_watermark(passages: PassageBlock) -> None:
    index = index_of(passages)
    before = index.contents()
    index.apply(removal(DIM, 1, 8, 100_000, watermark=900))
    after = index.contents()
    assert after.watermark == index.watermark == 900
    assert_same_block(after.added, before.added)


def test_the_same_changes_again_change_nothing(passages: PassageBlock, queries: Embeddings) -> None:
    index = FlatIndex(DIM)
    first = addition(
        PassageBlock(passages.ids[:120], passages.collection_keys[:120], passages.embeddings[:120])
    )
    rest = PassageBlock(passages.ids[120:], passages.collection_keys[120:], passages.embeddings[120:])
    second = addition(rest, removed=passages.ids[:5].tolist())
    for changes in (first, second):
        index.apply(changes)
    before, answers = index.contents(), index.search(queries, 200)
    for changes in (first, second, second, first):
        index.apply(changes)
    assert_same_block(index.contents().added, before.added)
    assert index.watermark == before.watermark == 604
    assert index.search(queries, 200) == answers
    assert len(index) == 195


def test_a_step_that_overlaps_adds_only_what_is_new(passages: PassageBlock) -> None:
    index = index_of(PassageBlock(passages.ids[:50], passages.collection_keys[:50], passages.embeddings[:50]))
    index.apply(addition(passages))
    assert_same_block(index.contents().added, passages)


def test_removed_passages_do_not_come_back_with_an_old_step(passages: PassageBlock) -> None:
    index = index_of(passages)
    index.apply(removal(DIM, *passages.ids[10:20]))
    index.apply(addition(passages))
    assert len(index) == 190


def test_contents_make_an_equal_index(passages: PassageBlock, queries: Embeddings) -> None:
    index = index_of(passages)
    index.apply(removal(DIM, *passages.ids[:3], watermark=1000))
    copy = FlatIndex(DIM)
    copy.apply(index.contents())
    assert_same_block(copy.contents().added, index.contents().added)
    assert copy.watermark == 1000
    assert copy.search(queries, 50) == index.search(queries, 50)


def test_contents_are_a_copy(passages: PassageBlock, queries: Embeddings) -> None:
    index = index_of(passages)
    answers = index.search(queries, 20)
    contents = index.contents().added
    contents.embeddings[:] = 0
    contents.ids[:] = 0
    contents.collection_keys[:] = 0
    assert index.search(queries, 20) == answers


def test_contents_of_an_empty_index() -> None:
    contents = FlatIndex(DIM).contents()
    assert contents.added.embeddings.shape == (0, DIM)
    assert (len(contents.added), len(contents.removed), contents.watermark) == (0, 0, 0)


# Wrong widths


@pytest.mark.parametrize("shape", [(1, DIM - 1), (1, DIM + 1), (DIM,), (3, 0), (1, 1, DIM)])
def test_queries_of_another_width_are_refused(passages: PassageBlock, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelMismatch, match=f"{DIM} dimensions"):
        index_of(passages).search(np.zeros(shape, dtype=np.float32), 1)


def test_passages_of_another_width_are_refused_and_change_nothing(passages: PassageBlock) -> None:
    index = index_of(passages)
    with pytest.raises(ModelMismatch, match=f"{DIM + 1} dimensions"):
        index.apply(addition(block(unit_rows(2, seed=4, dim=DIM + 1), first_id=1000), removed=[7]))
    assert_same_block(index.contents().added, passages)
    assert index.watermark == 604


# Threads


def test_every_search_sees_one_state_while_another_thread_changes_it() -> None:
    """State n holds the batches n - 2, n - 1 and n: each change adds one and removes one."""
    size, steps = 40, 400
    index = FlatIndex(DIM)
    row = unit_rows(1, seed=5).astype(np.float16)
    query = row.astype(np.float32)
    states: dict[tuple[int, ...], int] = {(): -1}
    for step in range(steps):
        first = max(0, step - 2) * size + 1
        states[tuple(range(first, (step + 1) * size + 1))] = step
    is_done = threading.Event()
    problems: list[str] = []
    seen: list[int] = []

    def change() -> None:
        for step in range(steps):
            passages = block(np.tile(row, (size, 1)), first_id=step * size + 1, collections=step % 5)
            gone = range((step - 3) * size + 1, (step - 2) * size + 1) if step >= 3 else ()
            index.apply(addition(passages, removed=gone))
        is_done.set()

    def look() -> None:
        last = -1
        while not is_done.is_set():
            answers = index.search(np.concatenate([query, query]), 10_000)
            state = states.get(tuple(found_ids(answers[0])))
            if state is None or answers[0] != answers[1] or state < last:
                problems.append(f"after state {last}: {found_ids(answers[0])}")
                return
            last = state
            seen.append(state)

    threads = [threading.Thread(target=change), *(threading.Thread(target=look) for _ in range(7))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert problems == []
    assert len(set(seen)) > 3
    assert found_ids(index.search(query, 10_000)[0]) == list(range(397 * size + 1, steps * size + 1))


def assert_same_block(left: PassageBlock, right: PassageBlock) -> None:
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.collection_keys, right.collection_keys)
    np.testing.assert_array_equal(left.embeddings.view(np.uint16), right.embeddings.view(np.uint16))


def test_the_tolerance_is_not_what_makes_these_tests_pass(
    passages: PassageBlock, queries: Embeddings
) -> None:
    """The oracle tells a wrong list: one hit left out, two swapped."""
    everything = nearest(passages.ids, passages.embeddings, queries[0], 200)
    apart = next(
        place for place in range(200) if everything[place].score - everything[place + 1].score > 3 * TOLERANCE
    )
    swapped = everything.copy()
    swapped[apart], swapped[apart + 1] = swapped[apart + 1], swapped[apart]
    for wrong in (everything[1:], swapped, [*everything[:-1], everything[0]]):
        with pytest.raises(AssertionError):
            assert_as_near(wrong, everything, 200)
