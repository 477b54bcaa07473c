"""An import: its counts balance, it costs nothing again, and it goes on where it was cut off."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.jobs import BATCH_RECORDS, BATCH_VECTORS, ImportReport, import_file
from ingest.mapping import RowProblem
from retrieval.errors import (
    DatasetNotFound,
    EmbedderUnavailable,
    InvalidRequest,
    MissingColumn,
    ModelMismatch,
    QuotebaseError,
    UnreadableFile,
)
from retrieval.library import Library
from retrieval.types import Dataset, Embeddings, Record, SearchRequest, VerifyReport
from tests.conftest import ROOT
from tests.doubles import GridEmbedder, HashEmbedder

B = BATCH_RECORDS
V = BATCH_VECTORS


def write(path: Path, *rows: str, header: str = "q,a") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def numbered(count: int, start: int = 0) -> list[str]:
    return [f"question {number},answer {number}" for number in range(start, start + count)]


def records_of(library: Library, report: ImportReport) -> list[Record]:
    return library.store.list_records(report.collection_id, limit=1_000_000)


def assert_balanced(report: ImportReport) -> None:
    assert report.read == report.added + report.updated + report.unchanged + report.rejected
    assert report.rejected == len(report.problems)


@pytest.fixture
def dataset(library: Library) -> Dataset:
    return library.create_dataset("coffee")


# What becomes of a file


def test_a_file_becomes_the_records_of_a_collection(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "faq.csv",
        "How long?,Four weeks.,storage,shelf life",
        '"Two',
        'lines?","Yes, two."',
        "No answer",
        header="q,a,indexes",
    )
    report = import_file(library, dataset, path)
    assert report == ImportReport(
        file=str(path),
        dataset="coffee",
        collection="faq.csv",
        collection_id=report.collection_id,
        encoding="utf-8",
        read=3,
        added=3,
        embedded=5,
        seconds=report.seconds,
    )
    assert 0 < report.seconds < 10
    records = records_of(library, report)
    assert [(record.q, record.a, record.chunk_index) for record in records] == [
        ("How long?", "Four weeks.", 0),
        ("Two\nlines?", "Yes, two.", 1),
        ("No answer", "", 2),
    ]
    first = library.store.passages_of([records[0].id])[records[0].id]
    assert [(passage.text, passage.is_default) for passage in first] == [
        ("How long?\nFour weeks.", True),
        ("storage", False),
        ("shelf life", False),
    ]
    quotes = library.search(SearchRequest("shelf life", [dataset.id])).quotes
    assert (quotes[0].record, quotes[0].score) == (records[0], pytest.approx(1, abs=1e-3))


def test_index_and_content_are_q_and_a(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", "coffee,Beans.", header="Index,Content")
    report = import_file(library, dataset, path)
    (record,) = records_of(library, report)
    assert (record.q, record.a) == ("coffee", "Beans.")
    assert report.embedded == 1


def test_gb18030_is_imported_as_what_it_says(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes("q,a\r\n咖啡豆怎么保存？,密封。\r\n".encode("gb18030"))
    report = import_file(library, dataset, path)
    (record,) = records_of(library, report)
    assert (report.encoding, record.q, record.a) == ("gb18030", "咖啡豆怎么保存？", "密封。")


def test_rows_that_cannot_be_used_are_told_with_their_lines(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "f.csv", "q1,a1", ",no question", '"q', '2","a', '2"', "", " ,again none", "q3,a3"
    )
    report = import_file(library, dataset, path)
    assert report.problems == (RowProblem(3, "q", "q is empty"), RowProblem(8, "q", "q is empty"))
    assert (report.read, report.added, report.rejected) == (5, 3, 2)
    assert [record.q for record in records_of(library, report)] == ["q1", "q\n2", "q3"]
    assert_balanced(report)


def test_problems_of_all_batches_are_in_the_report(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    rows = numbered(3 * B)
    for place in (0, B, 2 * B + 7):
        rows[place] = ",no question"
    report = import_file(library, dataset, write(tmp_path / "f.csv", *rows))
    assert [problem.line for problem in report.problems] == [2, B + 2, 2 * B + 9]
    assert (report.read, report.added, report.rejected) == (3 * B, 3 * B - 3, 3)


@pytest.mark.parametrize("count", [1, B - 1, B, B + 1, 2 * B])
def test_any_number_of_rows(library: Library, dataset: Dataset, tmp_path: Path, count: int) -> None:
    report = import_file(library, dataset, write(tmp_path / "f.csv", *numbered(count)))
    assert (report.read, report.added, report.embedded) == (count, count, count)
    records = records_of(library, report)
    assert [record.q for record in records] == [f"question {number}" for number in range(count)]
    assert [record.chunk_index for record in records] == list(range(count))


def test_a_header_alone_makes_an_empty_collection(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    report = import_file(library, dataset, write(tmp_path / "f.csv"))
    assert (report.read, report.added) == (0, 0)
    assert library.store.get_collection(report.collection_id).name == "f.csv"


def test_equal_rows_are_added_once(
    library: Library, dataset: Dataset, tmp_path: Path, embedder: HashEmbedder
) -> None:
    rows = [*numbered(B + 5), *numbered(B), *numbered(3)]
    report = import_file(library, dataset, write(tmp_path / "f.csv", *rows))
    assert (report.read, report.added, report.unchanged) == (2 * B + 8, B + 5, B + 3)
    assert report.embedded == embedder.texts_read == B + 5


def test_progress_is_told_after_each_batch(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    told: list[tuple[int, int, float]] = []
    path = write(tmp_path / "f.csv", *numbered(2 * B + 9))
    report = import_file(
        library,
        dataset,
        path,
        on_progress=lambda report, share: told.append((report.read, report.added, share)),
    )
    assert [(read, added) for read, added, _ in told] == [(n, n) for n in (B, 2 * B, 2 * B + 9)]
    shares = [share for _, _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert report.read == 2 * B + 9


rows = st.lists(
    st.sampled_from(["q1,a1", "q1,a2", "q2,a1", '"q1","a1"', "q3", "q3,", ",a1", " ,", "", "q1,a1,i", ",,i"]),
    max_size=20,
)


@given(first=rows, second=rows)
@settings(max_examples=40)
def test_counts_balance(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str]
) -> None:
    """Two imports into one collection, against a set of contents."""
    folder = tmp_path_factory.mktemp("balance")
    known: set[tuple[str, ...]] = set()
    with Library.open(folder / "library", GridEmbedder()) as library:
        dataset = library.create_dataset("d")
        for name, lines in (("one.csv", first), ("two.csv", second)):
            cells = [tuple(cell.strip('"') for cell in line.split(",")) for line in lines]
            cells = [row for row in cells if any(cell.strip() for cell in row)]
            contents = [(row[0], *(row[1:] or ("",))) for row in cells if row[0].strip()]
            before = len(known)
            known.update(contents)
            path = write(folder / name, *lines, header="q,a,indexes")
            report = import_file(library, dataset, path, collection_name="same")
            assert_balanced(report)
            assert report.read == len(cells)
            assert report.added == len(known) - before
            assert report.unchanged == len(contents) - report.added
            assert report.rejected == len(cells) - len(contents)
            assert len(records_of(library, report)) == len(known)


# Names


def test_a_collection_is_named_for_its_file(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", "q1,a1")
    for arguments, file, collection in (
        ({}, str(path), "f.csv"),
        ({"file_name": "uploads/faq.csv"}, "uploads/faq.csv", "faq.csv"),
        ({"file_name": "faq.csv", "collection_name": "FAQ"}, "faq.csv", "FAQ"),
    ):
        report = import_file(library, dataset, path, **arguments)
        assert (report.file, report.collection, report.added) == (file, collection, 1)
    assert [collection.name for collection in library.store.list_collections(dataset.id)] == [
        "f.csv",
        "faq.csv",
        "FAQ",
    ]


# Again


def test_a_second_import_embeds_and_adds_nothing(
    library: Library, dataset: Dataset, tmp_path: Path, embedder: HashEmbedder
) -> None:
    path = write(tmp_path / "f.csv", *numbered(B + 30), ",no question")
    first = import_file(library, dataset, path)
    read, sequence = embedder.texts_read, library.store.last_sequence()
    second = import_file(library, dataset, path)
    assert (second.read, second.added, second.unchanged, second.rejected) == (B + 31, 0, B + 30, 1)
    assert second.embedded == 0
    assert embedder.texts_read == read
    assert library.store.last_sequence() == sequence
    assert second.collection_id == first.collection_id
    assert len(records_of(library, second)) == B + 30


def test_a_changed_file_adds_what_is_new(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", *numbered(20))
    import_file(library, dataset, path)
    write(path, "new,first", *numbered(25))
    report = import_file(library, dataset, path)
    assert (report.read, report.added, report.unchanged, report.embedded) == (26, 6, 20, 6)


# Files and datasets that cannot be imported


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"question,answer\nx,y\n", MissingColumn, "'question', 'answer'"),
        (b"q,a,source\nx,y,z\n", MissingColumn, "'source'"),
        (b"", UnreadableFile, "empty"),
        (b"PK\x03\x04", UnreadableFile, "spreadsheet"),
        (b"q,a\nx,\xff\xff\n", UnreadableFile, "line 2"),
    ],
)
def test_a_refused_file_leaves_nothing(
    library: Library, dataset: Dataset, tmp_path: Path, content: bytes, error: type[Exception], words: str
) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(content)
    with pytest.raises(error, match=words):
        import_file(library, dataset, path)
    assert library.store.list_collections(dataset.id) == []


def test_a_missing_file_is_named_as_the_caller_names_it(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableFile, match=r"^uploaded\.csv cannot be read: No such file"):
        import_file(library, dataset, tmp_path / "f.csv", file_name="uploaded.csv")


def test_a_broken_line_keeps_the_batches_before_it(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    broken = [*numbered(B + 40), '"broken" quoting,x', *numbered(10, start=B + 40)]
    path = write(tmp_path / "f.csv", *broken)
    with pytest.raises(UnreadableFile, match=rf"line {B + 42}: the quoting is broken.* {B} rows of"):
        import_file(library, dataset, path)
    assert library.store.count_records(dataset.id) == B
    report = import_file(library, dataset, write(path, *numbered(B + 50)))
    assert (report.added, report.unchanged) == (50, B)


def test_an_unknown_dataset(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    library.delete_dataset(dataset.id)
    with pytest.raises(DatasetNotFound, match=dataset.id):
        import_file(library, dataset, write(tmp_path / "f.csv", "q1,a1"))


def test_a_dataset_of_another_model(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    library.close()
    with Library.open(tmp_path / "library", GridEmbedder()) as other:
        with pytest.raises(ModelMismatch, match="'coffee'"):
            import_file(other, dataset, write(tmp_path / "f.csv", "q1,a1"))
        assert other.store.list_collections(dataset.id) == []


# Cut off


class FailingEmbedder(HashEmbedder):
    """Works for some batches, and then no more."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.batches_left = batches

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        if self.batches_left == 0:
            raise EmbedderUnavailable("the model has gone away: start it again")
        self.batches_left -= 1
        return super().embed_passages(texts)


def test_an_import_that_is_cut_off_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", *numbered(3 * B + 20))
    with Library.open(tmp_path / "library", FailingEmbedder(batches=2)) as library:
        dataset = library.create_dataset("d")
        with pytest.raises(EmbedderUnavailable) as raised:
            import_file(library, dataset, path, file_name="faq.csv")
        assert raised.value.message == (
            "the model has gone away: start it again. "
            f"{2 * B} rows of faq.csv are done and safe; start the same import again to go on"
        )
        assert library.store.count_records(dataset.id) == 2 * B
        assert library.verify() == VerifyReport(passages={"d": 2 * B})
    with Library.open(tmp_path / "library", HashEmbedder()) as library:
        report = import_file(library, dataset, path, file_name="faq.csv")
        assert (report.read, report.added, report.unchanged) == (3 * B + 20, B + 20, 2 * B)
        assert report.embedded == B + 20
        assert [record.q for record in records_of(library, report)] == [
            f"question {number}" for number in range(3 * B + 20)
        ]
        assert len(library.store.list_collections(dataset.id)) == 1


IMPORT_SLOWLY = """
import sys, time
from pathlib import Path
from ingest.jobs import import_file
from retrieval.library import Library
from tests.doubles import HashEmbedder

class SlowEmbedder(HashEmbedder):
    def embed_passages(self, texts):
        time.sleep(0.15)
        return super().embed_passages(texts)

library = Library.open(Path(sys.argv[1]), SlowEmbedder())
dataset = library.dataset_named("d")
import_file(library, dataset, Path(sys.argv[2]), on_progress=lambda report, _: print(report.added, flush=True))
"""


def import_until_killed(data_dir: Path, path: Path, batches: int, delay_s: float) -> int:
    """Kill the process some time after it has told of ``batches`` commits; the records it has told."""
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORT_SLOWLY, str(data_dir), str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    added = 0
    for _ in range(batches):
        added = int(process.stdout.readline())
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return added


def test_a_killed_import_goes_on_and_has_every_row_once(tmp_path: Path) -> None:
    total = 6 * B + 30
    path = write(tmp_path / "f.csv", *numbered(total))
    data_dir = tmp_path / "library"
    with Library.open(data_dir, HashEmbedder()) as library:
        dataset = library.create_dataset("d")
    known = 0
    # In the midst of embedding, and where the commit after it is likely to be.
    for batches, delay_s in ((1, 0.0), (2, 0.155), (3, 0.165)):
        told = import_until_killed(data_dir, path, batches, delay_s)
        with Library.open(data_dir, HashEmbedder()) as library:
            stored = library.store.count_records(dataset.id)
            # What was told is there; more may have been committed before the kill.
            assert stored - known - told in (0, B, 2 * B)
            assert library.verify() == VerifyReport(passages={"d": stored})
            known = stored
    with Library.open(data_dir, HashEmbedder()) as library:
        report = import_file(library, dataset, path)
        assert (report.read, report.added, report.unchanged) == (total, total - known, known)
        assert [record.q for record in records_of(library, report)] == [f"question {n}" for n in range(total)]
        assert len(library.store.list_collections(dataset.id)) == 1
        assert library.verify() == VerifyReport(passages={"d": total})
        (best,) = library.search(SearchRequest("question 3000\nanswer 3000", [dataset.id], top_k=1)).quotes
        assert best.record.q == "question 3000"


def test_two_first_imports_at_once_share_the_collection(library: Library, dataset: Dataset) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: library.ensure_collection(dataset.id, "same").id, range(32)))
    assert len(set(made)) == 1
    assert [collection.id for collection in library.store.list_collections(dataset.id)] == made[:1]


# Ready-made embeddings


def write_vectors(path: Path, texts: Sequence[str]) -> Path:
    """What GridEmbedder makes of the texts: exact in fp16, and of the same width as the library's model."""
    np.save(path, GridEmbedder().embed_passages(texts))
    return path


def indexed(library: Library, dataset: Dataset) -> Embeddings:
    """Of all passages of the dataset, in the order in which they came."""
    blocks = [block.embeddings for block in library.load_index(dataset.id).blocks()]
    embeddings: Embeddings = np.concatenate(blocks).astype(np.float32)
    return embeddings


def test_vectors_go_to_the_texts_of_the_rows_in_order(
    library: Library, dataset: Dataset, tmp_path: Path, embedder: HashEmbedder
) -> None:
    path = write(
        tmp_path / "f.csv", "q1,a1,x,y", "q2,", "", "q3,a3, ,z", "q4,a4", "q1,a1,x,y", header="q,a,indexes"
    )
    texts = ["q1\na1", "x", "y", "q2", "q3\na3", "z", "q4\na4"]
    vectors = write_vectors(tmp_path / "v.npy", [*texts, "q1\na1", "x", "y"])
    report = import_file(library, dataset, path, vectors=vectors)
    assert (report.read, report.added, report.unchanged, report.embedded) == (5, 4, 1, 0)
    assert embedder.texts_read == 0
    assert np.array_equal(indexed(library, dataset), GridEmbedder().embed_passages(texts))
    passages = library.store.passages_of([record.id for record in records_of(library, report)])
    assert [passage.text for own in passages.values() for passage in own] == texts


def test_texts_that_repeat_in_a_row_have_their_vectors_too(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    path = write(tmp_path / "f.csv", "q1,,x,q1,x,y", "q2,a2,x", header="q,a,indexes")
    vectors = write_vectors(tmp_path / "v.npy", ["q1", "x", "left out", "left out", "y", "q2\na2", "x again"])
    report = import_file(library, dataset, path, vectors=vectors)
    assert (report.added, report.embedded) == (2, 0)
    expected = GridEmbedder().embed_passages(["q1", "x", "y", "q2\na2", "x again"])
    assert np.array_equal(indexed(library, dataset), expected)


def test_rows_that_are_refused_take_their_vectors(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    refused = ",no question,i,j"
    path = write(tmp_path / "f.csv", refused, "q1,a1", " ,,", "q2,a2,x", refused, header="q,a,indexes")
    out = ["out", "out i", "out j"]
    vectors = write_vectors(tmp_path / "v.npy", [*out, "q1\na1", "q2\na2", "x", *out])
    report = import_file(library, dataset, path, vectors=vectors)
    assert (report.read, report.added, report.rejected) == (4, 2, 2)
    assert np.array_equal(indexed(library, dataset), GridEmbedder().embed_passages(["q1\na1", "q2\na2", "x"]))


def test_cells_beyond_a_header_without_indexes_have_vectors_too(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    path = write(tmp_path / "f.csv", "q1,a1", "q2,a2,with a comma", "q3,a3")
    vectors = write_vectors(tmp_path / "v.npy", ["q1\na1", "out", "out too", "q3\na3"])
    report = import_file(library, dataset, path, vectors=vectors)
    assert (report.added, report.rejected) == (2, 1)
    assert np.array_equal(indexed(library, dataset), GridEmbedder().embed_passages(["q1\na1", "q3\na3"]))


@pytest.mark.parametrize("count", [V - 1, V, V + 1])
def test_vectors_keep_their_places_from_batch_to_batch(
    library: Library, dataset: Dataset, tmp_path: Path, count: int
) -> None:
    rows = numbered(count)
    rows[-2] = ",refused"
    texts = [f"question {number}\nanswer {number}" for number in range(count)]
    told: list[int] = []
    report = import_file(
        library,
        dataset,
        write(tmp_path / "f.csv", *rows),
        vectors=write_vectors(tmp_path / "v.npy", texts),
        on_progress=lambda report, _: told.append(report.read),
    )
    assert told == ([count] if count <= V else [V, count])
    assert (report.added, report.rejected, report.embedded) == (count - 1, 1, 0)
    del texts[-2]
    assert np.array_equal(indexed(library, dataset), GridEmbedder().embed_passages(texts))


def test_vectors_of_a_jsonl_file(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text('{"q": "q1", "a": "a1", "indexes": ["x", " ", "y"]}\n\n{"a": "refused"}\n{"q": "q2"}\n')
    vectors = write_vectors(tmp_path / "v.npy", ["q1\na1", "x", "y", "out", "q2"])
    report = import_file(library, dataset, path, vectors=vectors)
    assert (report.read, report.added, report.rejected, report.embedded) == (3, 2, 1, 0)
    assert report.problems == (RowProblem(3, "q", "q is empty"),)
    assert np.array_equal(
        indexed(library, dataset), GridEmbedder().embed_passages(["q1\na1", "x", "y", "q2"])
    )


def test_vectors_of_any_length_are_found_by_their_direction(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    path = write(tmp_path / "f.csv", "q1,a1", "q2,a2")
    np.save(tmp_path / "v.npy", HashEmbedder().embed_passages(["the one", "the other"]) * np.float32(40))
    import_file(library, dataset, path, vectors=tmp_path / "v.npy")
    (quote,) = library.search(SearchRequest("the other", [dataset.id], top_k=1)).quotes
    assert (quote.record.q, quote.score) == ("q2", pytest.approx(1, abs=1e-3))


def test_vectors_again_cost_nothing(
    library: Library, dataset: Dataset, tmp_path: Path, embedder: HashEmbedder
) -> None:
    path = write(tmp_path / "f.csv", *numbered(30))
    texts = [f"question {number}\nanswer {number}" for number in range(30)]
    first = import_file(library, dataset, path, vectors=write_vectors(tmp_path / "v.npy", texts))
    sequence, before = library.store.last_sequence(), indexed(library, dataset)
    second = import_file(library, dataset, path, vectors=write_vectors(tmp_path / "w.npy", texts[::-1]))
    assert (second.read, second.added, second.unchanged, second.embedded) == (30, 0, 30, 0)
    assert second.collection_id == first.collection_id
    assert embedder.texts_read == 0
    assert library.store.last_sequence() == sequence
    assert np.array_equal(indexed(library, dataset), before)


def test_vectors_may_be_of_more_than_is_new(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    """Rows that are there keep the embeddings that the model made."""
    path = write(tmp_path / "f.csv", "q1,a1")
    import_file(library, dataset, path)
    write(path, "q0,a0", "q1,a1", "q2,a2")
    vectors = write_vectors(tmp_path / "v.npy", ["q0", "not taken", "q2"])
    report = import_file(library, dataset, path, vectors=vectors)
    assert (report.added, report.unchanged, report.embedded) == (2, 1, 0)
    assert np.array_equal(indexed(library, dataset)[1:], GridEmbedder().embed_passages(["q0", "q2"]))


TEXTS = 2 * V + 1


def refused_vectors() -> dict[str, tuple[type[QuotebaseError], npt.NDArray[Any], str]]:
    good = np.ones((TEXTS, 64), np.float32)
    zero, nan = good.copy(), good.copy()
    zero[-1] = 0
    nan[-1, 7] = np.nan
    return {
        "too few": (InvalidRequest, good[1:], f"{TEXTS - 1} vectors and the table {TEXTS} texts"),
        "too many": (InvalidRequest, good[[0, *range(TEXTS)]], f"{TEXTS + 1} vectors and the table {TEXTS}"),
        "zero": (InvalidRequest, zero, rf"^vector {TEXTS} of v\.npy is zero or not finite"),
        "not a number": (InvalidRequest, nan, rf"^vector {TEXTS} of v\.npy is zero or not finite"),
        "narrow": (ModelMismatch, good[:, 1:], "vectors of 63 numbers, the dataset takes 64"),
        "integers": (UnreadableFile, good.astype(np.int32), "no .npy file of rows of floating-point numbers"),
        "one dimension": (UnreadableFile, good[:, 0], "no .npy file of rows of floating-point numbers"),
    }


@pytest.mark.parametrize("what", refused_vectors())
def test_refused_vectors_leave_nothing(
    library: Library, dataset: Dataset, tmp_path: Path, embedder: HashEmbedder, what: str
) -> None:
    """Also where what is wrong comes after rows that are whole batches."""
    kind, vectors, said = refused_vectors()[what]
    np.save(tmp_path / "v.npy", vectors)
    path = write(tmp_path / "f.csv", *numbered(TEXTS))
    with pytest.raises(kind, match=said) as raised:
        import_file(library, dataset, path, vectors=tmp_path / "v.npy")
    assert type(raised.value) is kind
    assert "done and safe" not in raised.value.message
    assert_empty(library, dataset, embedder)


@pytest.mark.parametrize("content", [b"", b"no vectors", None])
def test_vectors_that_cannot_be_read_leave_nothing(
    library: Library, dataset: Dataset, tmp_path: Path, embedder: HashEmbedder, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"^v\.npy cannot be read as a \.npy file: "):
        import_file(library, dataset, write(tmp_path / "f.csv", "q,a"), vectors=tmp_path / "v.npy")
    assert_empty(library, dataset, embedder)


def test_with_vectors_a_broken_line_leaves_nothing(
    library: Library, dataset: Dataset, tmp_path: Path, embedder: HashEmbedder
) -> None:
    """All rows are counted before the first is imported."""
    path = write(tmp_path / "f.csv", *numbered(V + 1), '"broken" quoting,x')
    vectors = write_vectors(tmp_path / "v.npy", ["text"] * (V + 2))
    with pytest.raises(UnreadableFile, match=f"line {V + 3}: the quoting is broken"):
        import_file(library, dataset, path, vectors=vectors)
    assert_empty(library, dataset, embedder)


def assert_empty(library: Library, dataset: Dataset, embedder: HashEmbedder) -> None:
    assert library.store.list_collections(dataset.id) == []
    assert library.store.count_passages(dataset.id) == library.store.last_sequence() == 0
    assert embedder.texts_read == 0
