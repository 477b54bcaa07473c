"""Searches of a dataset with its own texts; each passage says what it scores."""

import sqlite3
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from retrieval.calibration import LEAST_QUERIES, JudgedSearch, calibrate
from retrieval.heldout import SAMPLE, HeldOut, search_itself
from retrieval.library import Library
from retrieval.types import RecordDraft
from tests.doubles import DialEmbedder

approx = partial(pytest.approx, abs=1e-3)


@pytest.fixture
def dial(tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "dial", DialEmbedder()) as library:
        yield library


def add(library: Library, drafts: Iterable[RecordDraft]) -> str:
    """A dataset of these records; its id."""
    dataset = library.create_dataset("one")
    library.add_records(library.ensure_collection(dataset.id, "c"), list(drafts))
    return dataset.id


@pytest.mark.parametrize("title", ["", "title"])
def test_a_custom_text_finds_its_record_by_the_other_passages(dial: Library, title: str) -> None:
    """Each record scores 0.5 by its q, and would score 0.9 by its custom text, as the others do."""
    numbers = range(LEAST_QUERIES)
    dataset_id = add(
        dial, (RecordDraft(f"q{n} @0.5", indexes=(f"custom {n} @0.9",), title=title) for n in numbers)
    )

    found = search_itself(dial, dataset_id, top_k=2)

    assert found.texts == "custom texts"
    with_answer = JudgedSearch((approx(0.9), approx(0.9), approx(0.5)), (False, False, True), 1)
    without = JudgedSearch((approx(0.9), approx(0.9)), (False, False), 0)
    assert found.searches == [with_answer] * LEAST_QUERIES + [without] * LEAST_QUERIES


def test_the_best_of_the_other_passages_counts(dial: Library) -> None:
    """Asked with one custom text, a record has the other; both are asked."""
    numbers = range(LEAST_QUERIES)
    dataset_id = add(
        dial, (RecordDraft(f"q{n} @0.2", indexes=(f"x {n} @0.9", f"y {n} @0.7")) for n in numbers)
    )

    found = search_itself(dial, dataset_id, top_k=1)

    answered = found.searches[: 2 * LEAST_QUERIES]
    own = [search.scores[search.hits.index(True)] for search in answered]
    assert own == [approx(0.7), approx(0.9)] * LEAST_QUERIES
    assert [search.hits for search in answered] == [(False, True), (False, True)] * LEAST_QUERIES


def test_without_custom_texts_a_question_finds_its_record_by_the_answer_alone(dial: Library) -> None:
    dataset_id = add(dial, (RecordDraft(f"q{n} @0.25", f"a{n} @0.75") for n in range(LEAST_QUERIES)))

    found = search_itself(dial, dataset_id, top_k=2)

    assert found.texts == "questions"
    with_answer = JudgedSearch((approx(0.75), approx(0.25), approx(0.25)), (True, False, False), 1)
    without = JudgedSearch((approx(0.25), approx(0.25)), (False, False), 0)
    assert found.searches == [with_answer] * LEAST_QUERIES + [without] * LEAST_QUERIES
    assert calibrate(found.searches, 2).similarity == approx(0.5)


@pytest.mark.parametrize("text", ["q, {n}?", "word " * 1000])
def test_custom_texts_that_prove_nothing_are_not_asked(dial: Library, text: str) -> None:
    """One that says what q does; one so long that it is several passages."""
    numbers = range(LEAST_QUERIES)
    dataset_id = add(dial, (RecordDraft(f"q {n}", indexes=(text.format(n=n),)) for n in numbers))
    assert search_itself(dial, dataset_id, 2) == HeldOut("questions", [])


def test_records_that_say_the_same_do_not_count_as_others(dial: Library) -> None:
    drafts = [RecordDraft(f"q{n} @0.5", indexes=(f"custom {n} @0.9",)) for n in range(LEAST_QUERIES)]
    dataset_id = add(dial, drafts)
    copies = dial.ensure_collection(dataset_id, "copies")
    dial.add_records(copies, [RecordDraft(f"{draft.q}!", indexes=draft.indexes) for draft in drafts])

    answered = search_itself(dial, dataset_id, top_k=100).searches[: 2 * LEAST_QUERIES]

    assert {len(search.scores) for search in answered} == {LEAST_QUERIES}


def test_forbidden_collections_are_not_asked(tmp_path: Path, dial: Library) -> None:
    dataset_id = add(dial, (RecordDraft(f"q{n}", indexes=(f"custom {n}",)) for n in range(LEAST_QUERIES)))
    with sqlite3.connect(tmp_path / "dial" / "quotebase.sqlite") as database:
        database.execute("UPDATE collections SET forbid = TRUE")
    database.close()
    assert search_itself(dial, dataset_id, 2).searches == []


def test_a_large_dataset_is_asked_a_sample_that_is_always_the_same(dial: Library) -> None:
    numbers = range(SAMPLE + 100)
    dataset_id = add(
        dial,
        (RecordDraft(f"q{n} @{n / 1024}", indexes=(f"custom {n} @{1 - n / 1024}",)) for n in numbers),
    )
    found = search_itself(dial, dataset_id, top_k=1)
    assert len(found.searches) == 2 * SAMPLE
    assert found == search_itself(dial, dataset_id, top_k=1)
    # Drawn from all: the later half of the records has its share.
    own = [search.scores[search.hits.index(True)] for search in found.searches[:SAMPLE]]
    assert 0.4 < sum(score > 300 / 1024 for score in own) / SAMPLE < 0.6
