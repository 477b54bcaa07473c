"""What a search finds does not hang on where the records are kept, nor on what has happened to the indexes.

Embedding searches are the same to the last bit. The statistics of BM25 are those of what is there as soon as an
index that has lost something was made again, which the background does; then full text is the same but for rounding.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from retrieval.fulltext.index import SCORE_DECIMALS
from retrieval.fusion import DECIMALS
from retrieval.library import Library
from retrieval.types import Collection, RecordDraft, SearchMode, SearchResult
from tests.doubles import HashEmbedder
from tests.mongodb import own_database
from tests.retrieval.searching import DialReranker, ask, new_collection
from tests.retrieval.test_search import MODES

QUESTIONS = ("steel kettle", "水壶多少钱", "AB-1207/x", "how long is the guarantee of the jug", "old")

ROUNDED = 2 * 10**-SCORE_DECIMALS
"""How far a score of full text may be from the same one added up in other segments."""


class Found(NamedTuple):
    """A quote, without the ids, which are made at random."""

    text: str
    collection: str
    scores: tuple[tuple[str, float, int], ...]


def found(result: SearchResult) -> list[Found]:
    return [
        Found(
            quote.record.text,
            quote.collection_name,
            tuple((score.type, score.value, score.index) for score in quote.scores),
        )
        for quote in result.quotes
    ]


Answers = dict[tuple[str, SearchMode, bool], list[Found]]


def answers(library: Library) -> Answers:
    """To all questions in all modes, with and without reranking."""
    collection = library.store.list_collections(library.dataset_named("d").id)[0]
    return {
        (text, mode, rerank): found(ask(library, collection, text=text, mode=mode, rerank=rerank))
        for text in QUESTIONS
        for mode in MODES
        for rerank in (False, True)
    }


def drafts(first: int, count: int, version: int = 1) -> list[RecordDraft]:
    things = ("steel kettle", "glass jug", "不锈钢水壶", "old tin can", "水杯")
    return [
        RecordDraft(
            f"AB-{1200 + n}/{'xyz'[n % 3]} {things[n % 5]}",
            f"{'guarantee of ' * (n % 4)}{n % 7} years, 价格{n % 11}元, version {version} %0.{n % 9}",
            tuple(f"how long is the guarantee of {n}" for _ in range(n % 2)),
            key=str(n),
        )
        for n in range(first, first + count)
    ]


def fill(library: Library, with_deletes: bool) -> None:
    """Two collections in several steps; if so, with records that were deleted and others that were replaced."""
    first = new_collection(library)
    second = library.store.create_collection(first.dataset_id, "second")
    for collection, start in ((first, 0), (second, 40), (first, 80), (second, 85)):
        library.add_records(collection, drafts(start, 30 if start < 80 else 5))
        ask(library, first, mode="mixedRecall")
    if with_deletes:
        delete(library, first)
        upsert(library, second, drafts(45, 8, version=2))


def delete(library: Library, collection: Collection) -> None:
    records = library.store.list_records(collection.id)
    library.delete_records(collection.dataset_id, [record.id for record in records[3:12]])


def upsert(library: Library, collection: Collection, changed: list[RecordDraft]) -> None:
    plan = library.plan(collection, changed, by_key=True)
    library.commit(collection, library.embed(plan, library.bound_dataset(collection.dataset_id)))


@pytest.fixture(params=["sqlite", "mongodb"])
def uri(request: pytest.FixtureRequest) -> Iterator[str | None]:
    with ExitStack() as stack:
        is_sqlite = request.param == "sqlite"
        yield None if is_sqlite else stack.enter_context(own_database(request.getfixturevalue("mongodb_uri")))


def opened(folder: Path, uri: str | None = None) -> Library:
    return Library.open(folder, HashEmbedder(), uri, reranker=DialReranker())


@pytest.mark.parametrize("with_deletes", [False, True])
def test_a_restart_changes_nothing(tmp_path: Path, uri: str | None, with_deletes: bool) -> None:
    with opened(tmp_path, uri) as library:
        fill(library, with_deletes)
        before = answers(library)
        assert all(before.values())
    with opened(tmp_path, uri) as library:
        assert answers(library) == before
    with opened(tmp_path, uri) as library:
        assert library.verify().is_clean
        assert answers(library) == before


def test_both_stores_give_the_same(tmp_path: Path, mongodb_uri: str) -> None:
    with (
        own_database(mongodb_uri) as uri,
        opened(tmp_path / "one") as one,
        opened(tmp_path / "two", uri) as two,
    ):
        fill(one, with_deletes=True)
        fill(two, with_deletes=True)
        assert answers(one) == answers(two)


@pytest.mark.parametrize("with_deletes", [False, True])
def test_a_rebuild_changes_nothing(tmp_path: Path, uri: str | None, with_deletes: bool) -> None:
    with opened(tmp_path, uri) as library:
        fill(library, with_deletes)
        library.settle()
        before = answers(library)
        library.rebuild(library.dataset_named("d").id)
        after = answers(library)
    for asked, quotes in before.items():
        if asked[1] == "embedding":
            assert quotes == after[asked]
        assert scores_of(quotes) == [
            (text, pytest.approx(score, abs=ROUNDED)) for text, score in scores_of(after[asked])
        ]


def scores_of(quotes: list[Found]) -> list[tuple[str, float]]:
    return [(one.text, one.scores[0][1]) for one in quotes]


def test_rebuilt_full_text_knows_nothing_of_what_was_removed(tmp_path: Path, uri: str | None) -> None:
    with opened(tmp_path, uri) as library, opened(tmp_path / "fresh") as fresh:
        fill(library, with_deletes=True)
        library.rebuild(library.dataset_named("d").id)
        fill_as_it_is_now(fresh)
        ours, theirs = answers(library), answers(fresh)
    for text in QUESTIONS:
        for mode in MODES[:2]:
            scores = {one.text: one.scores[0][1] for one in theirs[text, mode, False]}
            assert {one.text: one.scores[0][1] for one in ours[text, mode, False]} == pytest.approx(
                scores, abs=ROUNDED
            )


def fill_as_it_is_now(library: Library) -> None:
    """What :func:`fill` comes to, in one step, as it would be if nothing had ever been removed."""
    first = new_collection(library)
    second = library.store.create_collection(first.dataset_id, "second")
    mine = [*drafts(0, 30), *drafts(80, 5)]
    library.add_records(first, [*mine[:3], *mine[12:]])
    theirs = [*drafts(40, 30), *drafts(85, 5)]
    changed = {draft.key: draft for draft in drafts(45, 8, version=2)}
    library.add_records(second, [changed.get(draft.key, draft) for draft in theirs])


def test_scores_are_rounded_so_that_ties_go_by_age(tmp_path: Path) -> None:
    with opened(tmp_path) as library:
        collection = new_collection(library)
        for number in range(12):
            library.add_records(collection, [RecordDraft(f"kettle of tin, number {number}")])
        for mode in MODES[1:]:
            result = ask(library, collection, text="kettle of tin", mode=mode, embedding_weight=0.0)
            assert [quote.record.q for quote in result.quotes] == [
                f"kettle of tin, number {number}" for number in range(12)
            ]
            for quote in result.quotes:
                decimals = DECIMALS if mode == "mixedRecall" else SCORE_DECIMALS
                assert quote.score == round(quote.score, decimals)
