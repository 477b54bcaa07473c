"""A part finds what it holds, also where passages share a vector and where a filter lets little through."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.types import CollectionFilter, Embeddings, Hit, ModelBinding, PassageBlock
from retrieval.vectors.codes import Among, Codes, with_graph
from retrieval.vectors.index import FoldPolicy, VectorIndex
from retrieval.vectors.part import SELECTIONS, Part
from retrieval.vectors.snapshot import load_snapshot, save_snapshot
from tests.oracle import nearest
from tests.retrieval.passages import (
    addition,
    assert_right,
    assert_same_block,
    block,
    clustered_rows,
    contents,
    found_ids,
    index_of,
    is_walked,
    joined,
    removal,
    take,
    unit_rows,
    without,
)

DIM = 24
GRAPHS = FoldPolicy(exact_limit=500)
MODEL = ModelBinding("m", DIM, "f")


def filled(codes: Codes, *blocks: PassageBlock) -> Part:
    part = Part(codes)
    for one in blocks:
        part.append(one)
    return part


def hits_of(part: Part, query: Embeddings, top_k: int, collections: CollectionFilter | None) -> list[Hit]:
    found = part.search(query, top_k, collections)
    assert len(found) == len(found.scores) == len(found.positions)
    return list(map(Hit, part.ids[found.positions].tolist(), found.scores.tolist()))


# Small parts


@pytest.fixture(params=[Codes, with_graph])
def small(request: pytest.FixtureRequest) -> Part:
    """Ids 1 to 30 in two steps, with the labels 7, 3, 9 and then 3, 5; passages 11 to 14 are one vector."""
    rows = unit_rows(30, 1, DIM)
    rows[11:14] = rows[10]
    return filled(
        request.param(DIM),
        block(rows[:20], collections=[7, 3, 9, 7] * 5),
        block(rows[20:], first_id=21, collections=[3, 5] * 5),
    )


SMALL_KEYS = [7, 3, 9, 7] * 5 + [3, 5] * 5


def test_rows_keep_their_labels_over_several_steps(small: Part) -> None:
    assert small.collection_keys().tolist() == SMALL_KEYS
    assert small.collection_keys(np.array([25, 0, 2])).tolist() == [5, 7, 9]
    assert small.collection_keys(slice(19, 22)).tolist() == [7, 3, 5]


def test_rows_of_are_of_those_that_can_be_found(small: Part) -> None:
    small.remove(np.array([1, 30, 12, 99, 0]))
    assert (len(small), small.removed) == (27, 3)
    assert np.flatnonzero(small.is_removed).tolist() == [0, 11, 29]
    assert small.rows_of(np.array([13, 2, 2, 30, 31, 0, -5, 12])).tolist() == [1, 12]
    assert small.rows_of(np.empty(0, dtype=np.int64)).tolist() == []
    assert Part(Codes(DIM)).rows_of(np.array([1, 2])).tolist() == []


def test_passages_are_as_they_were_given(small: Part) -> None:
    rows = unit_rows(30, 1, DIM)
    rows[11:14] = rows[10]
    given_ones = block(rows, collections=SMALL_KEYS)
    assert_same_block(contents(small), given_ones)
    assert_same_block(small.passages(np.array([13, 3, 29])), take(given_ones, np.array([13, 3, 29])))
    small.remove(np.array([4, 12]))
    assert_same_block(contents(small), without(given_ones, [4, 12]))


def test_nodes_are_shared_where_there_is_a_graph() -> None:
    rows = unit_rows(30, 1, DIM)
    rows[11:14] = rows[10]
    linked, scanned = filled(with_graph(DIM), block(rows)), filled(Codes(DIM), block(rows))
    assert (len(linked.codes), len(scanned.codes), len(scanned.nodes)) == (27, 30, 0)
    assert linked.nodes.tolist() == [*range(10), 10, 10, 10, 10, *range(11, 27)]
    assert len(filled(with_graph(DIM), block(unit_rows(30, 1, DIM))).nodes) == 0


def test_nodes_that_are_arranged_are_the_same_passages() -> None:
    rows = unit_rows(300, 1, DIM)
    rows[11:14] = rows[10]
    part = filled(with_graph(DIM), block(rows[:250]))
    entry = int(part.codes._index.hnsw.entry_point)
    before, vectors = contents(part), part.codes.at(slice(None))
    found = [part.search(query, 10, None) for query in rows.astype(np.float32)]

    part.arrange()

    assert_same_block(contents(part), before)
    assert part.codes.at(0).tolist() == vectors[entry].tolist()
    assert sorted(map(bytes, part.codes.at(slice(None)))) == sorted(map(bytes, vectors))
    assert part.codes.at(slice(None)).tolist() != vectors.tolist()
    for query, one in zip(rows.astype(np.float32), found, strict=True):
        again = part.search(query, 10, None)
        assert again.positions.tolist() == one.positions.tolist()
        assert again.scores.tolist() == one.scores.tolist()

    part.append(block(rows[[10, *range(250, 300)]], first_id=251))
    assert len(part.codes) == 247 + 50
    assert part.nodes[250] == part.nodes[10]
    twins = part.search(rows[12].astype(np.float32), 6, None).positions.tolist()
    assert twins[:5] == [10, 11, 12, 13, 250]

    part.arrange()
    assert part.search(rows[12].astype(np.float32), 6, None).positions.tolist() == twins
    assert_same_block(
        contents(part), joined([before, block(rows[[10, *range(250, 300)]], first_id=251)], DIM)
    )


def test_the_first_copy_may_come_in_a_later_step() -> None:
    rows = unit_rows(6, 2, DIM)
    part = filled(with_graph(DIM), block(rows[:4]))
    assert len(part.nodes) == 0
    part.append(block(rows[[4, 1, 4, 5]], first_id=5))
    assert part.nodes.tolist() == [0, 1, 2, 3, 4, 1, 4, 5]
    assert found_ids(hits_of(part, rows[1], 2, None)) == [2, 6]
    assert found_ids(hits_of(part, rows[4], 2, None)) == [5, 7]


@pytest.mark.parametrize("collections", [None, CollectionFilter(frozenset({1}))])
def test_copies_that_come_between_two_searches_are_found(collections: CollectionFilter | None) -> None:
    rows = unit_rows(4, 2, DIM)
    part = filled(with_graph(DIM), block(rows[[0, 1, 1, 2]]))
    part.remove(np.array([1]))
    assert found_ids(hits_of(part, rows[1], 2, collections)) == [2, 3]
    part.append(block(rows[[1, 3, 3]], first_id=5))
    assert found_ids(hits_of(part, rows[1], 3, collections)) == [2, 3, 5]
    assert found_ids(hits_of(part, rows[3], 2, collections)) == [6, 7]


def test_vectors_that_differ_in_one_bit_are_no_twins() -> None:
    rows = np.repeat(unit_rows(1, 3, DIM), 3, axis=0).astype(np.float16)
    rows.view(np.uint16)[1, 5] ^= 1
    part = filled(with_graph(DIM), block(rows))
    assert part.nodes.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("ids", "keys", "is_removed", "nodes", "width"),
    [
        (4, 5, 5, 0, DIM),
        (5, 4, 5, 0, DIM),
        (5, 5, 4, 0, DIM),
        (5, 5, 6, 0, DIM),
        (5, 5, 5, 4, DIM),
        (5, 5, 5, 6, DIM),
        (6, 6, 6, 0, DIM),
        (0, 0, 0, 0, DIM),
        (5, 5, 5, 0, DIM - 1),
        (5, 5, 5, 0, 1),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    ids: int, keys: int, is_removed: int, nodes: int, width: int
) -> None:
    codes = Codes(DIM)
    codes.append(unit_rows(5, 4, DIM).astype(np.float16))
    with pytest.raises(ValueError, match=r"one length|vectors for|wide"):
        Part.of_rows(
            codes,
            np.arange(ids),
            np.ones(keys, dtype=np.int64),
            np.zeros(is_removed, dtype=np.bool_),
            np.arange(nodes, dtype=np.int32),
            np.zeros(width),
        )


@pytest.mark.parametrize("codes", [Codes(DIM), with_graph(DIM)], ids=["flat", "graph"])
def test_the_sum_is_that_of_what_can_be_found(codes: Codes) -> None:
    rows = np.repeat(unit_rows(40, 6, DIM), 2, axis=0).astype(np.float16)
    part = filled(codes, block(rows[:50]))
    part.remove(part.ids[10:30:3])
    part.append(block(rows[50:], first_id=100))
    part.remove(np.array([100, 100, 7_000]))
    left = np.concatenate([found.embeddings for found in part.blocks(9)])
    assert len(left) == len(part) == 80 - 8
    assert part.embedding_sum.tolist() == left.sum(axis=0, dtype=np.float64).tolist()


def test_memory_is_counted(small: Part) -> None:
    """The vectors at least, and what filters are remembered."""
    before = small.nbytes
    assert before >= len(small.codes) * 2 * DIM + 30 * 13
    for key in range(SELECTIONS + 5):
        hits_of(small, unit_rows(1, 5, DIM)[0], 3, CollectionFilter(frozenset({key})))
    grown = small.nbytes - before
    rows_of_nodes = 8 * (30 + len(small.codes) + 1)
    assert 0 < grown <= SELECTIONS * 2 * 4 + rows_of_nodes  # bitmaps of 4 bytes for rows and for nodes
    small.remove(np.array([1]))
    assert small.nbytes < before + grown


def test_scores_and_ties_of_codes_are_in_order() -> None:
    codes = Codes(2)
    codes.append(np.array([[0, 1], [1, 0], [0.5, 0], [1, 0], [0.5, 0]], dtype=np.float16))
    query = np.array([1, 0], dtype=np.float32)
    found = codes.scan(query, 3)
    assert found.positions.tolist()[:4] == [1, 3, 2, 4]
    assert found.scores.tolist()[:4] == [1.0, 1.0, 0.5, 0.5]
    among = codes.scan(query, 1, Among.of(np.array([True, False, True, False, True])))
    assert among.positions.tolist()[:2] == [2, 4]


@given(
    mask=st.lists(st.booleans(), min_size=1, max_size=40),
    asked=st.lists(st.integers(0, 39), max_size=20),
)
@settings(max_examples=50)
def test_among_are_the_marked(mask: list[bool], asked: list[int]) -> None:
    positions = np.array([place for place in asked if place < len(mask)], dtype=np.int64)
    among = Among.of(np.array(mask))
    assert among.count == sum(mask)
    assert among.has(positions).tolist() == [mask[place] for place in positions]


@given(
    rows=st.lists(
        st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(1, 3)), min_size=1, max_size=60
    ),
    steps=st.lists(st.integers(0, 60), max_size=3),
    data=st.data(),
)
@settings(max_examples=100)
def test_twins_are_found_as_brute_force_finds_them(
    rows: list[tuple[int, int, int]], steps: list[int], data: st.DataObject
) -> None:
    """At most 25 vectors, whose products are exact: no walk is cheaper here, all is exact."""
    everything = block(
        np.array([row[:2] for row in rows]) / 16, first_id=3, step=2, collections=[row[2] for row in rows]
    )
    cuts = sorted({0, len(rows), *(step for step in steps if step < len(rows))})
    part = filled(with_graph(2), *(take(everything, slice(a, b)) for a, b in pairwise(cuts)))
    gone = data.draw(st.sets(st.sampled_from(everything.ids.tolist())))
    part.remove(np.array(sorted(gone), dtype=np.int64))
    wanted = data.draw(
        st.none() | st.builds(CollectionFilter, st.frozensets(st.integers(1, 4)), st.booleans())
    )
    query = data.draw(st.sampled_from(list(everything.embeddings))).astype(np.float32)
    top_k = data.draw(st.integers(1, len(rows) + 2))
    left = without(everything, list(gone))
    if wanted is not None:
        left = take(left, np.isin(left.collection_keys, list(wanted.keys)) != wanted.is_denial)
    assert len(part.codes) == len({row[:2] for row in rows})
    assert hits_of(part, query, top_k, wanted) == nearest(left.ids, left.embeddings, query, top_k)


# Many copies of few vectors

OTHERS, COPIES, STAMPS = 7000, 1500, 3


@pytest.fixture(scope="module")
def with_twins() -> PassageBlock:
    """Three vectors with 1,500 copies each, strewn over the others and over the collections 0 to 4."""
    rows = clustered_rows(OTHERS + STAMPS * COPIES, 41, DIM)
    places = np.random.default_rng(42).permutation(len(rows))[: STAMPS * COPIES].reshape(STAMPS, COPIES)
    for where in np.sort(places, axis=1):
        rows[where] = rows[where[0]]
    return block(rows, first_id=5, step=3, collections=np.arange(len(rows)) % 5)


@pytest.fixture(scope="module")
def removed_twins(with_twins: PassageBlock) -> npt.NDArray[np.int64]:
    return with_twins.ids[::9]


@pytest.fixture(scope="module")
def left_twins(with_twins: PassageBlock, removed_twins: npt.NDArray[np.int64]) -> PassageBlock:
    return without(with_twins, removed_twins)


@pytest.fixture(scope="module")
def twins_saved(
    with_twins: PassageBlock, removed_twins: npt.NDArray[np.int64], tmp_path_factory: pytest.TempPathFactory
) -> tuple[VectorIndex, Path]:
    """Sealed, then some removed, then saved."""
    index = index_of(with_twins, FoldPolicy(exact_limit=500, removed_share=0.5))
    index.seal()
    index.apply(removal(DIM, *removed_twins, watermark=100_000))
    folder = tmp_path_factory.mktemp("twins")
    save_snapshot(index.sealed, index.watermark, MODEL, folder)
    return index, folder


def loaded(folder: Path, is_mapped: bool) -> VectorIndex:
    found = load_snapshot(folder, MODEL, 100_000, is_mapped)
    assert found is not None
    return VectorIndex(DIM, FoldPolicy(exact_limit=500, removed_share=0.5), *found)


EXTENSION = 900


@pytest.fixture(scope="module")
def extension(with_twins: PassageBlock) -> PassageBlock:
    """300 more copies of each of the three, and of nothing else."""
    return block(
        np.tile(stamps_of(with_twins), (EXTENSION // STAMPS, 1)),
        first_id=200_000,
        collections=np.arange(EXTENSION) % 5,
    )


@pytest.fixture(scope="module")
def twin_states(
    twins_saved: tuple[VectorIndex, Path], left_twins: PassageBlock, extension: PassageBlock
) -> dict[str, tuple[VectorIndex, PassageBlock]]:
    """Each with all that can be found in it."""
    index, folder = twins_saved
    beside, extended = loaded(folder, is_mapped=True), loaded(folder, is_mapped=False)
    beside.apply(addition(extension))
    extended.apply(addition(extension))
    extended.seal()
    both = joined([left_twins, extension], DIM)
    return {
        "sealed": (index, left_twins),
        "loaded": (loaded(folder, is_mapped=False), left_twins),
        "mapped": (loaded(folder, is_mapped=True), left_twins),
        "with copies beside it": (beside, both),
        "extended": (extended, both),
    }


STATES = ["sealed", "loaded", "mapped", "with copies beside it", "extended"]


@pytest.fixture(params=STATES)
def state(
    request: pytest.FixtureRequest, twin_states: dict[str, tuple[VectorIndex, PassageBlock]]
) -> tuple[VectorIndex, PassageBlock]:
    return twin_states[request.param]


def stamps_of(passages: PassageBlock) -> npt.NDArray[np.float16]:
    vectors, counts = np.unique(passages.embeddings, axis=0, return_counts=True)
    assert np.count_nonzero(counts > 1) == STAMPS
    return vectors[counts > 1]


def copies_in(passages: PassageBlock, stamp: npt.NDArray[np.float16]) -> PassageBlock:
    return take(passages, (passages.embeddings == stamp).all(axis=1))


TWIN_FILTERS = [None, CollectionFilter(frozenset({1, 4})), CollectionFilter(frozenset({0}), is_denial=True)]


def test_the_states_are_what_they_are_called(
    twin_states: dict[str, tuple[VectorIndex, PassageBlock]],
) -> None:
    shape = {
        name: (len(index.sealed.ids), len(index.sealed.codes), len(index.flat), is_walked(index.sealed))
        for name, (index, _) in twin_states.items()
    }
    rows, nodes = OTHERS + STAMPS * COPIES, OTHERS + STAMPS
    assert shape == {
        "sealed": (rows, nodes, 0, True),
        "loaded": (rows, nodes, 0, True),
        "mapped": (rows, nodes, 0, True),
        "with copies beside it": (rows, nodes, EXTENSION, True),
        "extended": (rows + EXTENSION, nodes, 0, True),
    }


@pytest.mark.parametrize("collections", TWIN_FILTERS)
def test_all_copies_come_by_ascending_id(
    state: tuple[VectorIndex, PassageBlock], collections: CollectionFilter | None
) -> None:
    index, passages = state
    if collections:
        passages = take(passages, collections.keeps(passages.collection_keys))
    for stamp in stamps_of(passages):
        copies = copies_in(passages, stamp).ids.tolist()
        assert len(copies) > 400
        query = stamp.astype(np.float32)[np.newaxis]
        query /= np.linalg.norm(query)
        for top_k in (1, 9, 10, 100, len(copies) - 1, len(copies)):
            (hits,) = index.search(query, top_k, collections=collections)
            assert found_ids(hits) == copies[:top_k]
            assert len({hit.score for hit in hits}) == 1
        (hits,) = index.search(query, len(copies) + 3, collections=collections)
        assert found_ids(hits)[:-3] == copies
        assert_right([hits], passages, query, len(copies) + 3)


@pytest.mark.parametrize(("collections", "top_k"), [(None, 1), *((one, 10) for one in TWIN_FILTERS)])
def test_the_others_stay_findable(
    state: tuple[VectorIndex, PassageBlock], collections: CollectionFilter | None, top_k: int
) -> None:
    index, passages = state
    if collections:
        passages = take(passages, collections.keeps(passages.collection_keys))
    stamps = np.repeat(stamps_of(passages).astype(np.float32), 10, axis=0)
    near = stamps + 0.5 * unit_rows(len(stamps), 43, DIM)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    queries: Embeddings = np.concatenate([clustered_rows(100, 44, DIM), near])
    assert_right(index.search(queries, top_k, collections=collections), passages, queries, top_k, recall=0.98)


def test_all_that_are_left_are_told(state: tuple[VectorIndex, PassageBlock]) -> None:
    index, passages = state
    assert_same_block(contents(index), passages)
    assert_same_block(index.find(passages.ids), passages)


def test_twins_of_which_all_are_removed_leave_room_for_others(
    twins_saved: tuple[VectorIndex, Path], left_twins: PassageBlock
) -> None:
    index = loaded(twins_saved[1], is_mapped=True)
    left = left_twins
    for stamp in stamps_of(left_twins):
        gone = copies_in(left_twins, stamp).ids
        index.apply(removal(DIM, *gone))
        left = without(left, gone)
        query = stamp.astype(np.float32)[np.newaxis]
        assert_right(index.search(query, 10), left, query, 10)


# Filters

SHARES = {"100": 7000, "50": 3500, "10": 700, "1": 70, "0.1": 7, "0": 0}
"""Passages that a filter lets through, by their percentage."""

BOUNDS = np.array([7, 70, 700, 3500, 7000])


def nested_keys(ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Key 1 for the first 7, 2 for those up to 70 … 5 for those up to 7000."""
    return np.searchsorted(BOUNDS, ranks, side="right") + 1


def letting_through(count: int, is_denial: bool) -> CollectionFilter:
    allowed = {place + 1 for place, bound in enumerate(BOUNDS) if bound <= count}
    return CollectionFilter(frozenset({1, 2, 3, 4, 5} - allowed if is_denial else allowed), is_denial)


TOPIC = unit_rows(1, 51, DIM)[0]

LAYOUTS: dict[str, Callable[[Embeddings], npt.NDArray[np.int64]]] = {
    "strewn": lambda rows: np.random.default_rng(52).permutation(len(rows)),
    "far from the query": lambda rows: np.argsort(np.argsort(rows @ TOPIC)),
    "near the query": lambda rows: np.argsort(np.argsort(-(rows @ TOPIC))),
}


@pytest.fixture(scope="module")
def graph() -> Codes:
    """Codes of which parts with several labellings are made."""
    codes = with_graph(DIM)
    codes.append(clustered_rows(7000, 53, DIM).astype(np.float16))
    return codes


@pytest.fixture(scope="module", params=LAYOUTS)
def labelled(request: pytest.FixtureRequest, graph: Codes) -> tuple[Part, PassageBlock]:
    rows = graph.at(slice(None))
    keys = nested_keys(LAYOUTS[request.param](rows.astype(np.float32)))
    passages = block(rows, first_id=3, collections=keys)
    part = Part.of_rows(
        graph,
        passages.ids,
        keys,
        np.zeros(len(rows), dtype=np.bool_),
        np.empty(0, dtype=np.int32),
        rows.sum(axis=0, dtype=np.float64),
    )
    part.codes.effort = 64
    assert is_walked(part)
    return part, passages


@pytest.fixture(scope="module")
def queries() -> Embeddings:
    """On the topic, more or less, and on others."""
    near = TOPIC + 0.5 * unit_rows(30, 54, DIM)
    on_topic: Embeddings = near / np.linalg.norm(near, axis=1, keepdims=True)
    return np.concatenate([TOPIC[np.newaxis], on_topic, clustered_rows(30, 55, DIM)])


@pytest.mark.parametrize("top_k", [10, 100])
@pytest.mark.parametrize("is_denial", [False, True])
@pytest.mark.parametrize("share", SHARES)
def test_a_filter_finds_as_many_as_there_are(
    labelled: tuple[Part, PassageBlock], queries: Embeddings, share: str, is_denial: bool, top_k: int
) -> None:
    part, passages = labelled
    collections = letting_through(SHARES[share], is_denial)
    left = take(passages, collections.keeps(passages.collection_keys))
    assert len(left) == SHARES[share]
    # So few are scanned, which is exact.
    recall = 1.0 if len(left) <= 700 else 0.98
    answers = [hits_of(part, query, top_k, collections) for query in queries]
    assert_right(answers, left, queries, top_k, recall)


@pytest.mark.parametrize("nearest_denied", [0, 10, 40, 54, 64, 130, 1000])
def test_a_filter_that_denies_the_nearest_finds_those_behind(
    graph: Codes, queries: Embeddings, nearest_denied: int
) -> None:
    """What is let through begins within view of the walk, at its edge, and beyond."""
    rows = graph.at(slice(None))
    found = expected = 0
    for query in queries[::2]:
        ranks = np.argsort(np.argsort(-(rows.astype(np.float32) @ query)))
        keys = np.where(ranks < nearest_denied, 1, 2)
        passages = block(rows, collections=keys)
        part = Part.of_rows(
            graph,
            passages.ids,
            keys,
            np.zeros(len(rows), dtype=np.bool_),
            np.empty(0, dtype=np.int32),
            rows.sum(axis=0, dtype=np.float64),
        )
        hits = hits_of(part, query, 10, CollectionFilter(frozenset({1}), is_denial=True))
        left = take(passages, keys == 2)
        assert_right([hits], left, query[np.newaxis], 10, recall=0)
        best = {hit.passage_id for hit in nearest(left.ids, left.embeddings, query, 10)}
        found += len(best & set(found_ids(hits)))
        expected += 10
    # A walk knows less of the edge of its view than of the nearest.
    is_at_the_edge = 10 < nearest_denied < 64
    assert found >= (0.9 if is_at_the_edge else 0.97) * expected


def test_filters_in_turn_do_not_get_in_each_others_way(
    labelled: tuple[Part, PassageBlock], queries: Embeddings
) -> None:
    part, passages = labelled
    filters = [CollectionFilter(frozenset({key}), denial) for key in range(7) for denial in (False, True)]
    assert len(filters) > SELECTIONS
    for collections in (*filters, *filters[::-1]):
        left = take(passages, collections.keeps(passages.collection_keys))
        hits = hits_of(part, queries[0], 5, collections)
        assert_right([hits], left, queries[:1], 5, recall=0.8)
