"""How long stages take: each second counts once, a search at a time, and nobody pays who does not look."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from retrieval.library import Library
from retrieval.stages import Stage, Stages
from retrieval.types import RecordDraft, SearchMode, SearchRequest
from tests.doubles import HashEmbedder

Spent = Mapping[Stage, float]

PAUSE_S = 0.02


def watched() -> tuple[Stages, list[Spent]]:
    stages, told = Stages(), list[Spent]()
    stages.on_search = told.append
    return stages, told


def test_a_stage_within_another_counts_for_itself_alone() -> None:
    stages, told = watched()

    started = time.perf_counter()
    with stages.search(), stages.of("read"):
        time.sleep(PAUSE_S)
        with stages.of("recall"):
            time.sleep(2 * PAUSE_S)
    whole = time.perf_counter() - started

    (spent,) = told
    assert spent["read"] >= PAUSE_S
    assert spent["recall"] >= 2 * PAUSE_S
    assert spent["read"] + spent["recall"] <= whole


def test_a_stage_that_comes_again_is_added_up() -> None:
    stages, told = watched()

    with stages.search():
        for _ in range(3):
            with stages.of("read"):
                time.sleep(PAUSE_S)

    assert told[0]["read"] >= 3 * PAUSE_S


def test_a_search_that_fails_is_told_of_and_the_next_begins_anew() -> None:
    stages, told = watched()

    def fail() -> None:
        with stages.search(), stages.of("embed"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - ours
        fail()
    with stages.search(), stages.of("recall"):
        pass

    assert [list(spent) for spent in told] == [["embed"], ["recall"]]


def test_searches_of_several_threads_are_told_apart() -> None:
    stages, told = watched()
    both = threading.Barrier(2)

    def search(stage: Stage) -> None:
        with stages.search(), stages.of(stage):
            both.wait(10)

    threads = [threading.Thread(target=search, args=(stage,)) for stage in ("embed", "rerank")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(list(spent) for spent in told) == [["embed"], ["rerank"]]


def test_nothing_is_timed_where_nobody_looks() -> None:
    stages = Stages()

    assert stages.search() is stages.of("read")


class HalfReranker:
    name = "half"

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        return [0.5] * len(texts)


@pytest.fixture
def search(tmp_path: Path) -> "Callable[..., list[Stage]]":
    def run(mode: SearchMode, rerank: bool = False) -> list[Stage]:
        told: list[Spent] = []
        with Library.open(tmp_path, HashEmbedder(), reranker=HalfReranker()) as library:
            dataset = library.create_dataset("d")
            collection = library.ensure_collection(dataset.id, "c")
            library.add_records(collection, [RecordDraft("what is it", "a thing")])
            library.watch_searches(told.append)
            found = library.search(SearchRequest("what", (dataset.id,), mode=mode, rerank=rerank))
        assert len(found.quotes) == len(told) == 1
        assert 0 < sum(told[0].values()) <= found.seconds
        return sorted(told[0])

    return run


def test_a_search_has_the_stages_of_its_mode(search: "Callable[..., list[Stage]]") -> None:
    assert search("embedding") == ["embed", "read", "recall"]


def test_a_search_by_words_embeds_nothing(search: "Callable[..., list[Stage]]") -> None:
    assert search("fullTextRecall") == ["read", "recall"]


def test_a_search_by_both_that_is_reranked_has_all(search: "Callable[..., list[Stage]]") -> None:
    assert search("mixedRecall", rerank=True) == ["embed", "read", "recall", "rerank"]
