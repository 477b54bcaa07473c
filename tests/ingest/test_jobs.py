"""An import: its counts balance, it costs nothing again, and it goes on where it was cut off."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.jobs import BATCH_RECORDS, ImportReport, import_file
from ingest.mapping import RowProblem
from retrieval.errors import (
    DatasetNotFound,
    EmbedderUnavailable,
    MissingColumn,
    ModelMismatch,
    UnreadableFile,
)
from retrieval.library import Library
from retrieval.types import Dataset, Embeddings, Record, SearchRequest, VerifyReport
from tests.conftest import ROOT
from tests.doubles import GridEmbedder, HashEmbedder

B = BATCH_RECORDS


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
