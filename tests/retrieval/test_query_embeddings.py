"""Questions asked at the same time are embedded together, each is answered, and known ones cost nothing."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from retrieval.embedding.queries import MOST_TOGETHER, REMEMBERED, QueryEmbeddings
from retrieval.errors import EmbedderUnavailable, InvalidRequest
from retrieval.types import Embeddings
from tests.doubles import HashEmbedder

PATIENCE_S = 20.0
"""A thread that has not gone on after this hangs."""


class WatchedText(str):
    """Says when it is looked up among the known, which is when it gets in line.

    Both are one step under one lock: who sees the line after that sees the text in it.
    """

    is_asked: threading.Event

    def __new__(cls, text: str) -> "WatchedText":
        watched = super().__new__(cls, text)
        watched.is_asked = threading.Event()
        return watched

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, str(other))

    def __hash__(self) -> int:
        self.is_asked.set()
        return super().__hash__()


class GatedEmbedder(HashEmbedder):
    """Keeps the batches it is given, and holds each until the gate is open. ``refuse`` gives what it raises."""

    def __init__(self, refuse: Callable[[Sequence[str]], Exception | None] = lambda texts: None) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.has_begun = threading.Event()
        self.gate = threading.Event()
        self.refuse = refuse

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        self.batches.append([str(text) for text in texts])
        self.has_begun.set()
        assert self.gate.wait(PATIENCE_S)
        error = self.refuse(texts)
        if error is not None:
            raise error
        return super().embed_queries(texts)


def refusing(*refused: str) -> Callable[[Sequence[str]], Exception | None]:
    """Refuses batches with one of these texts in them."""
    return lambda texts: InvalidRequest(f"refused: {texts[0]}") if set(refused) & set(texts) else None


def opened(embedder: GatedEmbedder) -> GatedEmbedder:
    embedder.gate.set()
    return embedder


def ask_together(
    embedder: GatedEmbedder,
    texts: Sequence[str],
    queries: QueryEmbeddings | None = None,
    first: str = "first",
) -> list[Future[Embeddings]]:
    """All answers, once ``first`` has held the model until the others, in order, were in line behind it."""
    queries = queries or QueryEmbeddings(embedder)
    with ThreadPoolExecutor(len(texts) + 1) as pool:
        answers = [pool.submit(queries.embed, first)]
        assert embedder.has_begun.wait(PATIENCE_S)
        for text in map(WatchedText, texts):
            answers.append(pool.submit(queries.embed, text))
            assert text.is_asked.wait(PATIENCE_S)
        embedder.gate.set()
        for answer in answers:
            answer.exception(PATIENCE_S)
    return answers


def assert_answers(answer: Future[Embeddings], text: str) -> None:
    np.testing.assert_array_equal(answer.result(), HashEmbedder().embed_queries([text]))


# Together


def test_questions_that_come_while_the_model_is_busy_become_one_batch() -> None:
    embedder = GatedEmbedder()
    texts = [f"question {number}" for number in range(8)]
    answers = ask_together(embedder, texts)
    assert embedder.batches == [["first"], texts]
    for answer, text in zip(answers, ["first", *texts], strict=True):
        assert_answers(answer, text)


def test_the_same_question_from_several_is_in_the_batch_once() -> None:
    embedder = GatedEmbedder()
    answers = ask_together(embedder, ["a", "b", "a", "b", "b"])
    assert embedder.batches == [["first"], ["a", "b"]]
    for answer, text in zip(answers, ["first", "a", "b", "a", "b", "b"], strict=True):
        assert_answers(answer, text)


@pytest.mark.parametrize("count", [MOST_TOGETHER - 1, MOST_TOGETHER, MOST_TOGETHER + 1])
def test_a_batch_has_its_limit(count: int) -> None:
    embedder = GatedEmbedder()
    texts = [f"question {number}" for number in range(count)]
    answers = ask_together(embedder, texts)
    rest = [texts[MOST_TOGETHER:]] if count > MOST_TOGETHER else []
    assert embedder.batches == [["first"], texts[:MOST_TOGETHER], *rest]
    for answer, text in zip(answers, ["first", *texts], strict=True):
        assert_answers(answer, text)


def test_a_lone_question_is_not_delayed() -> None:
    """Nobody else comes, and nothing but the model is waited for."""
    embedder = opened(GatedEmbedder())
    queries = QueryEmbeddings(embedder)
    for text in ("a", "b", "c"):
        answer = queries.embed(text)
        assert (answer.shape, answer.dtype) == ((1, embedder.dim), np.float32)
        np.testing.assert_array_equal(answer, HashEmbedder().embed_queries([text]))
    assert embedder.batches == [["a"], ["b"], ["c"]]


def test_a_known_question_does_not_wait_for_a_busy_model() -> None:
    embedder = opened(GatedEmbedder())
    queries = QueryEmbeddings(embedder)
    known = queries.embed("known")
    embedder.gate.clear()
    embedder.has_begun.clear()
    with ThreadPoolExecutor(2) as pool:
        try:
            held = pool.submit(queries.embed, "slow")
            assert embedder.has_begun.wait(PATIENCE_S)
            np.testing.assert_array_equal(pool.submit(queries.embed, "known").result(PATIENCE_S), known)
            assert not held.done()
        finally:
            embedder.gate.set()
    assert embedder.batches == [["known"], ["slow"]]


# Refused


@pytest.mark.parametrize("place", range(4))
def test_a_refused_text_does_not_take_the_others_with_it(place: int) -> None:
    texts = ["a", "b", "c", "d"]
    bad = texts[place]
    embedder = GatedEmbedder(refusing(bad))
    _, *answers = ask_together(embedder, texts)
    for answer, text in zip(answers, texts, strict=True):
        if text == bad:
            with pytest.raises(InvalidRequest, match=f"refused: {bad}"):
                answer.result()
        else:
            assert_answers(answer, text)
    assert embedder.batches == [["first"], texts, *([text] for text in texts)]


def test_refused_texts_that_are_apart_do_not_take_the_others_with_them() -> None:
    embedder = GatedEmbedder(refusing("a", "c"))
    _, *answers = ask_together(embedder, ["a", "b", "c", "d"])
    assert [type(answer.exception()) for answer in answers] == [
        InvalidRequest,
        type(None),
        InvalidRequest,
        type(None),
    ]
    assert embedder.batches == [["first"], ["a", "b", "c", "d"], ["a"], ["b"], ["c"], ["d"]]


def test_after_two_failures_in_a_row_the_rest_are_not_tried() -> None:
    """An endpoint that is down would otherwise be waited for once for each question."""
    embedder = GatedEmbedder(
        lambda texts: None if texts[0] == "first" else EmbedderUnavailable(f"down at {texts}")
    )
    _, *answers = ask_together(embedder, ["a", "b", "c", "d", "e"])
    assert embedder.batches == [["first"], ["a", "b", "c", "d", "e"], ["a"], ["b"]]
    assert [str(answer.exception()) for answer in answers] == [
        "down at ['a']",
        *(4 * ["down at ['b']"]),
    ]
    assert {type(answer.exception()) for answer in answers} == {EmbedderUnavailable}


def test_two_failures_in_a_row_leave_those_before_them_answered() -> None:
    embedder = GatedEmbedder(refusing("b", "c"))
    _, *answers = ask_together(embedder, ["a", "b", "c", "d"])
    assert embedder.batches == [["first"], ["a", "b", "c", "d"], ["a"], ["b"], ["c"]]
    assert_answers(answers[0], "a")
    for answer in answers[1:]:
        assert isinstance(answer.exception(), InvalidRequest)


def test_a_lone_question_that_fails_is_embedded_once() -> None:
    embedder = opened(GatedEmbedder(refusing("bad")))
    queries = QueryEmbeddings(embedder)
    with pytest.raises(InvalidRequest, match="refused: bad"):
        queries.embed("bad")
    assert embedder.batches == [["bad"]]


def test_a_failure_is_not_remembered() -> None:
    embedder = opened(GatedEmbedder(refusing("bad")))
    queries = QueryEmbeddings(embedder)
    with pytest.raises(InvalidRequest):
        queries.embed("bad")
    embedder.refuse = refusing()
    np.testing.assert_array_equal(queries.embed("bad"), HashEmbedder().embed_queries(["bad"]))
    assert embedder.batches == [["bad"], ["bad"]]


# Broken


def test_what_nobody_foresaw_neither_hangs_the_others_nor_stays_in_line() -> None:
    """Whoever ran into it tells; the others are asked again."""
    embedder = GatedEmbedder(lambda texts: ValueError("a bug") if "bad" in texts else None)
    queries = QueryEmbeddings(embedder)
    _, bad, *others = ask_together(embedder, ["bad", "a", "b", "c"], queries)
    with pytest.raises(ValueError, match="a bug"):
        bad.result()
    answered = [
        (answer, text) for answer, text in zip(others, "abc", strict=True) if answer.exception() is None
    ]
    for answer, text in answered:
        assert_answers(answer, text)
    failed = [answer for answer in others if answer.exception() is not None]
    assert {type(answer.exception()) for answer in failed} <= {ValueError}
    before = len(embedder.batches)
    np.testing.assert_array_equal(queries.embed("after"), HashEmbedder().embed_queries(["after"]))
    assert embedder.batches[before:] == [["after"]]


def test_a_bug_in_a_lone_question_is_raised_and_forgotten() -> None:
    embedder = opened(GatedEmbedder(lambda texts: ValueError("a bug") if "bad" in texts else None))
    queries = QueryEmbeddings(embedder)
    with pytest.raises(ValueError, match="a bug"):
        queries.embed("bad")
    queries.embed("good")
    assert embedder.batches == [["bad"], ["good"]]


# Remembered


def test_a_question_asked_again_costs_nothing_and_is_answered_the_same() -> None:
    embedder = opened(GatedEmbedder())
    queries = QueryEmbeddings(embedder)
    first, other = queries.embed("first"), queries.embed("other")
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(queries.embed("first"), first)
    np.testing.assert_array_equal(queries.embed("fir" + "st"), first)
    assert embedder.batches == [["first"], ["other"]]


def test_questions_that_differ_in_anything_are_different() -> None:
    embedder = opened(GatedEmbedder())
    queries = QueryEmbeddings(embedder)
    texts = ["a", "A", "a ", " a", "a\n", "\u00e9", "e\u0301"]
    for text in texts:
        np.testing.assert_array_equal(queries.embed(text), HashEmbedder().embed_queries([text]))
    assert embedder.batches == [[text] for text in texts]


def test_the_least_recently_asked_is_forgotten_first() -> None:
    class TinyEmbedder(GatedEmbedder):
        def embed_queries(self, texts: Sequence[str]) -> Embeddings:
            self.batches.append(list(texts))
            return np.ones((len(texts), 1), dtype=np.float32)

    embedder = TinyEmbedder()
    queries = QueryEmbeddings(embedder)
    for number in range(REMEMBERED):
        queries.embed(str(number))
    assert len(embedder.batches) == REMEMBERED
    for number in range(REMEMBERED):
        queries.embed(str(number))
    assert len(embedder.batches) == REMEMBERED
    queries.embed("0")
    queries.embed("one more")
    embedder.batches.clear()
    for known in ("0", "2", str(REMEMBERED - 1), "one more"):
        queries.embed(known)
    assert embedder.batches == []
    queries.embed("1")
    assert embedder.batches == [["1"]]


def test_what_is_remembered_of_a_batch_does_not_keep_the_batch() -> None:
    embedder = GatedEmbedder()
    answers = ask_together(embedder, ["a", "b", "c"])
    for answer in answers:
        kept = answer.result()
        assert kept.base is None
        assert kept.nbytes == 4 * embedder.dim
