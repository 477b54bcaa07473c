"""The corpus of the benchmarks: the same in each run, real rows first, then copies with noise."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.corpus import NOISE, PART_ROWS, Corpus, read_corpus
from retrieval.types import Embeddings, RecordDraft, StoredEmbeddings
from tests.doubles import HashEmbedder

REAL = 50
DIM = 384


class CountingEmbedder(HashEmbedder):
    """Also counts the queries."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.queries_read = 0

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        self.queries_read += len(texts)
        return super().embed_queries(texts)

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        self.texts_read += len(texts)
        return super().embed_queries(texts)


def write_bulk(path: Path, count: int) -> Path:
    path.write_text("q,a\n" + "".join(f"question {row},answer {row}\n" for row in range(count)))
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return read_corpus(
        write_bulk(tmp_path / "bulk.csv", REAL + 5), CountingEmbedder(), tmp_path, 5, lambda _: None
    )


def all_of(corpus: Corpus, count: int, size: int) -> StoredEmbeddings:
    return np.concatenate(list(corpus.blocks(count, size)))


def test_queries_are_of_the_rows_after_the_passages(corpus: Corpus) -> None:
    embedder = HashEmbedder(DIM)
    texts = [f"question {row}\nanswer {row}" for row in range(REAL)]
    questions = [f"question {row}" for row in range(REAL, REAL + 5)]

    assert [draft.text for draft in corpus.drafts] == texts
    assert corpus.questions == questions
    assert (corpus.embeddings.dtype, corpus.queries.dtype) == (np.float16, np.float32)
    assert np.array_equal(corpus.embeddings, embedder.embed_queries(texts).astype(np.float16))
    assert np.array_equal(corpus.queries, embedder.embed_queries(questions).astype(np.float16))


def test_rows_that_repeat_are_read_once(tmp_path: Path) -> None:
    bulk = tmp_path / "bulk.csv"
    bulk.write_text("q,a\n1,one\n1,one\n1,other\n2,two\n3,three\n3,tres\n")

    corpus = read_corpus(bulk, CountingEmbedder(), tmp_path, 2, lambda _: None)

    assert list(corpus.drafts) == [
        RecordDraft("1", "one"),
        RecordDraft("1", "other"),
        RecordDraft("2", "two"),
    ]
    assert corpus.questions == ["3"]
    assert len(corpus.queries) == 1


def test_what_was_embedded_is_not_embedded_again(tmp_path: Path) -> None:
    """A cut-off run costs the part that it was at; rows that changed are embedded again."""
    bulk, embedder = write_bulk(tmp_path / "bulk.csv", PART_ROWS + 12), CountingEmbedder()
    said: list[str] = []

    first = read_corpus(bulk, embedder, tmp_path / "cache", 2, said.append)
    counted = (embedder.texts_read, embedder.queries_read)
    second = read_corpus(bulk, embedder, tmp_path / "cache", 2, said.append)

    assert counted == (embedder.texts_read, embedder.queries_read) == (PART_ROWS + 10, 2)
    assert said == [
        "embedding passages 1 to 4,000 of 4,010",
        "embedding passages 4,001 to 4,010 of 4,010",
        "embedding queries 1 to 2 of 2",
    ]
    assert np.array_equal(first.embeddings, second.embeddings)
    assert np.array_equal(first.queries, second.queries)

    read_corpus(write_bulk(bulk, PART_ROWS + 13), embedder, tmp_path / "cache", 2, said.append)
    assert embedder.texts_read == counted[0] + 11


def test_the_first_vectors_are_the_real_ones(corpus: Corpus) -> None:
    first = all_of(corpus, REAL, 7).astype(np.float32)

    assert np.allclose(first, corpus.embeddings.astype(np.float32), atol=1e-3)
    assert [corpus.draft(row) for row in range(REAL)] == list(corpus.drafts)


@pytest.mark.parametrize("size", [1, 7, REAL, REAL + 1, 1000])
def test_vectors_are_the_same_in_each_run_however_they_are_taken(corpus: Corpus, size: int) -> None:
    """Benchmarks work out the truth in other blocks than those that they add."""
    count = 4 * REAL + 3
    expected = all_of(corpus, count, 10_000)

    assert len(expected) == count
    assert np.array_equal(all_of(corpus, count, size), expected)
    assert np.array_equal(all_of(corpus, 2 * REAL, size), expected[: 2 * REAL])


def test_copies_have_noise_of_the_said_length(corpus: Corpus) -> None:
    count = 20 * REAL
    copies = all_of(corpus, count, 300)[REAL:].astype(np.float32)
    originals = np.tile(corpus.embeddings.astype(np.float32), (19, 1))

    assert np.allclose(np.linalg.norm(copies, axis=1), 1, atol=2e-3)
    cosines = np.sum(copies * originals, axis=1) / np.linalg.norm(originals, axis=1)
    # Noise stands at right angles to the original, almost: its length is the tangent.
    lengths = np.tan(np.arccos(cosines))
    assert lengths.mean() == pytest.approx(NOISE, abs=0.002)
    assert lengths.std() == pytest.approx(NOISE / np.sqrt(2 * DIM), rel=0.3)
    assert cosines.mean() == pytest.approx(0.98, abs=0.002)
    assert len(np.unique(copies, axis=0)) == len(copies)


def test_copies_say_which_they_are(corpus: Corpus) -> None:
    assert corpus.draft(REAL) == RecordDraft("question 0 (1)", "answer 0")
    assert corpus.draft(3 * REAL + 7) == RecordDraft("question 7 (3)", "answer 7")
