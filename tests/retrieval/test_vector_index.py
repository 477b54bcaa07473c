"""What is found is what brute force finds, whatever is asked, added, removed and sealed.

Exactly that as long as there is no graph; nearly all of it along one.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import ModelMismatch
from retrieval.types import CollectionFilter, Embeddings, Hit, ModelBinding, PassageBlock, StoredEmbeddings
from retrieval.vectors.calibration import BLUR, EFFORTS, ENOUGH, NONE_ASKED, RECALL, find_effort
from retrieval.vectors.codes import Codes, with_graph
from retrieval.vectors.index import DEFAULT_FOLDS, FoldPolicy, VectorIndex
from retrieval.vectors.snapshot import load_snapshot, save_snapshot
from tests.oracle import TOLERANCE, assert_as_near, nearest
from tests.retrieval import passages as made
from tests.retrieval.passages import (
    addition,
    assert_right,
    assert_same_block,
    block,
    clustered_rows,
    contents,
    found_ids,
    is_walked,
    removal,
    take,
)

DIM = 24


def index_of(passages: PassageBlock) -> VectorIndex:
    return made.index_of(passages, DEFAULT_FOLDS)


def unit_rows(count: int, seed: int, dim: int = DIM) -> Embeddings:
    return made.unit_rows(count, seed, dim)


def only(*keys: int) -> CollectionFilter:
    return CollectionFilter(frozenset(keys))


def all_but(*keys: int) -> CollectionFilter:
    return CollectionFilter(frozenset(keys), is_denial=True)


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
    wanted = data.draw(
        st.none() | st.builds(CollectionFilter, st.frozensets(st.integers(1, 4)), st.booleans())
    )
    query = data.draw(st.sampled_from(list(embeddings))).astype(np.float32)
    top_k = data.draw(st.integers(1, len(embeddings) + 2))
    scores = sorted({float(score) for score in embeddings.astype(np.float32) @ query})
    similarity = data.draw(st.sampled_from([-1.0, *scores, *(np.nextafter(s, 1) for s in scores)]))

    kept = ~np.isin(everything.ids, list(gone))
    if wanted is not None:
        kept &= np.isin(everything.collection_keys, list(wanted.keys)) != wanted.is_denial
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
    index = VectorIndex(DIM, DEFAULT_FOLDS)
    assert len(index) == 0
    assert index.search(unit_rows(2, seed=3), 10) == [[], []]
    assert index.search(unit_rows(1, seed=3), 10, 0.5, only(1)) == [[]]
    assert index.search(unit_rows(1, seed=3), 10, -1.0, all_but(1)) == [[]]


def test_no_queries_no_lists(passages: PassageBlock) -> None:
    assert index_of(passages).search(np.empty((0, DIM), dtype=np.float32), 10) == []


# Filters


@pytest.mark.parametrize("is_denial", [False, True])
@pytest.mark.parametrize("keys", [{2}, {1, 4}, {1, 2, 3, 4}, {1, 2, 3}, {2, 99}, {99}, set()])
def test_filter_equals_brute_force_over_the_allowed(
    passages: PassageBlock, queries: Embeddings, keys: set[int], is_denial: bool
) -> None:
    kept = np.isin(passages.collection_keys, list(keys)) != is_denial
    collections = CollectionFilter(frozenset(keys), is_denial)
    answers = index_of(passages).search(queries, 20, collections=collections)
    for query, hits in zip(queries, answers, strict=True):
        everything = nearest(passages.ids[kept], passages.embeddings[kept], query, len(passages))
        assert_as_near(hits, everything, 20)


def test_a_filter_that_is_used_again_sees_what_changed_between(
    passages: PassageBlock, queries: Embeddings
) -> None:
    index = index_of(passages)
    more = block(unit_rows(3, seed=6), first_id=1000, collections=[2, 2, 5])

    def counts() -> list[int]:
        told, counts = contents(index), []
        for collections in (only(2), all_but(2)):
            kept = (told.collection_keys == 2) != collections.is_denial
            found = index.search(queries[:1], 999, collections=collections)[0]
            assert sorted(found_ids(found)) == told.ids[kept].tolist()
            counts.append(len(found))
        return counts

    assert counts() == [50, 150]
    index.apply(removal(DIM, *passages.ids[:8]))
    assert counts() == [48, 144]
    index.apply(addition(more))
    assert counts() == [50, 145]


def test_narrow_filter_finds_the_one_at_the_far_end() -> None:
    rows = np.tile(np.array([1.0, 0.0]), (500, 1))
    rows[400] = [-1.0, 0.0]
    keys = [1] * 500
    keys[400] = 2
    index = index_of(block(rows, collections=keys))
    query = np.array([[1, 0]], dtype=np.float32)
    assert index.search(query, 3, collections=only(2))[0] == [Hit(401, -1.0)]
    assert index.search(query, 3, 0.0, collections=only(2))[0] == []
    assert index.search(query, 3, collections=all_but(1))[0] == [Hit(401, -1.0)]


@pytest.mark.parametrize("collections", [only(), only(99), all_but(1, 2, 3, 4)])
def test_filter_that_allows_nothing_finds_nothing(
    passages: PassageBlock, queries: Embeddings, collections: CollectionFilter
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
    assert set(found_ids(index.search(queries[:1], 200, collections=only(2))[0])) == expected


def test_unknown_removals_change_nothing_but_the_watermark(passages: PassageBlock) -> None:
    index = index_of(passages)
    index.apply(removal(DIM, 1, 8, 100_000, watermark=900))
    assert index.watermark == 900
    assert (len(index), index.flat.removed) == (200, 0)
    assert_same_block(contents(index), passages)
    index.apply(removal(DIM, watermark=5))
    assert index.watermark == 900


def test_the_same_changes_again_change_nothing(passages: PassageBlock, queries: Embeddings) -> None:
    index = VectorIndex(DIM, DEFAULT_FOLDS)
    first = addition(take(passages, slice(120)))
    second = addition(take(passages, slice(120, None)), removed=passages.ids[:5])
    for changes in (first, second):
        index.apply(changes)
    before, answers = contents(index), index.search(queries, 200)
    for changes in (first, second, second, first):
        index.apply(changes)
    assert_same_block(contents(index), before)
    assert index.watermark == 604
    assert index.search(queries, 200) == answers
    assert len(index) == 195


def test_a_step_that_overlaps_adds_only_what_is_new(passages: PassageBlock) -> None:
    index = index_of(take(passages, slice(50)))
    index.apply(addition(passages))
    assert_same_block(contents(index), passages)


def test_removed_passages_do_not_come_back_with_an_old_step(passages: PassageBlock) -> None:
    index = index_of(passages)
    index.apply(removal(DIM, *passages.ids[10:20]))
    index.apply(addition(passages))
    assert len(index) == 190


def test_removing_twice_counts_once(passages: PassageBlock) -> None:
    index = index_of(passages)
    gone = passages.ids[[5, 6, 5]].tolist()
    for _ in range(2):
        index.apply(removal(DIM, *gone))
        assert (len(index), index.flat.removed) == (198, 2)


def test_a_passage_can_come_and_go_in_one_step(passages: PassageBlock, queries: Embeddings) -> None:
    index = VectorIndex(DIM, DEFAULT_FOLDS)
    index.apply(addition(passages, removed=passages.ids[:150]))
    assert_same_block(contents(index), take(passages, slice(150, None)))
    assert set(found_ids(index.search(queries[-2:-1], 200)[0])) == set(passages.ids[150:].tolist())


def test_find_tells_those_that_are_in_by_ascending_id(passages: PassageBlock) -> None:
    index = index_of(passages)
    index.apply(removal(DIM, *passages.ids[10:20]))
    asked = np.array([601, 40, 7, 8, 9, 37, 13, 7, 10_000, 0])  # 37 is removed
    assert_same_block(index.find(asked), take(passages, np.array([0, 2, 198])))
    assert len(index.find(np.empty(0, dtype=np.int64))) == 0
    nothing = VectorIndex(DIM, DEFAULT_FOLDS).find(asked)
    assert nothing.embeddings.shape == (0, DIM)


def test_the_exact_part_makes_an_equal_index(passages: PassageBlock, queries: Embeddings) -> None:
    index = index_of(passages)
    index.apply(removal(DIM, *passages.ids[:3], watermark=1000))
    part, watermark = index.exact_part()
    copy = VectorIndex(DIM, DEFAULT_FOLDS, part, watermark)
    assert_same_block(contents(copy), take(passages, slice(3, None)))
    assert (watermark, copy.watermark) == (1000, 1000)
    assert (part.removed, part.codes.has_graph) == (0, False)
    assert copy.search(queries, 50) == index.search(queries, 50)


def test_what_is_told_is_a_copy(passages: PassageBlock, queries: Embeddings) -> None:
    index = index_of(passages)
    answers = index.search(queries, 20)
    part, _ = index.exact_part()
    part.remove(passages.ids[:50])
    for told in (*index.blocks(), index.find(passages.ids)):
        told.embeddings[:] = 0
        told.ids[:] = 0
        told.collection_keys[:] = 0
    assert index.search(queries, 20) == answers


@pytest.mark.parametrize("size", [1, 7, 199, 200, 201])
def test_blocks_are_everything_once_and_no_larger_than_asked(passages: PassageBlock, size: int) -> None:
    index = index_of(passages)
    index.apply(removal(DIM, *passages.ids[20:40]))
    told = list(index.blocks(size))
    assert max(len(one) for one in told) <= size
    assert_same_block(made.joined(told, DIM), made.without(passages, passages.ids[20:40]))


def test_an_empty_index_tells_nothing() -> None:
    index = VectorIndex(DIM, DEFAULT_FOLDS)
    part, watermark = index.exact_part()
    assert (len(part), watermark, contents(index).embeddings.shape) == (0, 0, (0, DIM))


# Scores and the mean


def mean_of(passages: PassageBlock) -> Embeddings:
    return passages.embeddings.astype(np.float64).mean(axis=0).astype(np.float32)


def test_the_mean_is_that_of_what_can_be_found(passages: PassageBlock) -> None:
    index = index_of(passages)
    np.testing.assert_array_equal(index.mean, mean_of(passages))
    index.apply(removal(DIM, *passages.ids[:150]))
    np.testing.assert_array_equal(index.mean, mean_of(take(passages, slice(150, None))))
    index.apply(removal(DIM, *passages.ids[:150]))
    np.testing.assert_array_equal(index.mean, mean_of(take(passages, slice(150, None))))
    index.apply(addition(block(passages.embeddings[:9], first_id=1000)))
    places = np.array([*range(9), *range(150, 200)])
    np.testing.assert_array_equal(index.mean, mean_of(take(passages, places)))


def test_the_mean_of_nothing_is_nothing(passages: PassageBlock) -> None:
    assert VectorIndex(DIM, DEFAULT_FOLDS).mean.tolist() == [0.0] * DIM
    index = index_of(passages)
    index.apply(removal(DIM, *passages.ids))
    assert (index.mean.tolist(), index.mean.dtype) == ([0.0] * DIM, np.float32)


def test_the_mean_comes_back_from_a_snapshot(passages: PassageBlock, tmp_path: Path) -> None:
    """Together with what came and went after it."""
    model = ModelBinding("m", DIM, "f")
    first = index_of(take(passages, slice(0, 120)))
    first.apply(removal(DIM, *passages.ids[:20]))
    save_snapshot(*first.exact_part(), model, tmp_path)
    loaded = load_snapshot(tmp_path, model, 10_000, is_mapped=True)
    assert loaded is not None
    index = VectorIndex(DIM, DEFAULT_FOLDS, *loaded)
    np.testing.assert_array_equal(index.mean, first.mean)
    index.apply(addition(take(passages, slice(120, None)), removed=passages.ids[30:40]))
    left = np.array([*range(20, 30), *range(40, 200)])
    np.testing.assert_array_equal(index.mean, mean_of(take(passages, left)))


def with_twins() -> PassageBlock:
    """300 passages, each vector of which three share."""
    return block(np.repeat(unit_rows(100, seed=7), 3, axis=0))


def test_the_mean_of_a_graph_counts_every_twin() -> None:
    twins = with_twins()
    index = made.index_of(twins, SMALL_GRAPHS)
    index.seal()
    assert index.has_graph
    assert len(index.sealed.codes) == 100
    np.testing.assert_array_equal(index.mean, mean_of(twins))
    index.apply(removal(DIM, *twins.ids[:10]))
    np.testing.assert_array_equal(index.mean, mean_of(take(twins, slice(10, None))))
    index.apply(addition(block(twins.embeddings[:5], first_id=1000)))
    index.seal()
    left = np.array([*range(5), *range(10, 300)])
    np.testing.assert_allclose(index.mean, mean_of(take(twins, left)), rtol=0, atol=1e-7)


@pytest.mark.parametrize("is_sealed", [False, True])
def test_scores_are_those_of_a_search_for_what_is_asked(is_sealed: bool) -> None:
    twins = with_twins()
    index = made.index_of(twins, SMALL_GRAPHS)
    if is_sealed:
        index.seal()
    index.apply(removal(DIM, 2, 3))
    index.apply(addition(block(twins.embeddings[:2], first_id=1000)))
    query = unit_rows(1, seed=8)
    everything = {hit.passage_id: hit.score for hit in index.search(query, 1000)[0]}
    asked = np.array([1, 2, 3, 4, 150, 300, 301, 1000, 1001, 9999, 0, 4])
    assert index.scores(query[0], asked) == pytest.approx(
        {one: everything[one] for one in (1, 4, 150, 300, 1000, 1001)}, abs=TOLERANCE
    )
    assert index.scores(query[0], np.empty(0, dtype=np.int64)) == {}


def test_scores_are_at_most_one() -> None:
    # Rounded to fp16, unit rows can be longer than one.
    index = index_of(block([[1.002, 0], [0.5, 0]]))
    assert index.scores(np.array([1, 0], dtype=np.float32), np.array([1, 2])) == {1: 1.0, 2: 0.5}


# Wrong widths


@pytest.mark.parametrize("shape", [(1, DIM - 1), (1, DIM + 1), (DIM,), (3, 0), (1, 1, DIM)])
def test_queries_of_another_width_are_refused(passages: PassageBlock, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelMismatch, match=f"{DIM} dimensions"):
        index_of(passages).search(np.zeros(shape, dtype=np.float32), 1)


def test_passages_of_another_width_are_refused_and_change_nothing(passages: PassageBlock) -> None:
    index = index_of(passages)
    with pytest.raises(ModelMismatch, match=f"{DIM + 1} dimensions"):
        index.apply(addition(block(unit_rows(2, seed=4, dim=DIM + 1), first_id=1000), removed=[7]))
    assert_same_block(contents(index), passages)
    assert index.watermark == 604


# Threads


def test_every_search_sees_one_state_while_another_thread_changes_it() -> None:
    """State n holds the batches n - 2, n - 1 and n: each change adds one and removes one."""
    size, steps = 40, 400
    index = VectorIndex(DIM, DEFAULT_FOLDS)
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


# Sealing

WALKED = 7000
"""Passages of few dimensions, from which on a graph is walked and not scanned."""

GRAPHS = FoldPolicy(exact_limit=500)
SMALL_GRAPHS = FoldPolicy(exact_limit=40)
"""Graphs that are made at once."""


@pytest.fixture(scope="module")
def clustered() -> PassageBlock:
    """With ids 5, 7, 9 …; 40 of them are copies of others."""
    rows = clustered_rows(WALKED, seed=11, dim=DIM)
    rows[3000:3040] = rows[10:50]
    return block(rows, first_id=5, step=2, collections=np.arange(WALKED) % 7)


@pytest.fixture(scope="module")
def held_out() -> Embeddings:
    return clustered_rows(200, seed=12, dim=DIM)


@pytest.fixture(scope="module")
def walked(clustered: PassageBlock) -> VectorIndex:
    """Sealed, and not to be changed."""
    index = made.index_of(clustered, GRAPHS)
    index.seal()
    assert is_walked(index.sealed)
    return index


def sealed_copy(index: VectorIndex, tmp_path: Path) -> VectorIndex:
    """One of its own to change, with the same graph."""
    model = ModelBinding("m", index.dim, "f")
    save_snapshot(index.sealed, index.watermark, model, tmp_path)
    loaded = load_snapshot(tmp_path, model, index.watermark, is_mapped=False)
    assert loaded is not None
    return VectorIndex(index.dim, GRAPHS, *loaded)


@pytest.fixture
def changing(walked: VectorIndex, tmp_path: Path) -> VectorIndex:
    return sealed_copy(walked, tmp_path)


@pytest.mark.parametrize("top_k", [1, 10, 30])
def test_a_graph_finds_nearly_all_of_the_best(
    walked: VectorIndex, clustered: PassageBlock, held_out: Embeddings, top_k: int
) -> None:
    assert_right(walked.search(held_out, top_k), clustered, held_out, top_k, recall=0.98)


@pytest.mark.parametrize("top_k", [100, 1000, WALKED - 1, WALKED, WALKED + 1])
def test_all_that_is_asked_for_comes_from_a_graph(
    walked: VectorIndex, clustered: PassageBlock, held_out: Embeddings, top_k: int
) -> None:
    assert_right(walked.search(held_out[:5], top_k), clustered, held_out[:5], top_k)


def test_copies_come_by_ascending_id_from_a_graph(walked: VectorIndex, clustered: PassageBlock) -> None:
    queries = clustered.embeddings[10:50].astype(np.float32)
    for place, hits in enumerate(walked.search(queries, 2), start=10):
        assert found_ids(hits) == [clustered.ids[place], clustered.ids[place + 2990]]
        assert hits[0].score == hits[1].score
    for place, hits in enumerate(walked.search(queries, 1), start=10):
        assert found_ids(hits) == [clustered.ids[place]]


def test_threshold_is_inclusive_to_the_bit_with_a_graph(walked: VectorIndex, held_out: Embeddings) -> None:
    for query, everything in zip(held_out, walked.search(held_out, 20), strict=True):
        score = np.float32(everything[9].score)
        at, above = (
            walked.search(query[np.newaxis], 20, float(similarity))[0]
            for similarity in (score, np.nextafter(score, np.float32(2)))
        )
        assert at == [hit for hit in everything if hit.score >= score]
        assert above == [hit for hit in everything if hit.score > score]
        assert len(above) < len(at)


def test_a_search_does_not_depend_on_those_beside_it(walked: VectorIndex, held_out: Embeddings) -> None:
    """One by one, together, and from several threads with more filters than are remembered."""
    filters = [None, *(only(key) for key in range(7)), *(all_but(key) for key in range(7))]
    expected = [walked.search(held_out[:40], 10, collections=one) for one in filters]
    for one, answers in zip(filters, expected, strict=True):
        assert [
            walked.search(query[np.newaxis], 10, collections=one)[0] for query in held_out[:40]
        ] == answers
    with ThreadPoolExecutor(4) as threads:
        again = list(threads.map(lambda one: walked.search(held_out[:40], 10, collections=one), filters * 4))
    assert again == expected * 4


def test_what_is_added_after_sealing_is_found(
    changing: VectorIndex, clustered: PassageBlock, held_out: Embeddings
) -> None:
    more = block(held_out[:100], first_id=50_000, collections=3)
    changing.apply(addition(more))
    assert (len(changing.sealed), len(changing.flat), changing.watermark) == (WALKED, 100, 50_099)
    everything = made.joined([clustered, more], DIM)
    answers = changing.search(held_out, 10)
    assert [hits[0].passage_id for hits in answers[:100]] == more.ids.tolist()
    assert_right(answers, everything, held_out, 10, recall=0.98)
    assert_same_block(contents(changing), everything)
    assert_same_block(changing.find(everything.ids[::-1]), everything)


def test_copies_of_what_is_sealed_come_after_it(changing: VectorIndex, clustered: PassageBlock) -> None:
    """Equal vectors score equally, be they walked to or scanned."""
    copies = block(clustered.embeddings[100:300], first_id=50_000)
    changing.apply(addition(copies))
    for place, hits in enumerate(changing.search(copies.embeddings.astype(np.float32), 2)):
        assert found_ids(hits) == [clustered.ids[100 + place], copies.ids[place]]
        assert hits[0].score == hits[1].score


def test_what_is_removed_is_never_found(
    changing: VectorIndex, clustered: PassageBlock, held_out: Embeddings
) -> None:
    """The best of every query, which a walk comes by, and some that are not sealed."""
    more = block(held_out[:100], first_id=50_000)
    changing.apply(addition(more))
    gone = {hit.passage_id for hits in changing.search(held_out, 3) for hit in hits}
    assert gone & set(more.ids.tolist())
    changing.apply(removal(DIM, *gone))
    left = made.without(made.joined([clustered, more], DIM), list(gone))
    assert len(changing) == len(left)
    assert_right(changing.search(held_out, 10), left, held_out, 10, recall=0.98)
    assert_same_block(contents(changing), left)
    assert len(changing.find(np.array(sorted(gone)))) == 0


@pytest.mark.parametrize("nearest_removed", [1, 10, 40, 54, 64, 130, 1000])
def test_a_query_all_around_which_is_removed_finds_what_is_next(
    changing: VectorIndex, clustered: PassageBlock, held_out: Embeddings, nearest_removed: int
) -> None:
    (query,) = held_out[:1]
    gone = [hit.passage_id for hit in nearest(clustered.ids, clustered.embeddings, query, nearest_removed)]
    changing.apply(removal(DIM, *gone))
    left = made.without(clustered, gone)
    assert_right(changing.search(held_out[:1], 10), left, held_out[:1], 10, recall=0.8)


def test_all_but_a_few_removed_leaves_the_few(
    changing: VectorIndex, clustered: PassageBlock, held_out: Embeddings
) -> None:
    left = take(clustered, np.arange(0, WALKED, 1000))
    changing.apply(removal(DIM, *made.without(clustered, left.ids).ids))
    assert_right(changing.search(held_out, 10), left, held_out, 10)
    changing.apply(removal(DIM, *left.ids))
    assert changing.search(held_out, 10) == [[]] * len(held_out)


# Sealing again


def test_sealing_again_adds_to_the_graph_what_came_since(
    changing: VectorIndex, clustered: PassageBlock, held_out: Embeddings
) -> None:
    more = block(clustered_rows(500, seed=13, dim=DIM), first_id=50_000, collections=9)
    gone = [*clustered.ids[:30], *more.ids[:20]]
    changing.apply(addition(more, removed=gone))
    before = changing.sealed
    changing.seal()
    assert changing.sealed is before
    left = made.without(made.joined([clustered, more], DIM), gone)
    assert (len(changing.sealed), len(changing.flat), changing.sealed.removed) == (len(left), 0, 30)
    assert_same_block(contents(changing), left)
    assert is_walked(changing.sealed)
    assert_right(changing.search(held_out, 10), left, held_out, 10, recall=0.98)
    own = more.embeddings[20:220].astype(np.float32)
    assert_right(changing.search(own, 1), left, own, 1, recall=0.98)
    assert_right(changing.search(own, 10, -1.0, only(9)), take(left, left.collection_keys == 9), own, 10)


def small(count: int, first_id: int = 1, seed: int = 21) -> PassageBlock:
    return block(unit_rows(count, seed, dim=4), first_id=first_id)


@pytest.mark.parametrize(
    ("removed", "is_new"), [(0, False), (19, False), (20, True), (21, True), (150, True)]
)
def test_a_graph_that_lost_a_tenth_is_made_anew(removed: int, is_new: bool) -> None:
    index = made.index_of(small(200), SMALL_GRAPHS)
    index.seal()
    before = index.sealed
    index.apply(removal(4, *range(1, removed + 1)))
    index.apply(addition(small(5, first_id=1000, seed=22)))
    index.seal()
    assert (index.sealed is not before) == is_new
    assert index.sealed.removed == (0 if is_new else removed)
    assert (len(index), len(index.flat), index.has_graph) == (205 - removed, 0, True)
    assert contents(index).ids.tolist() == [*range(removed + 1, 201), *range(1000, 1005)]
    queries = unit_rows(20, seed=23, dim=4)
    assert_right(index.search(queries, 10), contents(index), queries, 10, recall=0.98)


@pytest.mark.parametrize(
    ("count", "has_graph"), [(0, False), (1, False), (40, False), (41, True), (300, True)]
)
def test_there_is_a_graph_above_the_limit(count: int, has_graph: bool) -> None:
    index = made.index_of(small(count), SMALL_GRAPHS)
    assert index.is_fold_due == (count > 40)
    index.seal()
    assert index.has_graph == has_graph
    assert (len(index.sealed), len(index.flat), index.watermark) == (count, 0, count)
    assert not index.is_fold_due
    queries = unit_rows(20, seed=23, dim=4)
    assert_right(index.search(queries, 7), small(count), queries, 7, recall=0.98)


def test_below_the_limit_it_becomes_exact_again() -> None:
    index = made.index_of(small(100), SMALL_GRAPHS)
    index.seal()
    index.apply(removal(4, *range(1, 60)))
    index.seal()
    assert (len(index), index.has_graph) == (41, True)
    index.apply(removal(4, 100))
    index.seal()
    assert (len(index), index.has_graph, index.sealed.removed) == (40, False, 0)
    assert contents(index).ids.tolist() == list(range(60, 100))
    queries = unit_rows(20, seed=23, dim=4)
    assert_right(index.search(queries, 10), contents(index), queries, 10)
    assert not index.is_fold_due


@pytest.mark.parametrize("count", [30, 100, 5000])
def test_sealing_tells_how_far_it_is(count: int) -> None:
    index = made.index_of(small(count), SMALL_GRAPHS)
    for extra in (0, 3):
        if extra:
            index.apply(addition(small(extra, first_id=count + 1)))
        steps: list[tuple[int, int]] = []
        index.seal(lambda done, total, steps=steps: steps.append((done, total)))
        total = extra if extra and index.has_graph else count + extra
        assert steps[0] == (0, total)
        assert steps[-1] == (total, total)
        assert steps == sorted(set(steps))
        assert {of for _, of in steps} == {total}
    assert len(steps) >= 2


def test_sealing_can_be_told_to_end() -> None:
    index = made.index_of(small(100), SMALL_GRAPHS)

    def stop(_done: int, _total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        index.seal(stop)
    assert_same_block(contents(index), small(100))
    assert not index.has_graph


# When folding is due


def sealed_of(count: int) -> VectorIndex:
    index = made.index_of(small(count), SMALL_GRAPHS)
    index.seal()
    return index


@pytest.mark.parametrize(
    ("sealed", "bound"),
    [(41, 10), (159, 10), (160, 10), (175, 10), (176, 11), (192, 12), (320, 20), (335, 20), (336, 21)],
)
def test_a_fold_is_due_at_a_sixteenth_of_new_passages(sealed: int, bound: int) -> None:
    """A quarter of the exact limit at least."""
    index = sealed_of(sealed)
    index.apply(addition(small(bound - 1, first_id=1000)))
    assert not index.is_fold_due
    index.apply(addition(small(1, first_id=2000)))
    assert index.is_fold_due


@pytest.mark.parametrize(
    ("sealed", "bound"), [(30, 10), (41, 10), (100, 10), (101, 11), (110, 11), (200, 20), (201, 21)]
)
def test_a_fold_is_due_at_a_tenth_of_removed_passages(sealed: int, bound: int) -> None:
    index = sealed_of(sealed)
    index.apply(removal(4, *range(1, bound)))
    assert not index.is_fold_due
    index.apply(removal(4, bound))
    assert index.is_fold_due


def test_those_removed_before_they_were_sealed_count_as_well() -> None:
    index = sealed_of(200)
    index.apply(addition(small(11, first_id=1000), removed=range(1000, 1011)))
    index.apply(removal(4, *range(1, 9)))
    assert (index.sealed.removed, index.flat.removed) == (8, 11)
    assert not index.is_fold_due
    index.apply(removal(4, 9))
    assert index.is_fold_due


def test_without_a_graph_only_the_limit_and_the_removed_matter() -> None:
    index = made.index_of(small(20), SMALL_GRAPHS)
    index.seal()
    index.apply(addition(small(20, first_id=100)))
    assert not index.is_fold_due
    index.apply(addition(small(1, first_id=200)))
    assert index.is_fold_due
    index.apply(removal(4, 1))
    assert not index.is_fold_due


@given(
    counts=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 60)), min_size=1, max_size=5),
    limit=st.integers(0, 60),
    flat_share=st.sampled_from([1 / 100, 1 / 16, 1 / 3]),
    removed_share=st.sampled_from([1 / 50, 1 / 10, 1 / 2]),
)
@settings(max_examples=40)
def test_no_fold_is_due_right_after_sealing(
    counts: list[tuple[int, int]], limit: int, flat_share: float, removed_share: float
) -> None:
    index = VectorIndex(4, FoldPolicy(limit, flat_share, removed_share))
    expected: list[int] = []
    last = 0
    for added, removed in counts:
        index.apply(addition(small(added, first_id=last + 1)))
        expected += range(last + 1, last + added + 1)
        last += added
        index.apply(removal(4, *expected[:removed]))
        expected = expected[removed:]
        index.seal()
        assert not index.is_fold_due
        assert index.has_graph == (len(expected) > limit)
        assert contents(index).ids.tolist() == expected
        assert sorted(found_ids(index.search(unit_rows(1, 24, dim=4), 500)[0])) == expected


def test_a_fold_comes_after_every_sixteenth_so_that_they_are_few() -> None:
    """Twice as many passages take ln 2 / ln (1 + 1/16) = 11.4 folds more, some more where counts are rounded."""
    rows = unit_rows(2000, seed=25, dim=2)
    index = VectorIndex(2, FoldPolicy(exact_limit=4))
    folds, folds_at = 0, {}
    for passage_id in range(1, len(rows) + 1):
        index.apply(addition(block(rows[passage_id - 1 : passage_id], first_id=passage_id)))
        if index.is_fold_due:
            index.seal()
            folds += 1
            assert not index.is_fold_due
        folds_at[passage_id] = folds
    doublings = [folds_at[2 * count] - folds_at[count] for count in (125, 250, 500, 1000)]
    assert all(11 <= more <= 13 for more in doublings)
    assert len(index.flat) <= len(index.sealed) / 16


# Calibration


@pytest.fixture(scope="module")
def hard() -> Codes:
    """Vectors at random in many dimensions, where the nearest are hardly nearer than the others."""
    codes = with_graph(192)
    codes.append(unit_rows(6000, seed=31, dim=192).astype(np.float16))
    return codes


def shares_at(codes: Codes, queries: Embeddings, effort: int) -> npt.NDArray[np.float64]:
    """Of the true ten best, that a walk finds for each query."""
    true = queries @ codes.at(slice(None)).astype(np.float32).T
    worst = np.partition(true, len(codes) - 10, axis=1)[:, len(codes) - 10] - TOLERANCE
    found = [codes.walk(query, 10, effort).scores for query in queries]
    return np.array([np.count_nonzero(one >= w) / 10 for one, w in zip(found, worst, strict=True)])


def recall_at(codes: Codes, queries: Embeddings, effort: int) -> float:
    return float(shares_at(codes, queries, effort).mean())


def surely_at(codes: Codes, queries: Embeddings, effort: int) -> float:
    """The recall, less what it may be by chance."""
    shares = shares_at(codes, queries, effort)
    return float(shares.mean() - shares.std() / np.sqrt(len(shares)))


def noisy(codes: Codes, noise: float, count: int, seed: int) -> Embeddings:
    """Passages with noise of that length: the more of it, the harder to find."""
    places = np.linspace(1, len(codes) - 2, count, dtype=np.int64)
    rows = codes.at(places).astype(np.float32) + noise * unit_rows(count, seed, dim=codes.dim)
    unit: Embeddings = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def test_the_effort_is_the_least_that_reaches_its_recall(hard: Codes) -> None:
    effort = find_effort(hard, NONE_ASKED)
    queries = noisy(hard, BLUR, 600, seed=32)
    assert effort in EFFORTS[1:-1]
    # Within what samples can be off; three steps are a quarter.
    assert recall_at(hard, queries, effort) >= 0.975
    assert recall_at(hard, queries, EFFORTS[EFFORTS.index(effort) - 3]) <= 0.985


@pytest.mark.parametrize("noise", [0.2, 3.0])
def test_what_was_asked_decides(hard: Codes, noise: float) -> None:
    asked = noisy(hard, noise, ENOUGH, seed=33)
    effort = find_effort(hard, asked)
    assert (effort == EFFORTS[0]) == (noise < 1)
    assert surely_at(hard, asked, effort) >= RECALL
    assert all(surely_at(hard, asked, less) < RECALL for less in EFFORTS if less < effort)


@pytest.mark.parametrize("count", [1, ENOUGH - 1])
def test_a_few_questions_decide_nothing(hard: Codes, count: int) -> None:
    assert find_effort(hard, noisy(hard, 0.2, ENOUGH, seed=33)[:count]) == find_effort(hard, NONE_ASKED)


def test_sealing_finds_the_effort_with_what_was_asked(hard: Codes) -> None:
    index = made.index_of(block(hard.at(slice(None))), GRAPHS)
    index.seal(asked=noisy(hard, 0.2, ENOUGH, seed=33))
    assert index.effort == EFFORTS[0] < index.find_effort(NONE_ASKED)


def test_finding_an_effort_can_be_told_to_end(hard: Codes) -> None:
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 5:
            raise InterruptedError

    hard.effort = 77
    with pytest.raises(InterruptedError):
        find_effort(hard, NONE_ASKED, check)
    assert (checks, hard.effort) == (5, 77)


def test_where_it_is_easy_the_effort_is_the_least(walked: VectorIndex, held_out: Embeddings) -> None:
    codes = walked.sealed.codes
    assert codes.effort == find_effort(codes, NONE_ASKED) == EFFORTS[0]
    assert recall_at(codes, held_out, codes.effort) >= 0.98


def test_finding_the_effort_changes_nothing(hard: Codes) -> None:
    hard.effort = 77
    find_effort(hard, NONE_ASKED)
    assert hard.effort == 77
