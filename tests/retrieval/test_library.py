"""The library: what is added is found, exactly and once; what is deleted is not."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval.embedding import Embedder
from retrieval.errors import (
    CollectionNotFound,
    DatasetNotFound,
    DirectoryInUse,
    InvalidRequest,
    ModelMismatch,
    NameTaken,
    QuotebaseError,
    RecordNotFound,
    StoreUnavailable,
)
from retrieval.library import Library, lock_directory
from retrieval.search import FIRST_CANDIDATES
from retrieval.store.sqlite import SqliteStore
from retrieval.tokens import count_tokens
from retrieval.types import (
    MAX_LIMIT,
    AddResult,
    Changes,
    Collection,
    Dataset,
    Embeddings,
    IndexDifferences,
    PassageBlock,
    RecordDraft,
    Score,
    SearchMode,
    SearchRequest,
    SearchResult,
    VerifyReport,
)
from retrieval.vectors.calibration import ENOUGH
from retrieval.vectors.codes import Codes
from retrieval.vectors.index import DEFAULT_FOLDS, FoldPolicy, VectorIndex
from retrieval.vectors.snapshot import save_snapshot
from tests.doubles import DialEmbedder, GridEmbedder, HashEmbedder
from tests.oracle import expected_quotes

STEP = 1 / 1024
"""A step of score that is exact in fp16."""


@pytest.fixture
def dial(tmp_path: Path) -> Iterator[Library]:
    """A library in which each passage says its own score."""
    with Library.open(tmp_path / "dial", DialEmbedder()) as library:
        yield library


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Library]:
    """A library whose scores are exact in any arithmetic."""
    with Library.open(tmp_path / "grid", GridEmbedder()) as library:
        yield library


def place_for_records(library: Library, name: str = "d") -> tuple[Dataset, Collection]:
    dataset = library.create_dataset(name)
    return dataset, library.store.create_collection(dataset.id, f"collection of {name}")


def add(library: Library, collection: Collection, *drafts: RecordDraft) -> dict[str, RecordDraft]:
    added = library.add_records(collection, drafts).added
    assert len(added) == len(drafts)
    return dict(zip(added, drafts, strict=True))


def ask(
    library: Library,
    *datasets: Dataset,
    text: str = "what?",
    similarity: float = 0.0,
    limit: int = MAX_LIMIT,
    top_k: int | None = None,
) -> SearchResult:
    ids = [dataset.id for dataset in datasets]
    return library.search(SearchRequest(text, ids, similarity, limit, top_k))


def found(result: SearchResult) -> list[tuple[str, float]]:
    return [(quote.record.id, quote.score) for quote in result.quotes]


def found_texts(result: SearchResult) -> list[str]:
    return [quote.record.q for quote in result.quotes]


def reopened(data_dir: Path, embedder: Embedder) -> Library:
    return Library.open(data_dir, embedder)


# Adding


def test_add_returns_the_new_ids_in_the_order_of_the_drafts(library: Library) -> None:
    _, collection = place_for_records(library)
    drafts = [RecordDraft(f"q{number}", f"a{number}", chunk_index=number * 2) for number in range(5)]
    result = library.add_records(collection, drafts)
    assert result.unchanged == 0
    stored = [library.store.get_record(record_id) for record_id in result.added]
    assert [(record.q, record.a, record.chunk_index) for record in stored] == [
        ("q0", "a0", 0),
        ("q1", "a1", 2),
        ("q2", "a2", 4),
        ("q3", "a3", 6),
        ("q4", "a4", 8),
    ]
    assert {(record.dataset_id, record.collection_id) for record in stored} == {
        (collection.dataset_id, collection.id)
    }


def test_records_know_their_tokens(library: Library) -> None:
    _, collection = place_for_records(library)
    drafts = [
        RecordDraft("咖啡豆怎么保存？", "密封。"),
        RecordDraft("no answer"),
        RecordDraft("<|endoftext|>"),
    ]
    added = library.add_records(collection, drafts).added
    tokens = [library.store.get_record(record_id).tokens for record_id in added]
    assert tokens == [count_tokens("咖啡豆怎么保存？\n密封。"), count_tokens("no answer"), 7]


def test_what_is_known_costs_nothing(library: Library, embedder: HashEmbedder) -> None:
    _, collection = place_for_records(library)
    drafts = [RecordDraft("q1", "a1", ("i1", "i2")), RecordDraft("q2")]
    assert library.add_records(collection, drafts).embedded == embedder.texts_read == 4
    assert library.add_records(collection, drafts) == AddResult((), unchanged=2, embedded=0)
    assert embedder.texts_read == 4
    assert library.store.count_passages(collection.dataset_id) == 4


def test_known_and_new_in_one_batch(library: Library, embedder: HashEmbedder) -> None:
    _, collection = place_for_records(library)
    first = library.add_records(collection, [RecordDraft("q1"), RecordDraft("q2")])
    second = library.add_records(collection, [RecordDraft("q2"), RecordDraft("q3"), RecordDraft("q1")])
    assert (len(second.added), second.unchanged, second.embedded) == (1, 2, 1)
    assert library.store.get_record(second.added[0]).q == "q3"
    assert not set(first.added) & set(second.added)
    assert embedder.texts_read == 3


def test_duplicates_within_a_batch_are_stored_once(library: Library, embedder: HashEmbedder) -> None:
    _, collection = place_for_records(library)
    drafts = [RecordDraft("q", "a", chunk_index=place) for place in (4, 5, 6)]
    result = library.add_records(collection, [*drafts, RecordDraft("other")])
    assert (len(result.added), result.unchanged, result.embedded) == (2, 2, 2)
    assert [record.chunk_index for record in library.store.list_records(collection.id)] == [4, 0]
    assert embedder.texts_read == 2


@pytest.mark.parametrize(
    "changed",
    [
        RecordDraft("q ", "a", ("i",)),
        RecordDraft("q", "a.", ("i",)),
        RecordDraft("q", "a", ("i", "j")),
        RecordDraft("q", "a"),
        RecordDraft("qa", "", ("i",)),
        RecordDraft("q", "ai"),
    ],
)
def test_any_difference_of_content_is_another_record(library: Library, changed: RecordDraft) -> None:
    _, collection = place_for_records(library)
    library.add_records(collection, [RecordDraft("q", "a", ("i",))])
    assert len(library.add_records(collection, [changed]).added) == 1


def test_collections_do_not_share_records(library: Library, embedder: HashEmbedder) -> None:
    dataset, first = place_for_records(library)
    second = library.store.create_collection(dataset.id, "second")
    draft = RecordDraft("q", "a")
    assert len(library.add_records(first, [draft]).added) == 1
    assert len(library.add_records(second, [draft]).added) == 1
    # The same text is embedded once.
    assert embedder.texts_read == 1


def test_equal_texts_of_several_records_are_embedded_once(library: Library, embedder: HashEmbedder) -> None:
    dataset, collection = place_for_records(library)
    drafts = [
        RecordDraft("shipping", "", ("delivery", "delivery", "post")),
        RecordDraft("delivery", "", ("shipping", "post")),
        RecordDraft("a", "b", ("a\nb",)),
    ]
    result = library.add_records(collection, drafts)
    assert result.embedded == embedder.texts_read == 4
    passages = library.store.passages_of(result.added)
    assert [[passage.text for passage in passages[record_id]] for record_id in result.added] == [
        ["shipping", "delivery", "post"],
        ["delivery", "shipping", "post"],
        ["a\nb"],
    ]
    assert library.store.count_passages(dataset.id) == 7
    assert {quote.record.q for quote in ask(library, dataset, text="post", similarity=0.5).quotes} == {
        "shipping",
        "delivery",
    }


def test_nothing_to_add(library: Library, embedder: HashEmbedder) -> None:
    _, collection = place_for_records(library)
    assert library.add_records(collection, []) == AddResult()
    assert embedder.texts_read == 0


def test_added_is_found_at_once_whether_or_not_the_index_is_loaded(grid: Library) -> None:
    dataset, collection = place_for_records(grid)
    records = add(grid, collection, RecordDraft("first"))
    request = SearchRequest("first", [dataset.id])
    assert found(grid.search(request)) == expected_quotes(GridEmbedder(), records, request)
    records |= add(grid, collection, RecordDraft("second"), RecordDraft("third"))
    for text in ("first", "second", "third"):
        assert found(ask(grid, dataset, text=text))[0][1] == 1.0
        assert found_texts(ask(grid, dataset, text=text))[0] == text


def test_add_to_a_collection_that_is_gone(library: Library) -> None:
    _, collection = place_for_records(library)
    library.delete_collection(collection.id)
    with pytest.raises(CollectionNotFound, match=collection.id):
        library.add_records(collection, [RecordDraft("q")])


def test_adding_from_eight_threads_adds_each_once(library: Library) -> None:
    dataset, collection = place_for_records(library)
    drafts = [RecordDraft(f"question {number}") for number in range(60)]
    results: list[AddResult] = []

    def work(start: int) -> None:
        for place in range(0, 60, 6):
            shifted = (start * 6 + place) % 60
            results.append(library.add_records(collection, drafts[shifted : shifted + 6]))
            ask(library, dataset, text=drafts[shifted].q)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(result.added) for result in results) == 60
    assert sum(result.unchanged for result in results) == 8 * 60 - 60
    assert library.store.count_records(dataset.id) == 60
    for draft in drafts:
        assert found_texts(ask(library, dataset, text=draft.q))[0] == draft.q
    assert library.verify() == VerifyReport(passages={"d": 60})


# Searching


@pytest.mark.parametrize("similarity", [0.0, 1 / 16, 0.25, 1.0])
@pytest.mark.parametrize("limit", [1, 40, 300, MAX_LIMIT])
@pytest.mark.parametrize("top_k", [None, 1, 7])
def test_search_equals_brute_force(
    searched: tuple[Library, Dataset, dict[str, RecordDraft]],
    similarity: float,
    limit: int,
    top_k: int | None,
) -> None:
    library, dataset, records = searched
    for text in ("question 5", "what?", "咖啡", "q"):
        request = SearchRequest(text, [dataset.id], similarity, limit, top_k)
        assert found(library.search(request)) == expected_quotes(GridEmbedder(), records, request)


@pytest.fixture(scope="module")
def searched(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Library, Dataset, dict[str, RecordDraft]]]:
    """300 records with up to four passages; some differ from another only in punctuation."""
    with Library.open(tmp_path_factory.mktemp("searched"), GridEmbedder()) as library:
        dataset, collection = place_for_records(library)
        drafts = [
            RecordDraft(
                f"question {number % 250}" + "?!"[: number // 250],
                "word " * (number % 9),
                tuple(f"index {number} {place}" for place in range(number % 4)),
            )
            for number in range(300)
        ]
        yield library, dataset, add(library, collection, *drafts)


def test_search_result_tells_all_about_a_quote(dial: Library) -> None:
    dataset, collection = place_for_records(dial)
    (best, second) = add(dial, collection, RecordDraft("q @0.75", "a", chunk_index=3), RecordDraft("@0.5"))
    request = SearchRequest("what?", [dataset.id], 0.25, 900, 5)
    result = dial.search(request)
    assert result.request == request
    assert (result.model.name, result.model.dim, result.model.fingerprint) == ("dial", 2, "dial-1")
    assert 0 < result.seconds < 10
    assert [quote.record for quote in result.quotes] == [
        dial.store.get_record(best),
        dial.store.get_record(second),
    ]
    assert [quote.scores for quote in result.quotes] == [
        (Score("embedding", 0.75, 0),),
        (Score("embedding", 0.5, 1),),
    ]
    assert {quote.collection_name for quote in result.quotes} == {"collection of d"}
    assert [quote.passage_id for quote in result.quotes] == [
        dial.store.passages_of([record_id])[record_id][0].id for record_id in (best, second)
    ]


def test_ties_come_in_the_order_of_adding(dial: Library) -> None:
    dataset, collection = place_for_records(dial)
    drafts = [RecordDraft(f"number {number} @0.5") for number in range(100)]
    records = add(dial, collection, *drafts)
    assert [record_id for record_id, _ in found(ask(dial, dataset))] == list(records)
    assert [record_id for record_id, _ in found(ask(dial, dataset, top_k=10))] == list(records)[:10]


def test_custom_index_leads_to_its_record_scored_by_the_best_passage(dial: Library) -> None:
    dataset, collection = place_for_records(dial)
    indexed = RecordDraft("quoted text @0.25", "", ("@0.5", "@0.875", "@0.75"))
    plain = RecordDraft("plain text @0.8125")
    first, second = add(dial, collection, indexed, plain)
    result = ask(dial, dataset)
    assert found(result) == [(first, 0.875), (second, 0.8125)]
    assert found_texts(result) == ["quoted text @0.25", "plain text @0.8125"]
    best = next(passage for passage in dial.store.passages_of([first])[first] if passage.text == "@0.875")
    assert not best.is_default
    assert result.quotes[0].passage_id == best.id
    assert found(ask(dial, dataset, similarity=0.875)) == [(first, 0.875)]


def test_similarity_is_inclusive_to_the_bit(dial: Library) -> None:
    dataset, collection = place_for_records(dial)
    low, at, high = add(
        dial,
        collection,
        RecordDraft(f"low @{0.75 - STEP}"),
        RecordDraft("at @0.75"),
        RecordDraft(f"high @{0.75 + STEP}"),
    )
    everything = [(high, 0.75 + STEP), (at, 0.75), (low, 0.75 - STEP)]
    just_below, just_above = (float(np.nextafter(0.75, direction)) for direction in (0, 1))
    assert found(ask(dial, dataset, similarity=just_above)) == everything[:1]
    assert found(ask(dial, dataset, similarity=0.75)) == everything[:2]
    assert found(ask(dial, dataset, similarity=just_below)) == everything[:2]
    assert found(ask(dial, dataset, similarity=0.75 - STEP)) == everything
    assert found(ask(dial, dataset, similarity=1.0)) == []


def test_scores_below_zero_are_never_quoted(dial: Library) -> None:
    dataset, collection = place_for_records(dial)
    zero, _ = add(dial, collection, RecordDraft("zero"), RecordDraft("opposite @-0.25"))
    assert found(ask(dial, dataset)) == [(zero, 0.0)]


def test_limit_counts_tokens_and_the_best_quote_always_fits(dial: Library) -> None:
    dataset, collection = place_for_records(dial)
    records = list(add(dial, collection, *(RecordDraft("word " * 20 + f"@0.{n}") for n in (9, 8, 7))))
    tokens = [dial.store.get_record(record_id).tokens for record_id in records]

    def kept(limit: int) -> list[str]:
        return [record_id for record_id, _ in found(ask(dial, dataset, limit=limit))]

    assert kept(sum(tokens)) == records
    assert kept(sum(tokens) - 1) == records[:2]
    assert kept(sum(tokens[:2])) == records[:2]
    assert kept(sum(tokens[:2]) - 1) == records[:1]
    assert kept(1) == records[:1]


def test_top_k_is_the_most_quotes(dial: Library) -> None:
    dataset, collection = place_for_records(dial)
    records = list(add(dial, collection, *(RecordDraft(f"@0.{n}") for n in (9, 8, 7))))
    for top_k in (1, 2, 3, 4):
        assert [record_id for record_id, _ in found(ask(dial, dataset, top_k=top_k))] == records[:top_k]


def test_repeats_are_quoted_once_with_their_best_score(dial: Library) -> None:
    dataset, collection = place_for_records(dial)
    worse, better, other = add(
        dial,
        collection,
        RecordDraft("Same text", "", ("@0.5",)),
        RecordDraft("Same, text!", "", ("@0.75",)),
        RecordDraft("Other text", "", ("@0.625",)),
    )
    assert found(ask(dial, dataset)) == [(better, 0.75), (other, 0.625)]
    dial.delete_records(dataset.id, [better])
    assert found(ask(dial, dataset)) == [(other, 0.625), (worse, 0.5)]


@pytest.mark.parametrize("passages", [FIRST_CANDIDATES - 1, FIRST_CANDIDATES, 5 * FIRST_CANDIDATES, 1500])
def test_records_behind_one_with_many_passages_are_found(dial: Library, passages: int) -> None:
    """More candidates are looked at than the first round has."""
    dataset, collection = place_for_records(dial)
    crowd = RecordDraft("crowd", "", tuple(f"text {number} @0.9375" for number in range(passages)))
    first, second, third = add(dial, collection, crowd, RecordDraft("b @0.5"), RecordDraft("c @0.25"))
    assert found(ask(dial, dataset)) == [(first, 0.9375), (second, 0.5), (third, 0.25)]
    assert found(ask(dial, dataset, top_k=2)) == [(first, 0.9375), (second, 0.5)]
    assert found(ask(dial, dataset, similarity=0.5)) == [(first, 0.9375), (second, 0.5)]


def test_records_behind_many_repeats_are_found(dial: Library) -> None:
    dataset, collection = place_for_records(dial)
    repeats = [RecordDraft("same" + "!" * count, "", ("@0.9375",)) for count in range(300)]
    records = list(add(dial, collection, *repeats, RecordDraft("other @0.5")))
    assert found(ask(dial, dataset)) == [(records[0], 0.9375), (records[-1], 0.5)]


@pytest.mark.parametrize(
    "count", [1, 2, FIRST_CANDIDATES - 1, FIRST_CANDIDATES, FIRST_CANDIDATES + 1, 256, 700]
)
def test_all_records_are_quoted_where_nothing_cuts(dial: Library, count: int) -> None:
    dataset, collection = place_for_records(dial)
    records = add(dial, collection, *(RecordDraft(f"n{number} @0.5") for number in range(count)))
    assert [record_id for record_id, _ in found(ask(dial, dataset))] == list(records)


def test_several_datasets_in_one_search(grid: Library) -> None:
    records: dict[str, RecordDraft] = {}
    datasets = []
    for name in ("one", "two", "three"):
        dataset, collection = place_for_records(grid, name)
        datasets.append(dataset)
        drafts = (RecordDraft(f"{name} {number}") for number in range(90))
        if name != "two":
            records |= add(grid, collection, *drafts)
        else:
            add(grid, collection, *drafts)
    one, _, three = datasets
    for text in ("one 5", "three 7", "two 3"):
        request = SearchRequest(text, [three.id, one.id, three.id], limit=1000)
        assert found(grid.search(request)) == expected_quotes(GridEmbedder(), records, request)
    assert {quote.collection_name for quote in ask(grid, one, three).quotes} == {
        "collection of one",
        "collection of three",
    }


def test_nothing_is_missed_when_one_of_two_datasets_fills_the_candidates(dial: Library) -> None:
    crowded, collection = place_for_records(dial, "crowded")
    crowd = RecordDraft("crowd", "", tuple(f"text {number} @0.9375" for number in range(500)))
    (first,) = add(dial, collection, crowd)
    sparse, collection = place_for_records(dial, "sparse")
    (second,) = add(dial, collection, RecordDraft("b @0.5"))
    assert found(ask(dial, crowded, sparse)) == [(first, 0.9375), (second, 0.5)]


def test_the_best_of_several_datasets_come_first_however_many_one_has(dial: Library) -> None:
    better, collection = place_for_records(dial, "better")
    first = list(add(dial, collection, *(RecordDraft(f"n{number} @0.9") for number in range(100))))
    worse, collection = place_for_records(dial, "worse")
    second = list(add(dial, collection, *(RecordDraft(f"m{number} @0.5") for number in range(100))))
    result = ask(dial, worse, better, top_k=110)
    assert [record_id for record_id, _ in found(result)] == first + second[:10]


def test_an_empty_dataset_gives_no_quotes(library: Library) -> None:
    dataset = library.create_dataset("empty")
    assert ask(library, dataset).quotes == ()


# Forbidden collections


def forbid(data_dir: Path, collection: Collection, is_forbidden: bool = True) -> None:
    with sqlite3.connect(data_dir / "quotebase.sqlite") as db:
        db.execute("UPDATE collections SET forbid = ? WHERE id = ?", (is_forbidden, collection.id))
    db.close()


def test_forbidden_collections_are_not_searched(tmp_path: Path, dial: Library) -> None:
    dataset, open_one = place_for_records(dial)
    closed = dial.store.create_collection(dataset.id, "closed")
    closed_records = add(dial, closed, *(RecordDraft(f"closed {number} @0.9") for number in range(200)))
    (record_id,) = add(dial, open_one, RecordDraft("open @0.5"))
    assert len(found(ask(dial, dataset))) == 201
    forbid(tmp_path / "dial", closed)
    assert found(ask(dial, dataset)) == [(record_id, 0.5)]
    forbid(tmp_path / "dial", open_one)
    assert found(ask(dial, dataset)) == []
    forbid(tmp_path / "dial", closed, is_forbidden=False)
    assert [record_id for record_id, _ in found(ask(dial, dataset))] == list(closed_records)


def test_a_collection_forbidden_in_one_dataset_leaves_another_alone(tmp_path: Path, dial: Library) -> None:
    first, closed = place_for_records(dial, "first")
    second, other = place_for_records(dial, "second")
    add(dial, closed, RecordDraft("closed @0.9"))
    (record_id,) = add(dial, other, RecordDraft("open @0.5"))
    forbid(tmp_path / "dial", closed)
    assert found(ask(dial, first, second)) == [(record_id, 0.5)]


@pytest.mark.parametrize("is_folded", [False, True])
def test_forbidding_is_a_filter_like_any_other(tmp_path: Path, is_folded: bool) -> None:
    """What is left is found as if the rest were not there, before, beside and after adds and deletes."""
    folds = FOLDS if is_folded else DEFAULT_FOLDS
    with Library.open(tmp_path, GridEmbedder(), folds=folds) as library:
        dataset, collection = place_for_records(library)
        collections = [collection, *(library.store.create_collection(dataset.id, name) for name in "bc")]
        records = {
            one.id: add(library, one, *(RecordDraft(f"{place} {n}", "", (f"q{n}",)) for n in range(40)))
            for place, one in enumerate(collections)
        }
        # Ties are in the order of adding.
        for forbidden in ([0], [2], [0, 1], [1, 2], [0, 1, 2], []):
            for place, one in enumerate(collections):
                forbid(tmp_path, one, place in forbidden)
            record_id = next(iter(records[collections[0].id]))
            library.delete_records(dataset.id, [record_id])
            del records[collections[0].id][record_id]
            records[collections[2].id] |= add(library, collections[2], RecordDraft(f"new {forbidden}"))
            library.settle()
            open_records = {
                record_id: draft
                for place, one in enumerate(collections)
                if place not in forbidden
                for record_id, draft in records[one.id].items()
            }
            for text in ("0 5", "q7", "what?"):
                request = SearchRequest(text, [dataset.id], 0.0, 600)
                assert found(library.search(request)) == expected_quotes(
                    GridEmbedder(), open_records, request
                )
        assert library.index_status(dataset.id).has_graph == is_folded


# Folding

FOLDS = FoldPolicy(exact_limit=20)
"""More than 20 passages become a graph."""


def test_what_is_folded_is_found_as_before(tmp_path: Path) -> None:
    with Library.open(tmp_path, GridEmbedder(), folds=FOLDS) as library:
        dataset, collection = place_for_records(library)
        records = add(
            library, collection, *(RecordDraft(f"q{number}", "", (f"i{number}",)) for number in range(60))
        )
        assert_holds_exactly(library, dataset, records)
        library.settle()
        status = library.index_status(dataset.id)
        assert (status.has_graph, status.sealed, status.flat) == (True, 120, 0)
        assert_holds_exactly(library, dataset, records)
        records |= add(library, collection, *(RecordDraft(f"r{number}") for number in range(9)))
        for record_id in list(records)[5:25]:
            library.delete_records(dataset.id, [record_id])
            del records[record_id]
        assert_holds_exactly(library, dataset, records)
        library.settle()
        status = library.index_status(dataset.id)
        assert (status.has_graph, status.sealed, status.flat, status.removed) == (True, 89, 0, 0)
        assert_holds_exactly(library, dataset, records)
    with Library.open(tmp_path, GridEmbedder(), folds=FOLDS) as library:
        assert_holds_exactly(library, dataset, records)
        status = library.index_status(dataset.id)
        assert (status.passages, status.sealed, status.flat, status.has_graph) == (89, 89, 0, True)


@pytest.mark.parametrize(
    ("mode", "is_tried"), [("embedding", True), ("mixedRecall", True), ("fullTextRecall", False)]
)
def test_what_was_asked_finds_the_effort_of_a_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: SearchMode, is_tried: bool
) -> None:
    tried: list[Embeddings] = []

    def find_effort(codes: Codes, asked: Embeddings, check: Callable[[], None]) -> int:
        tried.append(asked)
        return 64

    monkeypatch.setattr("retrieval.vectors.index.find_effort", find_effort)
    with Library.open(tmp_path, GridEmbedder(), folds=FOLDS) as library:
        dataset, collection = place_for_records(library)
        add(library, collection, *(RecordDraft(f"q{number}") for number in range(60)))
        library.load_index(dataset.id)
        library.settle()
        assert [len(asked) for asked in tried] == [0]
        questions = [f"question {number}" for number in range(ENOUGH)]
        for question in questions:
            library.search(SearchRequest(f"{question}, measured", (dataset.id,), mode=mode), is_asked=False)
            library.search(SearchRequest(question, (dataset.id,), mode=mode))
        library.settle()
        assert len(tried) == 1 + is_tried
        if is_tried:
            np.testing.assert_array_equal(tried[1], GridEmbedder().embed_queries(questions))


def test_a_rebuilt_index_finds_the_same(tmp_path: Path) -> None:
    with Library.open(tmp_path, GridEmbedder(), folds=FOLDS) as library:
        dataset, collection = place_for_records(library)
        records = add(library, collection, *(RecordDraft(f"q{number}") for number in range(60)))
        ask(library, dataset)
        before = library.load_index(dataset.id)
        steps: list[tuple[int, int]] = []
        status = library.rebuild(dataset.id, lambda done, total: steps.append((done, total)))
        assert (status.sealed, status.flat, status.has_graph, status.is_loaded) == (60, 0, True, True)
        assert steps[-1] == (60, 60)
        assert library.load_index(dataset.id) is not before
        assert_holds_exactly(library, dataset, records)
        for call in (library.rebuild, library.load_index, library.index_status):
            with pytest.raises(DatasetNotFound, match="f" * 24):
                call("f" * 24)


def test_datasets_that_do_not_fit_into_memory_together_are_searched_together(tmp_path: Path) -> None:
    with Library.open(tmp_path, GridEmbedder(), index_memory=100, folds=FOLDS) as library:
        datasets: list[Dataset] = []
        records: dict[str, RecordDraft] = {}
        for name in ("one", "two", "three"):
            dataset, collection = place_for_records(library, name)
            datasets.append(dataset)
            records |= add(library, collection, *(RecordDraft(f"{name} {number}") for number in range(30)))
        for text in ("one 5", "three 7"):
            request = SearchRequest(text, [dataset.id for dataset in datasets], limit=1000)
            assert found(library.search(request)) == expected_quotes(GridEmbedder(), records, request)
            library.settle()
        assert sum(library.index_status(dataset.id).is_loaded for dataset in datasets) == 1


# Deleting


def test_deleted_records_leave_no_ghosts(tmp_path: Path) -> None:
    records: dict[str, RecordDraft]
    with Library.open(tmp_path, GridEmbedder()) as library:
        dataset, collection = place_for_records(library)
        drafts = [RecordDraft(f"q{number}", "", (f"i{number}",)) for number in range(50)]
        records = add(library, collection, *drafts)
        ask(library, dataset)
        gone = list(records)[:20]
        library.delete_records(dataset.id, gone)
        for record_id in gone:
            del records[record_id]
        assert_holds_exactly(library, dataset, records)
        with pytest.raises(RecordNotFound):
            library.store.get_record(gone[0])
    with reopened(tmp_path, GridEmbedder()) as library:
        assert_holds_exactly(library, dataset, records)
        again = add(library, collection, drafts[0])
        assert_holds_exactly(library, dataset, records | again)
    with reopened(tmp_path, GridEmbedder()) as library:
        library.delete_records(dataset.id, list(again))
    with reopened(tmp_path, GridEmbedder()) as library:
        assert_holds_exactly(library, dataset, records)


def assert_holds_exactly(library: Library, dataset: Dataset, records: dict[str, RecordDraft]) -> None:
    """Searches equal brute force over ``records``, and the index has their passages and no more."""
    for text in ("q0", "q30", "i1", "i40", "what?"):
        request = SearchRequest(text, [dataset.id], limit=MAX_LIMIT)
        assert found(library.search(request)) == expected_quotes(GridEmbedder(), records, request)
    assert library.store.count_records(dataset.id) == len(records)
    passages = sum(len(draft.texts) for draft in records.values())
    assert library.verify() == VerifyReport(passages={dataset.name: passages})


def test_deleting_unknown_records_changes_nothing(grid: Library) -> None:
    dataset, collection = place_for_records(grid)
    records = add(grid, collection, RecordDraft("q0"))
    ask(grid, dataset)
    grid.delete_records(dataset.id, ["0" * 24])
    grid.delete_records(dataset.id, [])
    assert_holds_exactly(grid, dataset, records)


def test_deleting_all_records(grid: Library) -> None:
    dataset, collection = place_for_records(grid)
    records = add(grid, collection, RecordDraft("q0"), RecordDraft("q1"))
    ask(grid, dataset)
    grid.delete_records(dataset.id, list(records))
    assert_holds_exactly(grid, dataset, {})


def test_a_deleted_collection_leaves_no_ghosts(tmp_path: Path) -> None:
    with Library.open(tmp_path, GridEmbedder()) as library:
        dataset, kept = place_for_records(library)
        gone = library.store.create_collection(dataset.id, "gone")
        records = add(library, kept, *(RecordDraft(f"q{number}") for number in range(10)))
        add(library, gone, *(RecordDraft(f"q{number}", "", (f"i{number}",)) for number in range(30)))
        ask(library, dataset)
        library.delete_collection(gone.id)
        assert_holds_exactly(library, dataset, records)
        with pytest.raises(CollectionNotFound, match=gone.id):
            library.delete_collection(gone.id)
    with reopened(tmp_path, GridEmbedder()) as library:
        assert_holds_exactly(library, dataset, records)
        library.delete_collection(kept.id)
        assert_holds_exactly(library, dataset, {})


def test_a_deletion_is_seen_by_an_index_that_was_saved_before_it(tmp_path: Path) -> None:
    with Library.open(tmp_path, GridEmbedder()) as library:
        dataset, collection = place_for_records(library)
        records = add(library, collection, RecordDraft("q0"), RecordDraft("q1"), RecordDraft("q2"))
        ask(library, dataset)
    gone = list(records)[1]
    with reopened(tmp_path, GridEmbedder()) as library:
        library.delete_records(dataset.id, [gone])
    del records[gone]
    with reopened(tmp_path, GridEmbedder()) as library:
        assert_holds_exactly(library, dataset, records)


def test_a_deleted_dataset_leaves_nothing(tmp_path: Path) -> None:
    with Library.open(tmp_path, GridEmbedder()) as library:
        gone, collection = place_for_records(library, "gone")
        add(library, collection, RecordDraft("q0"))
        kept, collection = place_for_records(library, "kept")
        records = add(library, collection, RecordDraft("q0"), RecordDraft("q1"))
        ask(library, gone, kept)
    with reopened(tmp_path, GridEmbedder()) as library:
        assert {path.stem for path in (tmp_path / "indexes").iterdir()} == {gone.id, kept.id}
        ask(library, gone)
        library.delete_dataset(gone.id)
        with pytest.raises(DatasetNotFound, match=gone.id):
            ask(library, gone, kept)
        with pytest.raises(DatasetNotFound, match=gone.id):
            library.delete_dataset(gone.id)
        assert_holds_exactly(library, kept, records)
    with reopened(tmp_path, GridEmbedder()) as library:
        assert {path.stem for path in (tmp_path / "indexes").iterdir()} == {kept.id}
        assert [dataset.name for dataset in library.store.list_datasets()] == ["kept"]
        assert_holds_exactly(library, kept, records)
        again = library.create_dataset("gone")
        assert again.id != gone.id
        assert ask(library, again).quotes == ()


def test_datasets_deleted_while_they_are_searched_do_not_stop_the_library_from_closing(
    tmp_path: Path,
) -> None:
    problems: list[BaseException] = []

    def search_until_gone(library: Library, dataset: Dataset) -> None:
        try:
            while True:
                ask(library, dataset)
        except DatasetNotFound:
            return
        except QuotebaseError as error:
            problems.append(error)

    with Library.open(tmp_path, GridEmbedder()) as library:
        for number in range(15):
            dataset, collection = place_for_records(library, f"d{number}")
            add(library, collection, *(RecordDraft(f"q{n}") for n in range(20)))
            threads = [threading.Thread(target=search_until_gone, args=(library, dataset)) for _ in range(3)]
            for thread in threads:
                thread.start()
            library.delete_dataset(dataset.id)
            for thread in threads:
                thread.join()
    assert problems == []
    assert not (tmp_path / "indexes").exists() or list((tmp_path / "indexes").iterdir()) == []


# A store that fails


class CutOffStore(SqliteStore):
    """A database that is lost at the moment something is to be deleted."""

    is_cut_off = False

    def delete_records(self, record_ids: Sequence[str]) -> list[int]:
        self._check()
        return super().delete_records(record_ids)

    def delete_collection(self, collection_id: str) -> None:
        self._check()
        super().delete_collection(collection_id)

    def delete_dataset(self, dataset_id: str) -> None:
        self._check()
        super().delete_dataset(dataset_id)

    def _check(self) -> None:
        if self.is_cut_off:
            raise StoreUnavailable("the database is gone")


def test_index_and_store_stay_in_step_when_a_delete_fails(tmp_path: Path) -> None:
    store = CutOffStore(tmp_path / "quotebase.sqlite")
    with Library(tmp_path, store, GridEmbedder(), lock_directory(tmp_path)) as library:
        dataset, collection = place_for_records(library)
        records = add(library, collection, *(RecordDraft(f"q{number}") for number in range(30)))
        ask(library, dataset)
        store.is_cut_off = True
        with pytest.raises(StoreUnavailable, match="the database is gone"):
            library.delete_records(dataset.id, list(records)[:10])
        assert_holds_exactly(library, dataset, records)
        with pytest.raises(StoreUnavailable, match="the database is gone"):
            library.delete_collection(collection.id)
        assert_holds_exactly(library, dataset, records)
        with pytest.raises(StoreUnavailable, match="the database is gone"):
            library.delete_dataset(dataset.id)
        assert_holds_exactly(library, dataset, records)
        store.is_cut_off = False
        gone = list(records)[:10]
        library.delete_records(dataset.id, gone)
        for record_id in gone:
            del records[record_id]
        assert_holds_exactly(library, dataset, records)
    with reopened(tmp_path, GridEmbedder()) as reopened_library:
        assert_holds_exactly(reopened_library, dataset, records)


# Opening


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    with Library.open(tmp_path / "made" / "on demand", GridEmbedder()) as library:
        dataset, collection = place_for_records(library)
        records = add(library, collection, RecordDraft("q0", "", ("i0",)), RecordDraft("q1"))
        assert_holds_exactly(library, dataset, records)
    with reopened(tmp_path / "made" / "on demand", GridEmbedder()) as library:
        assert library.dataset_named("d") == dataset
        assert library.store.find_collection(dataset.id, "collection of d") == collection
        assert_holds_exactly(library, dataset, records)


def test_a_directory_has_one_library(tmp_path: Path) -> None:
    with Library.open(tmp_path, GridEmbedder()):
        with pytest.raises(DirectoryInUse, match=r"in use .* QUOTEBASE_DATA_DIR") as raised:
            Library.open(tmp_path, GridEmbedder())
        assert str(tmp_path) in raised.value.message
        with Library.open(tmp_path / "another", GridEmbedder()):
            pass
    with Library.open(tmp_path, GridEmbedder()):
        pass


def test_a_library_closed_by_another_thread_is_closed(tmp_path: Path) -> None:
    library = Library.open(tmp_path, GridEmbedder())
    thread = threading.Thread(target=library.close)
    thread.start()
    thread.join()
    with Library.open(tmp_path, GridEmbedder()):
        pass


def test_a_directory_whose_database_is_none_is_free_again(tmp_path: Path) -> None:
    (tmp_path / "quotebase.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreUnavailable, match=r"quotebase\.sqlite") as raised:
        Library.open(tmp_path, GridEmbedder())
    (tmp_path / "quotebase.sqlite").unlink()
    # The error is still held, and with it all that was open when it was raised.
    assert raised.value
    with Library.open(tmp_path, GridEmbedder()):
        pass


@pytest.mark.parametrize("other", [HashEmbedder(dim=64), DialEmbedder()])
def test_another_model_is_refused_until_the_first_is_back(tmp_path: Path, other: Embedder) -> None:
    with Library.open(tmp_path, GridEmbedder()) as library:
        dataset, collection = place_for_records(library, "bound")
        records = add(library, collection, RecordDraft("q0"))
    with reopened(tmp_path, other) as library:
        pattern = rf"'bound' .* grid \(64 .* {other.name} \({other.dim} .* QUOTEBASE_EMBEDDING_MODEL"
        with pytest.raises(ModelMismatch, match=pattern):
            ask(library, dataset)
        with pytest.raises(ModelMismatch, match=pattern):
            library.add_records(collection, [RecordDraft("q1")])
        assert library.verify() == VerifyReport(passages={"bound": 1})
        beside, _ = place_for_records(library, "beside")
        with pytest.raises(ModelMismatch, match="'bound'"):
            ask(library, beside, dataset)
        library.delete_dataset(beside.id)
    with reopened(tmp_path, GridEmbedder()) as library:
        assert_holds_exactly(library, dataset, records)


def test_the_same_name_and_width_with_other_weights_is_another_model(tmp_path: Path) -> None:
    class Retrained(GridEmbedder):
        fingerprint = "grid-2"

    with Library.open(tmp_path, GridEmbedder()) as library:
        dataset, _ = place_for_records(library)
    with reopened(tmp_path, Retrained()) as library, pytest.raises(ModelMismatch, match=r"grid-1.*grid-2"):
        ask(library, dataset)


# Names and requests


def test_dataset_names_are_taken_once(library: Library) -> None:
    library.create_dataset("coffee", intro="about coffee")
    with pytest.raises(NameTaken, match="'coffee'"):
        library.create_dataset("coffee")
    assert [(dataset.name, dataset.intro) for dataset in library.store.list_datasets()] == [
        ("coffee", "about coffee")
    ]


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_a_dataset_needs_a_name(library: Library, name: str) -> None:
    with pytest.raises(InvalidRequest, match="name") as raised:
        library.create_dataset(name)
    assert raised.value.param == "name"


def test_an_unknown_name_is_answered_with_the_known(library: Library) -> None:
    with pytest.raises(DatasetNotFound, match=r"'tea' \(there are: none yet\)"):
        library.dataset_named("tea")
    library.create_dataset("coffee")
    library.create_dataset("咖啡")
    with pytest.raises(DatasetNotFound, match=r"'tea' \(there are: coffee, 咖啡\)"):
        library.dataset_named("tea")
    assert library.dataset_named("咖啡").name == "咖啡"


def test_an_unknown_dataset_id_is_named(library: Library) -> None:
    with pytest.raises(DatasetNotFound, match="f" * 24):
        library.search(SearchRequest("what?", ["f" * 24]))


@pytest.mark.parametrize(
    ("request_", "param", "words"),
    [
        (SearchRequest("", ["f"]), "text", "empty"),
        (SearchRequest(" \n\u3000", ["f"]), "text", "empty"),
        (SearchRequest("caf\udce9", ["f"]), "text", "Unicode"),
        (SearchRequest("what?", []), "datasetId", "no dataset"),
        (SearchRequest("what?", ["f"], similarity=-0.001), "similarity", "-0.001.*0 to 1"),
        (SearchRequest("what?", ["f"], similarity=1.001), "similarity", "1.001.*0 to 1"),
        (SearchRequest("what?", ["f"], similarity=float("nan")), "similarity", "nan"),
        (SearchRequest("what?", ["f"], limit=0), "limit", "0 tokens.*1 to 20000"),
        (SearchRequest("what?", ["f"], limit=MAX_LIMIT + 1), "limit", "20001 tokens.*1 to 20000"),
        (SearchRequest("what?", ["f"], top_k=0), "topK", "0.*at least 1"),
    ],
)
def test_values_out_of_range_are_named(
    library: Library, request_: SearchRequest, param: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words) as raised:
        library.search(request_)
    assert raised.value.param == param


def test_values_at_the_ends_of_the_range_are_taken(library: Library) -> None:
    dataset = library.create_dataset("d")
    for similarity in (0, 1):
        for limit in (1, MAX_LIMIT):
            assert ask(library, dataset, similarity=similarity, limit=limit, top_k=1).quotes == ()


# Upkeep


def test_verify_of_a_new_library_is_clean(library: Library) -> None:
    assert library.verify() == VerifyReport()
    assert library.verify().is_clean


def test_verify_counts_passages_by_dataset(grid: Library) -> None:
    for name, count in (("one", 3), ("two", 5), ("none", 0)):
        _, collection = place_for_records(grid, name)
        add(grid, collection, *(RecordDraft(f"q{number}", "", ("i",)) for number in range(count)))
    assert grid.verify() == VerifyReport(passages={"one": 6, "two": 10, "none": 0})


def swap_two(passages: PassageBlock) -> PassageBlock:
    order = np.arange(len(passages))
    order[[1, 5]] = [5, 1]
    return PassageBlock(passages.ids, passages.collection_keys, passages.embeddings[order])


def relabel_one(passages: PassageBlock) -> PassageBlock:
    keys = passages.collection_keys.copy()
    keys[1] += 1
    return PassageBlock(passages.ids, keys, passages.embeddings)


def renumber_last(passages: PassageBlock) -> PassageBlock:
    ids = passages.ids.copy()
    ids[-1] += 1
    return PassageBlock(ids, passages.collection_keys, passages.embeddings)


def turn_one(passages: PassageBlock) -> PassageBlock:
    embeddings = passages.embeddings.copy()
    embeddings[1, 0] = np.nextafter(embeddings[1, 0], np.float16(1))
    return PassageBlock(passages.ids, passages.collection_keys, embeddings)


@pytest.mark.parametrize(
    ("tamper", "differences"),
    [
        (swap_two, IndexDifferences(changed=2)),
        (relabel_one, IndexDifferences(misfiled=1)),
        (renumber_last, IndexDifferences(missing=1, surplus=1)),
        (turn_one, IndexDifferences(changed=1)),
    ],
)
def test_verify_makes_a_tampered_index_again(
    tmp_path: Path, tamper: Callable[[PassageBlock], PassageBlock], differences: IndexDifferences
) -> None:
    """The snapshot is whole and of the right count: only a comparison with the store can tell."""
    with Library.open(tmp_path, GridEmbedder()) as library:
        dataset, collection = place_for_records(library)
        records = add(library, collection, *(RecordDraft(f"q{number}") for number in range(60)))
        healthy, collection = place_for_records(library, "healthy")
        add(library, collection, RecordDraft("q"))
        ask(library, dataset, healthy)
        passages = library.store.changes_after(dataset.id, 0, 100).added
        last = library.store.last_sequence()
    index = VectorIndex(64, DEFAULT_FOLDS)
    index.apply(Changes(tamper(passages), np.empty(0, dtype=np.int64), last, is_last=True))
    save_snapshot(*index.exact_part(), dataset.model, tmp_path / "indexes" / dataset.id)
    with reopened(tmp_path, GridEmbedder()) as library:
        report = library.verify()
        assert report == VerifyReport(differences={"d": differences}, passages={"d": 60, "healthy": 1})
        assert not report.is_clean
        assert library.verify().is_clean
        request = SearchRequest("q7", [dataset.id], limit=MAX_LIMIT)
        assert found(library.search(request)) == expected_quotes(GridEmbedder(), records, request)
    with reopened(tmp_path, GridEmbedder()) as library:
        assert library.verify().is_clean


def test_verify_tells_how_far_it_is_over_all_datasets(grid: Library) -> None:
    for name, count in (("one", 3), ("two", 5)):
        _, collection = place_for_records(grid, name)
        add(grid, collection, *(RecordDraft(f"q{number}") for number in range(count)))
    steps: list[tuple[int, int]] = []
    assert grid.verify(lambda done, total: steps.append((done, total))).is_clean
    assert steps == [(3, 8), (8, 8)]


def test_records_of_another_dataset_are_not_deleted(library: Library) -> None:
    mine, other = library.create_dataset("mine"), library.create_dataset("other")
    collection = library.ensure_collection(other.id, "c")
    (record_id,) = library.add_records(collection, [RecordDraft("kept")]).added
    library.delete_records(mine.id, [record_id])
    assert library.store.get_record(record_id).q == "kept"
    assert [quote.record.id for quote in library.search(SearchRequest("kept", [other.id])).quotes] == [
        record_id
    ]


@pytest.mark.parametrize("is_loaded", [True, False])
def test_ids_of_other_datasets_are_ignored_among_own_ones(grid: Library, is_loaded: bool) -> None:
    mine, collection = place_for_records(grid, "mine")
    own = add(grid, collection, *(RecordDraft(f"q{number}") for number in range(6)))
    other, collection = place_for_records(grid, "other")
    foreign = add(grid, collection, *(RecordDraft(f"q{number}") for number in range(6)))
    if is_loaded:
        ask(grid, mine, other)
    gone = list(own)[1:4]
    grid.delete_records(mine.id, [*foreign, *gone, "0" * 24, *gone])
    for record_id in gone:
        del own[record_id]
    for dataset, records in ((mine, own), (other, foreign)):
        request = SearchRequest("q2", [dataset.id], limit=MAX_LIMIT)
        assert found(grid.search(request)) == expected_quotes(GridEmbedder(), records, request)
    assert grid.verify() == VerifyReport(passages={"mine": 3, "other": 6})


CLOSE_BESIDE_SEARCHES = """
import faulthandler, sys, threading
from pathlib import Path
from retrieval.errors import QuotebaseError
from retrieval.library import Library
from retrieval.types import RecordDraft, SearchRequest
from retrieval.vectors.index import FoldPolicy
from tests.doubles import HashEmbedder

faulthandler.enable()
for turn in range(6):
    library = Library.open(Path(sys.argv[1]) / str(turn % 2), HashEmbedder(), folds=FoldPolicy(exact_limit=200))
    name = f"d{turn}"
    dataset = library.create_dataset(name)
    collection = library.ensure_collection(dataset.id, "c")
    library.add_records(collection, [RecordDraft(f"question {turn} {number}") for number in range(300)])
    library.settle()
    ids = [one.id for one in library.store.list_datasets()]
    under_way = threading.Barrier(7)
    ends = []

    def search(who):
        try:
            for number in range(1_000_000):
                library.search(SearchRequest(f"question {who} {number}", ids))
                if number == 2:
                    under_way.wait()
        except QuotebaseError as error:
            ends.append(type(error).__name__)

    threads = [threading.Thread(target=search, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    under_way.wait()
    library.close()
    for thread in threads:
        thread.join()
    print(*ends)
"""


def test_closing_beside_searches_ends_them_and_nothing_else(tmp_path: Path) -> None:
    """In a process of its own, which a search in files that are gone would end."""
    child = subprocess.run(
        [sys.executable, "-c", CLOSE_BESIDE_SEARCHES, str(tmp_path)],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (child.returncode, child.stderr) == (0, "")
    assert child.stdout == 6 * (" ".join(6 * ["StoreUnavailable"]) + "\n")


def test_a_closed_library_says_so(tmp_path: Path, embedder: HashEmbedder) -> None:
    library = Library.open(tmp_path / "closed", embedder)
    library.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        library.store.list_datasets()
