"""An import: its counts balance, it costs nothing again, it goes on where it was cut off, and overlaps."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ingest.batches
import ingest.staging
from ingest.imports import import_file, run_job
from ingest.jobs import KIND, MOST_PROBLEMS, ImportReport, ImportSettings, Job, Jobs
from ingest.mapping import ColumnChoice
from ingest.queueing import queue_import
from ingest.refusals import WAITS_S
from ingest.rejects import REJECTS_FOLDER, rejects_path
from ingest.rows import TableOptions
from ingest.sources import Reading
from ingest.staging import STAGED
from retrieval.errors import (
    CollectionNotFound,
    DatasetNotFound,
    EmbedderUnavailable,
    InvalidRequest,
    MissingColumn,
    ModelMismatch,
    UnreadableFile,
)
from retrieval.library import Library, lock_directory
from retrieval.store import Stored
from retrieval.store.sqlite import SqliteStore
from retrieval.types import Collection, Dataset, EmbeddedDraft, SearchRequest, StoredEmbeddings, VerifyReport
from tests.doubles import GridEmbedder
from tests.ingest.importing import (
    NotingEmbedder,
    assert_balanced,
    fail,
    numbered,
    records_of,
    refuse,
    run_again,
    settings_of,
    texts_of,
    write_csv,
    write_jsonl,
)

B = 4
"""Records of a batch in these tests."""

LONG_S = 20.0
"""Nothing here takes as long, but for what waits in vain."""


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.batches, "BATCH_RECORDS", B)
    monkeypatch.setattr(ingest.batches, "QUICK_S", 0.0)
    monkeypatch.setattr(ingest.staging, "STAGED_TEXTS", B - 1)


@pytest.fixture
def embedder() -> NotingEmbedder:
    return NotingEmbedder()


@pytest.fixture
def dataset(library: Library) -> Dataset:
    return library.create_dataset("coffee")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "faq.csv"


def run(library: Library, dataset: Dataset, path: Path, mode: str = "append", **more: Any) -> ImportReport:
    """An import that does not wait before it tries again."""
    job = queue_import(library, dataset, path, settings_of(path, mode))
    return run_job(library, job, sleep=more.pop("sleep", lambda _: None), **more)


def q_of(library: Library, report: ImportReport) -> list[str]:
    return [record.q for record in records_of(library, report)]


# What becomes of a file


def test_a_file_becomes_the_records_of_a_collection(library: Library, dataset: Dataset, file: Path) -> None:
    rows = [
        ("How long?", "Four weeks.", "storage", "shelf life"),
        ("Two\nlines?", "Yes, two.", "1. one 2. two"),
        ("No answer",),
    ]
    report = import_file(library, dataset, write_csv(file, rows, ("q", "a", "indexes")))
    assert report == ImportReport(
        file=str(file),
        dataset="coffee",
        collection="faq.csv",
        collection_id=report.collection_id,
        job=report.job,
        state="done",
        kind="csv",
        encoding="utf-8",
        delimiter=",",
        read=3,
        added=3,
        embedded=7,
        share=1.0,
        seconds=report.seconds,
    )
    assert 0 < report.seconds < LONG_S
    records = records_of(library, report)
    assert [(record.q, record.a, record.chunk_index) for record in records] == [
        ("How long?", "Four weeks.", 0),
        ("Two\nlines?", "Yes, two.", 1),
        ("No answer", "", 2),
    ]
    assert texts_of(library, records) == [
        ("How long?\nFour weeks.", "storage", "shelf life"),
        ("Two\nlines?\nYes, two.", "one", "two"),
        ("No answer",),
    ]
    (best,) = library.search(SearchRequest("shelf life", [dataset.id], top_k=1)).quotes
    assert (best.record, best.score) == (records[0], pytest.approx(1, abs=1e-3))
    assert library.verify() == VerifyReport(passages={"coffee": 7})


def test_keys_tags_and_metadata_are_kept(library: Library, dataset: Dataset, file: Path) -> None:
    write_csv(file, [("7", "hot, cold", "web", "Q", "me")], ("id", "tags", "source", "text", "author"))
    reading = Reading(columns=ColumnChoice(q="text", key="id", metadata=("source",)))
    report = import_file(library, dataset, file, ImportSettings("f", "all", reading=reading))
    (record,) = records_of(library, report)
    assert (record.key, record.metadata) == ("7", {"source": "web", "tags": ["hot", "cold"]})
    assert report.ignored == ("author",)


def test_a_document_becomes_chunks(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "guide.md"
    sections = [f"# Part {n}\n\n" + f"Sentence {n} of the guide. " * 60 for n in range(7)]
    path.write_text("\n\n".join(sections))
    report = import_file(library, dataset, path)
    records = records_of(library, report)
    assert (report.kind, report.read, report.added, report.share) == ("md", 7, 7, 1.0)
    assert [record.title for record in records] == [f"Part {n}" for n in range(7)]
    assert [record.chunk_index for record in records] == list(range(7))
    assert import_file(library, dataset, path).unchanged == 7


def test_what_is_blank_or_replaced_is_counted_to_the_end_of_the_file(
    library: Library, dataset: Dataset, file: Path
) -> None:
    """Also behind the last batch, where there is nothing more to store."""
    rows = [b"q,a", b",", *(b"q%d,\xff" % n for n in range(B)), b" ,", b"", b", "]
    file.write_bytes(b"\n".join(rows))
    reading = Reading(TableOptions(encoding="utf-8", errors="replace"))
    report = import_file(library, dataset, file, ImportSettings("f", "all", reading=reading))
    assert (report.read, report.added, report.blank) == (B, B, 3)
    assert (report.replaced, report.share) == (B, 1.0)


def test_what_is_replaced_in_a_document_is_counted(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "guide.md"
    path.write_bytes("# 咖啡豆\n\n密封\n".encode() + b"\xff")
    reading = Reading(TableOptions(errors="replace"))
    report = import_file(library, dataset, path, ImportSettings("guide.md", "all", reading=reading))
    assert (report.added, report.replaced) == (1, 1)


@pytest.mark.parametrize("text", ["q,a\n", "q,a\n,\n \n"])
def test_a_header_alone_makes_an_empty_collection(
    library: Library, dataset: Dataset, file: Path, text: str
) -> None:
    file.write_text(text)
    report = import_file(library, dataset, file)
    assert (report.state, report.read, report.added, report.share) == ("done", 0, 0, 1.0)
    assert report.blank == text.count("\n") - 1
    assert library.store.get_collection(report.collection_id).name == "faq.csv"


@pytest.mark.parametrize("count", [1, B - 1, B, B + 1, 2 * B, 3 * B + 1])
def test_any_number_of_rows(library: Library, dataset: Dataset, file: Path, count: int) -> None:
    report = run(library, dataset, write_csv(file, numbered(count)))
    assert (report.read, report.added, report.embedded) == (count, count, count)
    records = records_of(library, report)
    assert [(record.q, record.a) for record in records] == numbered(count)
    assert [record.chunk_index for record in records] == list(range(count))


def test_problems_of_all_batches_are_in_the_report(library: Library, dataset: Dataset, file: Path) -> None:
    rows = numbered(3 * B)
    for place in (0, B, 2 * B + 3):
        rows[place] = ("", "no question")
    report = run(library, dataset, write_csv(file, rows))
    assert [problem.line for problem in report.problems] == [2, B + 2, 2 * B + 5]
    assert {(problem.column, problem.reason) for problem in report.problems} == {("q", "q is empty")}
    assert (report.read, report.added, report.rejected) == (3 * B, 3 * B - 3, 3)


def test_the_first_thousand_problems_are_in_the_report_and_all_in_the_file(
    library: Library, dataset: Dataset, file: Path
) -> None:
    report = run(library, dataset, write_csv(file, [("", "none")] * (MOST_PROBLEMS + 5)))
    assert (report.rejected, len(report.problems)) == (MOST_PROBLEMS + 5, MOST_PROBLEMS)
    assert len(rejects_path(library, report.job).read_text().splitlines()) == MOST_PROBLEMS + 6


def test_equal_rows_are_added_once(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    rows = [*numbered(B + 2), *numbered(2), *numbered(2), *numbered(3 * B)]
    report = run(library, dataset, write_csv(file, rows))
    assert (report.read, report.added, report.unchanged) == (len(rows), 3 * B, len(rows) - 3 * B)
    assert report.embedded == len(embedder.read) == len(set(embedder.read)) == 3 * B


def test_a_long_text_is_found_by_each_of_its_parts(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    """512 tokens of four characters: some 10,000 characters are several passages of one record."""
    long = " ".join(f"Sentence {n} says {n * n}." for n in range(400))
    rows = [("short", "text", "short too"), ("long", long, long[::-1]), ("after", "it", "")]
    report = run(library, dataset, write_csv(file, rows, ("q", "a", "indexes")))
    records = records_of(library, report)
    assert [(record.q, record.a) for record in records] == [row[:2] for row in rows]
    parts = library.store.passages_of([records[1].id])[records[1].id]
    assert len(parts) > 8
    assert report.embedded == len(embedder.read) == 3 + len(parts)
    for part in parts:
        (best,) = library.search(SearchRequest(part.text, [dataset.id], limit=20_000, top_k=1)).quotes
        assert (best.record.id, best.passage_id) == (records[1].id, part.id)
    again = run(library, dataset, file)
    assert (again.unchanged, again.embedded, len(embedder.read)) == (3, 0, report.embedded)


def test_quick_batches_are_followed_by_larger_ones(
    library: Library, dataset: Dataset, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest.batches, "QUICK_S", LONG_S)
    told: list[ImportReport] = []

    report = run(library, dataset, write_csv(file, numbered(40 * B + 1)), on_progress=told.append)

    sizes = [after.read - before.read for before, after in pairwise(told)]
    assert sizes[0] == B
    assert max(sizes) >= 4 * B
    assert (report.read, report.added, sum(sizes)) == (40 * B + 1, 40 * B + 1, 40 * B + 1)


def test_progress_is_told_after_each_batch(library: Library, dataset: Dataset, file: Path) -> None:
    told: list[ImportReport] = []
    report = run(library, dataset, write_csv(file, numbered(2 * B + 1)), on_progress=told.append)
    assert [(one.state, one.read, one.added) for one in told] == [
        ("running", 0, 0),
        ("running", B, B),
        ("running", 2 * B, 2 * B),
        ("running", 2 * B + 1, 2 * B + 1),
        ("done", 2 * B + 1, 2 * B + 1),
    ]
    shares = [one.share for one in told]
    assert shares == sorted(shares)
    assert told[-1] == report
    for one in told:
        assert_balanced(one)


# Against a model of it


@dataclass(frozen=True)
class Line:
    """A line of a JSONL table; ``q`` of ``?`` is no JSON at all, and all empty is blank."""

    q: str
    a: str = ""
    indexes: tuple[str, ...] = ()
    key: str = ""
    tags: str = ""

    @property
    def is_blank(self) -> bool:
        return not any((self.q, self.a, self.indexes, self.key, self.tags))

    def written(self, has_key: bool) -> dict[str, object] | str:
        if self.q == "?":
            return "{"
        found: dict[str, object] = {
            "q": self.q,
            "a": self.a,
            "tags": self.tags,
            "indexes": list(self.indexes),
        }
        return {**found, "key": self.key} if has_key else found


Content = tuple[str, str, tuple[str, ...], str]


@dataclass
class Model:
    """A collection: the contents, each with its tags, oldest first; and what the last import did."""

    has_key: bool
    records: dict[Content, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def take(self, lines: Sequence[Line], mode: str) -> None:
        self.counts = {}
        before = dict(self.records)
        kept: set[Content] = set()
        keys: set[str] = set()
        seen: set[Content] = set()
        for line in lines:
            if line.is_blank:
                self.count("blank")
                continue
            self.count("read")
            if line.q in ("", "?") or (self.has_key and (not line.key or line.key in keys)):
                self.count("rejected")
                continue
            keys.add(line.key)
            content = (line.q, line.a, tuple(dict.fromkeys(line.indexes)), line.key)
            if mode == "append":
                self._append(content, line.tags)
            elif mode == "upsert":
                self._upsert(content, line.tags)
            else:
                self._replace(content, line.tags, before, kept, seen)
        if mode == "replace":
            for content in before.keys() - kept:
                self.count("removed")
                self.records.pop(content, None)

    def _append(self, content: Content, tags: str) -> None:
        if content in self.records:
            self.count("unchanged")
        elif "poison" in content[0]:
            self.count("rejected")
        else:
            self.count("added")
            self.records[content] = tags

    def _upsert(self, content: Content, tags: str) -> None:
        old = [one for one in self.records if one[3] == content[3]]
        if self.records.get(content) == tags:
            self.count("unchanged")
        elif "poison" in content[0]:
            # The record that it would have replaced stays; doubles of it go.
            self.count("rejected")
            self._remove(old[1:])
        else:
            self.count("updated" if old else "added")
            self._remove(old[1:])
            for one in old[:1]:
                del self.records[one]
            self.records[content] = tags

    def _remove(self, contents: Sequence[Content]) -> None:
        for one in contents:
            del self.records[one]
            self.count("removed")

    def _replace(
        self,
        content: Content,
        tags: str,
        before: dict[Content, str],
        kept: set[Content],
        seen: set[Content],
    ) -> None:
        same_key = [one for one in before if one[3] and one[3] == content[3]]
        old = content if content in before else same_key[-1] if same_key else None
        if "poison" in content[0]:
            self.count("rejected")
            kept |= {old} if old else set()
        elif content in seen or (old == content and before[content] == tags):
            self.count("unchanged")
            kept.add(content)
        else:
            self.count("updated" if old else "added")
            if old:
                kept.add(old)
                del self.records[old]
            self.records[content] = tags
        seen.add(content)


LINES = st.builds(
    Line,
    st.sampled_from(["q1", "q1", "q2", "q2", "q3", "poison", "?", ""]),
    st.sampled_from(["", "a1", "a2"]),
    st.sampled_from([(), ("x",), ("y", "x"), ("x", "x")]),
    st.sampled_from(["k1", "k1", "k2", "k2", "k3", "k4", ""]),
    st.sampled_from(["", "", "t"]),
) | st.just(Line(""))


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Library, Dataset, NotingEmbedder, Path]]:
    """A library that poisons are refused in."""
    folder = tmp_path_factory.mktemp("shared")
    embedder = NotingEmbedder(refuse("poison"))
    with Library.open(folder / "library", embedder) as library:
        yield library, library.create_dataset("shared"), embedder, folder / "table.jsonl"


@given(
    has_key=st.booleans(),
    tables=st.lists(LINES, min_size=1, max_size=8).flatmap(
        lambda some: st.lists(
            st.tuples(
                st.sampled_from(["append", "upsert", "replace"]),
                st.lists(st.sampled_from(some), max_size=14),
            ),
            min_size=1,
            max_size=4,
        )
    ),
)
@settings(max_examples=120)
def test_counts_and_records_are_those_of_the_model(
    shared: tuple[Library, Dataset, NotingEmbedder, Path],
    has_key: bool,
    tables: list[tuple[str, list[Line]]],
) -> None:
    """Tables with broken, blank, repeated, keyless and poisoned rows, one after the other into one collection."""
    library, dataset, embedder, path = shared
    collection = library.store.create_collection(dataset.id, f"all {library.store.last_sequence()}")
    model = Model(has_key)
    first = Line("first", "of all", ("x",), "k0", "t")
    for mode, lines in tables:
        lines = [line if has_key else replace(line, key="") for line in (first, *lines)]
        mode = "append" if mode == "upsert" and not has_key else mode
        write_jsonl(path, [line.written(has_key) for line in lines])
        model.take(lines, mode)
        read = len(embedder.read)
        chosen = ImportSettings("table.jsonl", collection.name, mode)  # type: ignore[arg-type]
        report = run_job(library, queue_import(library, dataset, path, chosen), sleep=lambda _: None)
        assert report.state == "done"
        assert_balanced(report)
        counted = ("read", "added", "updated", "unchanged", "rejected", "removed", "blank")
        assert {name: getattr(report, name) for name in counted} == {
            name: model.counts.get(name, 0) for name in counted
        }
        assert report.embedded == len([text for text in embedder.read[read:] if text != "quotebase"])
        records = records_of(library, report)
        tags = {
            (record.q, record.a, texts[1:], record.key): record.metadata.get("tags", [])
            for record, texts in zip(records, texts_of(library, records), strict=True)
        }
        assert len(records) == len(tags)
        assert tags == {content: [tag] if tag else [] for content, tag in model.records.items()}
        assert library.verify().is_clean


# Again


def test_the_same_file_again_writes_and_embeds_nothing(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    write_csv(
        file,
        [*((*row, f"k{n}") for n, row in enumerate(numbered(2 * B + 3))), ("", "", "k")],
        ("q", "a", "key"),
    )
    first = run(library, dataset, file)
    records, read, sequence = records_of(library, first), list(embedder.read), library.store.last_sequence()
    for mode in ("append", "append", "upsert", "replace", "replace"):
        again = run(library, dataset, file, mode)
        assert (again.read, again.unchanged, again.rejected) == (2 * B + 4, 2 * B + 3, 1)
        assert (again.added, again.updated, again.removed, again.embedded) == (0, 0, 0, 0)
        assert again.collection_id == first.collection_id
        assert_balanced(again)
    assert embedder.read == read
    assert library.store.last_sequence() == sequence
    assert records_of(library, first) == records


def test_a_changed_file_adds_what_is_new(library: Library, dataset: Dataset, file: Path) -> None:
    run(library, dataset, write_csv(file, numbered(2 * B)))
    report = run(library, dataset, write_csv(file, [("new", "first"), *numbered(2 * B + 3)]))
    assert (report.read, report.added, report.unchanged, report.embedded) == (2 * B + 4, 4, 2 * B, 4)


def test_upsert_replaces_what_changed_and_keeps_ids(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    header = ("key", "q", "a", "indexes", "tags")
    rows = [(f"k{n}", f"q{n}", f"a{n}", f"x{n}", "") for n in range(3 * B)]
    ids = {
        one.key: one.id for one in records_of(library, run(library, dataset, write_csv(file, rows, header)))
    }
    rows[1] = ("k1", "q1", "changed", "x1", "")
    rows[B] = (f"k{B}", f"q{B}", f"a{B}", "another", "")
    rows[2 * B] = (f"k{2 * B}", f"q{2 * B}", f"a{2 * B}", f"x{2 * B}", "hot")
    del embedder.read[:]
    with library_again(library, embedder) as library:
        report = run(
            library, dataset, write_csv(file, [*rows[1:], ("new", "q", "a", "x", "")], header), "upsert"
        )
        assert (report.added, report.updated, report.unchanged, report.removed) == (1, 3, 3 * B - 4, 0)
        assert sorted(embedder.read) == sorted(["q1\nchanged", "another", "q\na", "x"])
        assert report.embedded == 4
        records = {one.key: one for one in records_of(library, report)}
        assert {key: one.id for key, one in records.items() if key != "new"} == ids
        assert records["k1"].a == "changed"
        assert records[f"k{2 * B}"].metadata == {"tags": ["hot"]}
        assert library.verify().is_clean


@pytest.mark.parametrize("has_key", [True, False])
def test_replace_embeds_what_changed_and_removes_what_is_gone(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder, has_key: bool
) -> None:
    header = ("q", "a", *(["key"] if has_key else []))

    def rows(numbers: Sequence[int], changed: Sequence[int]) -> list[tuple[str, ...]]:
        marks = {n: " changed" if n in changed else "" for n in numbers}
        return [(f"q{n}", f"a{n}{mark}", f"k{n}")[: len(header)] for n, mark in marks.items()]

    first = run(library, dataset, write_csv(file, rows(range(5 * B), ()), header))
    ids = {one.q: one.id for one in records_of(library, first)}
    del embedder.read[:]
    changed, gone = {2, B, 3 * B + 1}, {0, B + 1, 5 * B - 1}
    left = [n for n in reversed(range(5 * B)) if n not in gone]
    with library_again(library, embedder) as library:
        report = run(library, dataset, write_csv(file, rows(left, list(changed)), header), "replace")
        assert sorted(embedder.read) == sorted(f"q{n}\na{n} changed" for n in changed)
        assert report.embedded == 3
        assert (report.read, report.unchanged) == (5 * B - 3, 5 * B - 6)
        assert (report.added, report.updated) == ((0, 3) if has_key else (3, 0))
        assert report.removed == (3 if has_key else 6)
        records = records_of(library, report)
        assert {(one.q, one.a) for one in records} == {row[:2] for row in rows(left, list(changed))}
        assert {one.q: one.id for one in records if "changed" not in one.a} == {
            f"q{n}": ids[f"q{n}"] for n in left if n not in changed
        }
        assert library.verify().is_clean
        assert library.store.list_documents(STAGED) == []


def test_replace_reads_no_text_that_is_there(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    """Though nothing says which record has changed, and though the model refuses a row of the batch."""
    rows = [(f"q{n}", f"a{n}", f"index {n}") for n in range(3 * B)]
    run(library, dataset, write_csv(file, rows, ("q", "a", "indexes")))
    del embedder.read[:]
    changed = [(q, f"{a} changed", index) for q, a, index in rows[: B - 1]]
    write_csv(file, [*changed, ("poison", "", ""), *rows[B - 1 :]], ("q", "a", "indexes"))
    with library_again(library, embedder) as library:
        embedder.before = refuse("poison")
        asked: list[int] = []
        embeddings_of = library.store.embeddings_of

        def note(record_ids: Sequence[str]) -> dict[str, StoredEmbeddings]:
            asked.append(len(record_ids))
            return embeddings_of(record_ids)

        library.store.embeddings_of = note  # type: ignore[method-assign]
        report = run(library, dataset, file, "replace")
        # All of a batch together, as often as it is tried; then each row for itself, with what is alike to it alone.
        assert asked == [B - 1] * (1 + len(WAITS_S)) + [1] * (B - 1)
        assert [text for text in embedder.read if text != "quotebase"] == [f"{q}\n{a}" for q, a, _ in changed]
        assert (report.added, report.removed, report.rejected, report.embedded) == (B - 1, B - 1, 1, B - 1)
        assert library.verify().is_clean


def test_replace_by_nothing_empties_the_collection(library: Library, dataset: Dataset, file: Path) -> None:
    run(library, dataset, write_csv(file, numbered(B + 1)))
    report = run(library, dataset, write_csv(file, []), "replace")
    assert (report.read, report.removed) == (0, B + 1)
    assert records_of(library, report) == []
    assert library.verify() == VerifyReport(passages={"coffee": 0})


def test_a_search_sees_a_replacement_as_a_whole(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    """While it is embedded, and in one step: never some of the new beside some of the old."""
    run(library, dataset, write_csv(file, [(f"q{n}", "old") for n in range(3 * B)]))
    seen: list[set[str]] = []

    def look(_: object = None) -> None:
        quotes = library.search(SearchRequest("q", [dataset.id], limit=20_000)).quotes
        seen.append({quote.record.a for quote in quotes})
        assert len(quotes) == 3 * B

    embedder.before = look
    is_over = threading.Event()

    def look_on() -> None:
        while not is_over.is_set():
            look()

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look_on)
        run(
            library,
            dataset,
            write_csv(file, [(f"q{n}", "new") for n in range(3 * B)]),
            "replace",
            on_progress=look,
        )
        is_over.set()
        looking.result()
    assert seen[0] == {"old"}
    assert seen[-1] == {"new"}
    assert all(len(answers) == 1 for answers in seen)


# What cannot be imported


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"question,answer\nx,y\n", MissingColumn, "'question', 'answer'"),
        (b"q,a,source\nx,y,z\n", MissingColumn, "'source'"),
        (b"", UnreadableFile, "empty"),
        (b"PK\x03\x04", UnreadableFile, "workbook"),
        (b"q,a\nx,\xff\xff\n", UnreadableFile, "line 2"),
    ],
)
def test_a_refused_file_leaves_a_failed_job_and_nothing_else(
    library: Library, dataset: Dataset, file: Path, content: bytes, error: type[Exception], words: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(error, match=words) as raised:
        import_file(library, dataset, file)
    assert "done and safe" not in str(raised.value)
    assert library.store.list_collections(dataset.id) == []
    (job,) = Jobs(library.store).list(dataset.id)
    assert (job.state, job.report.error) == ("failed", str(raised.value))
    assert job.error_code == raised.value.code  # type: ignore[attr-defined]


def test_a_missing_file_is_named_as_the_caller_names_it(
    library: Library, dataset: Dataset, file: Path
) -> None:
    with pytest.raises(UnreadableFile, match=r"^uploaded\.csv cannot be read: No such file"):
        import_file(library, dataset, file, ImportSettings("uploaded.csv", "all"))
    assert Jobs(library.store).list() == []


def test_a_file_that_goes_before_its_job_is_run(library: Library, dataset: Dataset, file: Path) -> None:
    job = queue_import(library, dataset, write_csv(file, numbered(3)), settings_of(file))
    file.unlink()
    with pytest.raises(UnreadableFile, match=r"^faq\.csv cannot be read: No such file"):
        run_job(library, job)
    assert Jobs(library.store).get(job.id).state == "failed"


def test_damage_keeps_the_batches_before_it(library: Library, dataset: Dataset, file: Path) -> None:
    """Where it comes behind what the table's kind is told by."""
    chosen = replace(settings_of(file), reading=Reading(TableOptions("utf-8")))
    write_csv(file, [(q, "so " * 3000) for q, _ in numbered(2 * B + 2)])
    with file.open("ab") as more:
        more.write(b"damage,\xff\n")
    said = rf"line {2 * B + 4} has the byte 0xff .* {2 * B} rows of faq.csv are done and safe"
    for _ in range(2):
        with pytest.raises(UnreadableFile, match=said):
            import_file(library, dataset, file, chosen)
        assert library.store.count_records(dataset.id) == 2 * B
    mended = [(q, "so " * 3000) for q, _ in numbered(2 * B + 5)]
    report = import_file(library, dataset, write_csv(file, mended), chosen)
    assert (report.added, report.unchanged) == (5, 2 * B)


@pytest.mark.parametrize("name", ["faq.csv", "faq.md"])
def test_upsert_needs_keys(library: Library, dataset: Dataset, tmp_path: Path, name: str) -> None:
    path = write_csv(tmp_path / name, numbered(1))
    with pytest.raises(MissingColumn, match=r"upsert needs a column of keys: name it by --key"):
        run(library, dataset, path, "upsert")
    assert library.store.list_collections(dataset.id) == []


def test_an_unknown_dataset(library: Library, dataset: Dataset, file: Path) -> None:
    library.delete_dataset(dataset.id)
    with pytest.raises(DatasetNotFound, match=dataset.id):
        import_file(library, dataset, write_csv(file, numbered(1)))


def test_a_dataset_of_another_model(library: Library, dataset: Dataset, file: Path) -> None:
    library.close()
    with Library.open(library.data_dir, GridEmbedder()) as other:
        with pytest.raises(ModelMismatch, match="'coffee'"):
            import_file(other, dataset, write_csv(file, numbered(1)))
        assert other.store.list_collections(dataset.id) == []


# Cut off


class Interruption(Exception):
    """Out of a progress bar, say."""


def library_again(library: Library, embedder: NotingEmbedder) -> Library:
    """As another process has it: with nothing in memory of what was embedded."""
    library.close()
    return Library.open(library.data_dir, embedder)


def raise_at(count: int, error: type[BaseException]) -> Callable[[ImportReport], None]:
    def check(report: ImportReport) -> None:
        if report.state == "running" and report.read >= count:
            raise error

    return check


def cancel_at(count: int, event: threading.Event) -> Callable[[ImportReport], None]:
    return lambda report: event.set() if report.read >= count else None


ROWS = [
    *numbered(2 * B - 1),
    ("", "no question"),
    *numbered(5 * B, start=2 * B),
    (" ", "again"),
    *numbered(2, 90),
]
GOOD = [row for row in ROWS if row[0].strip()]


def cut_off(library: Library, dataset: Dataset, path: Path, mode: str, how: str, rows: int) -> str:
    """Import until ``rows`` are noted; the state that is left."""
    cancelled = threading.Event()
    try:
        if how == "cancel":
            report = run(
                library, dataset, path, mode, on_progress=cancel_at(rows, cancelled), cancelled=cancelled
            )
            assert report.state == "cancelled"
        else:
            error = {"error": Interruption, "interrupt": KeyboardInterrupt}[how]
            with pytest.raises(error):
                run(library, dataset, path, mode, on_progress=raise_at(rows, error))
    finally:
        (job,) = Jobs(library.store).list()
    assert job.report.read == job.position
    return job.state


@pytest.mark.parametrize(
    ("how", "state"), [("error", "failed"), ("interrupt", "cancelled"), ("cancel", "cancelled")]
)
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_an_import_that_is_cut_off_goes_on(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder, how: str, state: str, mode: str
) -> None:
    """Again and again; in the end the counts are those of an import in one go."""
    write_csv(file, [(*row, f"k{n}") for n, row in enumerate(ROWS)], ("q", "a", "key"))
    attempts = 0
    for rows in (0, B, 2 * B, 2 * B, 5 * B):
        assert cut_off(library, dataset, file, mode, how, rows) == state
        library = library_again(library, embedder)
        attempts += 1
        (job,) = Jobs(library.store).list()
        # Nothing is lost that was noted; one more batch may have been stored before all stood still.
        assert rows <= job.position <= rows + 2 * B
        assert library.verify().is_clean
    report = run(library, dataset, file, mode)
    assert (report.read, report.added, report.unchanged, report.rejected) == (len(ROWS), len(GOOD), 0, 2)
    assert_balanced(report)
    assert q_of(library, report) == [q for q, _ in GOOD]
    assert set(embedder.read) == {f"{q}\n{a}" for q, a in GOOD}
    # A batch may have been embedded that was not stored any more, each time.
    assert len(embedder.read) - len(GOOD) <= attempts * B
    assert len(embedder.read) >= report.embedded >= len(GOOD)
    with rejects_path(library, report.job).open() as rejected:
        assert [line.partition(",")[0] for line in rejected] == ["#line", str(2 * B + 1), str(7 * B + 2)]
    library.close()


@pytest.mark.parametrize("how", ["error", "interrupt", "cancel"])
def test_a_replacement_that_is_cut_off_has_not_begun(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder, how: str
) -> None:
    """But what was embedded is kept."""
    first = run(library, dataset, write_csv(file, [("old", "one"), ROWS[0]]))
    before = records_of(library, first)
    assert library.store.delete_document(KIND, first.job)
    write_csv(file, ROWS)
    for rows in (B, 3 * B):
        cut_off(library, dataset, file, "replace", how, rows)
        assert records_of(library, first) == before
        library = library_again(library, embedder)
    report = run(library, dataset, file, "replace")
    assert (report.read, report.added, report.unchanged, report.rejected) == (len(ROWS), len(GOOD) - 1, 1, 2)
    assert (report.removed, report.state) == (1, "done")
    assert_balanced(report)
    assert {one.q for one in records_of(library, report)} == {q for q, _ in GOOD}
    repeated = len(embedder.read) - len(set(embedder.read))
    assert repeated <= 2 * B
    assert report.embedded <= len(embedder.read) - 2
    assert report.embedded >= len(GOOD) - 1
    assert library.store.list_documents(STAGED) == []
    with rejects_path(library, report.job).open() as rejected:
        assert len(list(rejected)) == 3
    library.close()


def test_what_was_stored_and_not_noted_is_unchanged(library: Library, dataset: Dataset, file: Path) -> None:
    """As a kill leaves it between the two."""
    job = queue_import(library, dataset, write_csv(file, ROWS), settings_of(file))
    with pytest.raises(Interruption):
        run_job(library, job, raise_at(2 * B, Interruption))
    noted = Jobs(library.store).get(job.id)
    rejects = rejects_path(library, job.id)
    with pytest.raises(Interruption):
        run_job(library, noted, raise_at(5 * B, Interruption))
    rejects.write_bytes(rejects.read_bytes() + b"half a li")
    Jobs(library.store).save(replace(noted, report=replace(noted.report, state="running")))
    stored = library.store.count_records(dataset.id)
    report = run_again(library, noted.report)
    assert stored > noted.report.added
    assert report.unchanged == stored - noted.report.added
    assert report.added + report.unchanged == len(GOOD)
    assert q_of(library, report) == [q for q, _ in GOOD]
    assert_balanced(report)
    assert len(rejects.read_text().splitlines()) == 3


def test_a_collection_that_was_deleted_is_begun_anew(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    write_csv(file, ROWS)
    cut_off(library, dataset, file, "append", "cancel", 3 * B)
    (collection,) = library.store.list_collections(dataset.id)
    library.delete_collection(collection.id)
    report = run(library, dataset, file)
    assert report.collection_id != collection.id
    assert (report.read, report.added, report.rejected, report.unchanged) == (len(ROWS), len(GOOD), 2, 0)
    assert q_of(library, report) == [q for q, _ in GOOD]
    assert len(rejects_path(library, report.job).read_text().splitlines()) == 3


def test_a_collection_that_is_deleted_meanwhile_fails_the_job(
    library: Library, dataset: Dataset, file: Path
) -> None:
    def delete(report: ImportReport) -> None:
        if report.read == B:
            library.delete_collection(report.collection_id)

    with pytest.raises(CollectionNotFound):
        run(library, dataset, write_csv(file, numbered(5 * B)), on_progress=delete)
    (job,) = Jobs(library.store).list()
    assert (job.state, job.error_code) == ("failed", "collection_not_found")
    assert run(library, dataset, file).added == 5 * B


def test_a_file_that_changed_is_begun_anew(library: Library, dataset: Dataset, file: Path) -> None:
    """Rows that are done are told by their number, which is another one now."""
    cut_off(library, dataset, write_csv(file, ROWS), "append", "cancel", 3 * B)
    (job,) = Jobs(library.store).list()
    write_csv(file, [*numbered(3 * B, start=500), *ROWS])
    report = run_again(library, job.report)
    assert (report.read, report.rejected) == (3 * B + len(ROWS), 2)
    assert report.added + report.unchanged == 3 * B + len(GOOD)
    assert library.store.count_records(dataset.id) == 3 * B + len(GOOD)


def test_a_job_goes_on_with_a_copy_of_its_file(library: Library, dataset: Dataset, file: Path) -> None:
    """As an upload that is sent again."""
    cut_off(library, dataset, write_csv(file, ROWS), "append", "cancel", 3 * B)
    (job,) = Jobs(library.store).list()
    copy = file.with_name("copy")
    copy.write_bytes(file.read_bytes())
    file.unlink()
    again = queue_import(library, dataset, copy, settings_of(file), is_upload=True)
    assert (again.id, again.position, again.path) == (job.id, job.position, str(copy))
    assert run_job(library, again).added == len(GOOD)


def test_an_unthought_of_error_fails_the_job(library: Library, dataset: Dataset, file: Path) -> None:
    """A file where the folder of rejected rows should be, say."""
    (library.data_dir / REJECTS_FOLDER).write_text("")
    with pytest.raises(FileExistsError):
        run(library, dataset, write_csv(file, numbered(3)))
    (job,) = Jobs(library.store).list()
    assert (job.state, job.error_code) == ("failed", "quotebase_error")
    assert job.report.error.startswith("FileExistsError: ")
    (library.data_dir / REJECTS_FOLDER).unlink()
    assert run(library, dataset, file).added == 3


# Queued again


def test_the_same_import_is_the_same_job(library: Library, dataset: Dataset, file: Path) -> None:
    first = queue_import(library, dataset, write_csv(file, numbered(3)), settings_of(file))
    assert (first.state, first.position, first.is_over) == ("queued", 0, False)
    assert queue_import(library, dataset, file, settings_of(file)).id == first.id
    assert queue_import(library, dataset, file, settings_of(file, "replace")).id != first.id
    write_csv(file, numbered(4))
    assert queue_import(library, dataset, file, settings_of(file)).id != first.id
    assert len(Jobs(library.store).list()) == 3


def test_a_job_that_is_done_begins_anew(library: Library, dataset: Dataset, file: Path) -> None:
    first = run(library, dataset, write_csv(file, numbered(3)))
    again = queue_import(library, dataset, file, settings_of(file))
    assert (again.id, again.state, again.position, again.report.read) == (first.job, "queued", 0, 0)


def test_a_key_of_the_callers_is_done_once(library: Library, dataset: Dataset, file: Path) -> None:
    def queue() -> Job:
        return queue_import(library, dataset, file, settings_of(file), key="monday")

    write_csv(file, numbered(3))
    report = run_job(library, queue())
    assert (queue().state, queue().report) == ("done", report)
    write_csv(file, numbered(9))
    assert queue().report == report


def test_a_key_that_comes_with_something_else_begins_anew(
    library: Library, dataset: Dataset, file: Path
) -> None:
    def queue(delimiter: str | None = None) -> Job:
        chosen = replace(settings_of(file), reading=Reading(TableOptions(delimiter=delimiter)))
        return queue_import(library, dataset, file, chosen, key="monday")

    write_csv(file, ROWS)
    job = queue()
    with pytest.raises(Interruption):
        run_job(library, job, raise_at(2 * B, Interruption))
    assert queue().position >= 2 * B
    with_settings = queue(",")
    assert (with_settings.id, with_settings.position) == (job.id, 0)
    run_job(library, with_settings)
    assert library.store.count_records(dataset.id) == len(GOOD)


def test_an_upload_of_what_is_under_way_is_not_queued_again(
    library: Library, dataset: Dataset, file: Path
) -> None:
    write_csv(file, numbered(3))
    with ThreadPoolExecutor(4) as pool:
        copies = [file.with_name(f"copy {n}") for n in range(12)]
        for copy in copies:
            copy.write_bytes(file.read_bytes())
        jobs = list(
            pool.map(
                lambda path: queue_import(library, dataset, path, settings_of(file), is_upload=True), copies
            )
        )
    assert len({job.path for job in jobs}) == len({job.id for job in jobs}) == 1


# Several at once


def test_the_same_file_twice_at_once_gives_each_row_once(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    """Both find the first batch unknown."""
    write_csv(file, [*ROWS, *ROWS[:3]])
    together = threading.Barrier(2, timeout=LONG_S)
    met = threading.Event()

    def meet(_: Sequence[str]) -> None:
        if not met.is_set():
            together.wait()
            met.set()

    embedder.before = meet
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: run(library, dataset, file), range(2)))
    for report in reports:
        assert_balanced(report)
        assert (report.state, report.read, report.rejected) == ("done", len(ROWS) + 3, 2)
    assert len({report.collection_id for report in reports}) == 1
    assert sorted(q_of(library, reports[0])) == sorted(q for q, _ in GOOD)
    assert library.verify() == VerifyReport(passages={"coffee": len(GOOD)})


def test_several_files_at_once_share_a_new_collection(
    library: Library, dataset: Dataset, tmp_path: Path
) -> None:
    paths = [write_csv(tmp_path / f"{n}.csv", numbered(2 * B, start=n * B)) for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        reports = list(pool.map(lambda path: run(library, dataset, path), paths))
    assert len({report.collection_id for report in reports}) == 1
    assert sum(report.added for report in reports) == 7 * B
    assert sorted(q_of(library, reports[0])) == sorted(q for q, _ in numbered(7 * B))


# A model that refuses


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_poison_row_costs_itself(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder, mode: str
) -> None:
    """Also twice in a batch, in another one, in an index text, and as the last of all."""
    embedder.before = refuse("poison", "arsenic")
    rows: list[tuple[str, ...]] = [*numbered(3 * B)]
    rows[1] = rows[2] = ("poison", "it")
    rows[B] = ("an index text", "of arsenic", "arsenic", "harmless")
    rows[B + 1] = ("", "no question")
    rows[2 * B + 1] = rows[-1] = ("poison", "it")
    report = run(library, dataset, write_csv(file, rows, ("q", "a", "indexes", "")), mode)
    assert (report.read, report.added, report.unchanged, report.rejected) == (3 * B, 3 * B - 6, 0, 6)
    assert_balanced(report)
    refused = "the model refuses it: the model cannot read "
    assert [(problem.line, problem.reason) for problem in report.problems] == [
        (3, refused + "poison"),
        (4, refused + "poison"),
        (B + 2, refused + "arsenic"),
        (B + 3, "q is empty"),
        (2 * B + 3, refused + "poison"),
        (3 * B + 1, refused + "poison"),
    ]
    assert q_of(library, report) == [row[0] for row in rows if row[0].startswith("question")]
    assert library.verify().is_clean
    lines = rejects_path(library, report.job).read_text().splitlines()
    assert lines[1] == f"3,{refused}poison,poison,it"
    assert lines[3] == f"{B + 2},{refused}arsenic,an index text,of arsenic,arsenic,harmless"
    embedder.before = None
    again = run(library, dataset, file, mode)
    assert (again.added, again.unchanged, again.rejected) == (2, 3 * B - 3, 1)


def test_a_poison_row_leaves_the_record_that_it_would_replace(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    run(library, dataset, write_csv(file, [("k1", "q1"), ("k2", "q2")], ("key", "q", "a")))
    embedder.before = refuse("poison")
    write_csv(file, [("k1", "poison"), ("k2", "q2 changed")], ("key", "q", "a"))
    for mode, done in (("upsert", (0, 1, 0, 1)), ("replace", (0, 0, 1, 1))):
        report = run(library, dataset, file, mode)
        assert (report.added, report.updated, report.unchanged, report.rejected) == done
        assert q_of(library, report) == ["q1", "q2 changed"]


def test_a_model_that_comes_back_costs_nothing(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    slept: list[float] = []
    embedder.before = fail(len(WAITS_S), after=1)
    report = run(library, dataset, write_csv(file, ROWS), sleep=slept.append)
    assert slept == list(WAITS_S)
    assert (report.added, report.rejected, report.embedded) == (len(GOOD), 2, len(GOOD))
    assert embedder.read == [f"{q}\n{a}" for q, a in GOOD]


@pytest.mark.parametrize("times", range(len(WAITS_S) + 1, len(WAITS_S) + 4))
def test_a_model_that_comes_back_while_rows_are_tried_rejects_none(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder, times: int
) -> None:
    """The import fails and goes on later, or all rows are in."""
    embedder.before = fail(times)
    with suppress(EmbedderUnavailable):
        run(library, dataset, write_csv(file, ROWS))
    report = run(library, dataset, file)
    assert (report.added + report.unchanged, report.rejected) == (len(GOOD), 2)
    assert library.store.count_records(dataset.id) == len(GOOD)
    assert len(embedder.read) == len({*embedder.read})


def test_a_model_that_falters_between_rows_rejects_none(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    rows = [("poison", ""), *numbered(3 * B)]
    falters = ["question 1\nanswer 1"]

    def falter(texts: Sequence[str]) -> None:
        refuse("poison")(texts)
        if list(texts) == falters:
            falters.clear()
            raise EmbedderUnavailable("just now")

    embedder.before = falter
    report = run(library, dataset, write_csv(file, rows))
    assert falters == []
    assert [problem.line for problem in report.problems] == [2]
    assert q_of(library, report) == [q for q, _ in rows[1:]]


def test_a_model_that_goes_while_rows_are_tried_fails_the_job(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    """And no row is blamed for it."""
    rows = [*numbered(B), ("poison", ""), *numbered(B, start=B)]

    def go(texts: Sequence[str]) -> None:
        refuse("poison")(texts)
        if f"question {B + 1}\nanswer {B + 1}" in texts:
            embedder.before = fail(1000)
            raise EmbedderUnavailable("the model is away")

    embedder.before = go
    with pytest.raises(EmbedderUnavailable, match=f"the model is away. {B} rows"):
        run(library, dataset, write_csv(file, rows))
    (job,) = Jobs(library.store).list()
    assert (job.position, job.report.rejected) == (B, 0)
    embedder.before = refuse("poison")
    report = run(library, dataset, file)
    assert (report.read, report.added, report.rejected) == (2 * B + 1, 2 * B, 1)


def test_a_model_that_is_gone_fails_the_job_which_goes_on_later(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    slept: list[float] = []
    embedder.before = fail(1000, after=2)
    with pytest.raises(EmbedderUnavailable) as raised:
        run(library, dataset, write_csv(file, ROWS), sleep=slept.append)
    assert slept == list(WAITS_S)
    assert str(raised.value) == (
        f"the model is away: start it. {2 * B} rows of faq.csv are done and safe; start the same import again to go on"
    )
    (job,) = Jobs(library.store).list()
    assert (job.state, job.position, job.error_code) == ("failed", 2 * B, "embedder_unavailable")
    assert job.report.error == "the model is away: start it"
    assert_balanced(job.report)
    assert library.verify() == VerifyReport(passages={"coffee": 2 * B - 1})
    embedder.before = None
    report = run(library, dataset, file)
    assert (report.state, report.error, report.read, report.added) == ("done", "", len(ROWS), len(GOOD))
    assert embedder.read == [f"{q}\n{a}" for q, a in GOOD]
    assert Jobs(library.store).get(job.id).error_code == ""


def test_a_replacement_does_not_read_again_what_it_has_staged(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    """Also where rows are tried one by one."""
    embedder.before = fail(1000, after=2)
    with pytest.raises(EmbedderUnavailable):
        run(library, dataset, write_csv(file, [*numbered(2 * B), ("new", "")]), "replace")
    write_csv(file, [*numbered(2 * B), ("new", "")])
    with library_again(library, embedder) as library:
        embedder.before = refuse("new")
        report = run(library, dataset, file, "replace")
        assert (report.added, report.rejected, report.embedded) == (2 * B, 1, 2 * B)
        assert [text for text in embedder.read if text != "quotebase"] == [
            f"{q}\n{a}" for q, a in numbered(2 * B)
        ]


def test_a_job_is_cancelled_while_it_waits_for_the_model(
    library: Library, dataset: Dataset, file: Path, embedder: NotingEmbedder
) -> None:
    """Without waiting to the end: the sleep is that of the event."""
    cancelled = threading.Event()
    calls: list[int] = []

    def cancel(_: Sequence[str]) -> None:
        calls.append(1)
        cancelled.set()
        raise EmbedderUnavailable("away")

    embedder.before = cancel
    job = queue_import(library, dataset, write_csv(file, ROWS), settings_of(file))
    report = run_job(library, job, cancelled=cancelled)
    assert (report.state, report.error, len(calls)) == ("cancelled", "", 1)
    assert report.seconds < WAITS_S[0]


# All at once: the next batch is read, one is embedded, the one before is stored


class WatchedStore(SqliteStore):
    """Says when a batch is planned and when one is added."""

    def __init__(self, path: Path) -> None:
        self.planned = 0
        self.changed = threading.Condition()
        self.before_add: Callable[[Sequence[EmbeddedDraft]], None] = lambda _: None
        super().__init__(path)

    def known_hashes(self, collection_id: str, hashes: Any) -> set[bytes]:
        with self.changed:
            self.planned += 1
            self.changed.notify_all()
        return super().known_hashes(collection_id, hashes)

    def add_records(
        self, collection: Collection, drafts: Sequence[EmbeddedDraft], gone: Sequence[str] = ()
    ) -> Stored:
        self.before_add(drafts)
        return super().add_records(collection, drafts, gone)


@pytest.fixture
def watched(tmp_path: Path, embedder: NotingEmbedder) -> Iterator[tuple[Library, WatchedStore]]:
    data_dir = tmp_path / "watched"
    lock = lock_directory(data_dir)
    store = WatchedStore(data_dir / "quotebase.sqlite")
    with Library(data_dir, store, embedder, lock) as library:
        yield library, store


def test_the_next_batch_is_read_while_one_is_embedded(
    watched: tuple[Library, WatchedStore], file: Path, embedder: NotingEmbedder
) -> None:
    library, store = watched
    batches: list[int] = []

    def wait_for_the_next(_: Sequence[str]) -> None:
        batches.append(store.planned)
        with store.changed:
            assert store.changed.wait_for(lambda: store.planned >= min(4, len(batches) + 1), LONG_S)

    embedder.before = wait_for_the_next
    report = run(library, library.create_dataset("d"), write_csv(file, numbered(4 * B)))
    assert (report.added, len(batches)) == (4 * B, 4)


def test_a_batch_is_stored_while_the_next_is_embedded(
    watched: tuple[Library, WatchedStore], file: Path, embedder: NotingEmbedder
) -> None:
    """Neither could end before the other has begun."""
    library, store = watched
    together = threading.Barrier(2, timeout=LONG_S)
    added: list[str] = []

    def meet_the_store(_: Sequence[str]) -> None:
        if len(embedder.read):
            together.wait()

    def meet_the_model(drafts: Sequence[EmbeddedDraft]) -> None:
        added.extend(item.draft.q for item in drafts)
        if len(added) < 4 * B:
            together.wait()

    embedder.before, store.before_add = meet_the_store, meet_the_model
    report = run(library, library.create_dataset("d"), write_csv(file, numbered(4 * B)))
    assert report.added == 4 * B
    assert added == [q for q, _ in numbered(4 * B)]


def test_no_more_than_three_batches_are_under_way(
    watched: tuple[Library, WatchedStore], file: Path, embedder: NotingEmbedder
) -> None:
    """While one cannot be stored, one more is embedded and one read, and no others."""
    library, store = watched
    waits = threading.Event()
    batches: list[int] = []

    def hold(drafts: Sequence[EmbeddedDraft]) -> None:
        if drafts[0].draft.q == "question 0":
            with store.changed:
                assert store.changed.wait_for(lambda: store.planned == 3 and len(batches) == 2, LONG_S)
            # Nothing comes to move the counts any further.
            assert not waits.wait(0.1)
            assert (store.planned, len(batches)) == (3, 2)

    def note(texts: Sequence[str]) -> None:
        with store.changed:
            batches.append(len(texts))
            store.changed.notify_all()

    embedder.before, store.before_add = note, hold
    report = run(library, library.create_dataset("d"), write_csv(file, numbered(6 * B)))
    assert (report.added, batches) == (6 * B, [B] * 6)


def test_an_error_of_the_store_comes_out(
    watched: tuple[Library, WatchedStore], file: Path, embedder: NotingEmbedder
) -> None:
    library, store = watched

    def break_at_third(drafts: Sequence[EmbeddedDraft]) -> None:
        if drafts[0].draft.q == f"question {2 * B}":
            raise InvalidRequest("this cannot be stored")

    store.before_add = break_at_third
    dataset = library.create_dataset("d")
    with pytest.raises(InvalidRequest, match=f"this cannot be stored. {2 * B} rows of"):
        run(library, dataset, write_csv(file, numbered(6 * B)))
    assert library.store.count_records(dataset.id) == 2 * B
    store.before_add = lambda _: None
    assert run(library, dataset, file).added == 6 * B
    assert len(embedder.read) == len(set(embedder.read)) == 6 * B
