"""What is left of imports that are over: kept for a while, then removed without a trace."""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ingest.leftovers
from ingest.batches import BATCH_RECORDS
from ingest.imports import import_file, run_job
from ingest.jobs import KIND, ImportReport, Jobs
from ingest.leftovers import KEPT, LOOKED_EVERY, remove_job, remove_old_jobs
from ingest.pairs import pairs_path
from ingest.queueing import queue_import
from ingest.rejects import rejects_path
from ingest.staging import STAGED
from retrieval.errors import EmbedderUnavailable
from retrieval.library import Library
from retrieval.store.sqlite import SqliteStore
from retrieval.types import Dataset, Document, now
from tests.ingest.importing import NotingEmbedder, numbered, settings_of, write_csv

SOON = timedelta(minutes=5)


@pytest.fixture
def embedder() -> NotingEmbedder:
    return NotingEmbedder()


@pytest.fixture
def dataset(library: Library) -> Dataset:
    return library.create_dataset("coffee")


def imported(library: Library, dataset: Dataset, path: Path) -> ImportReport:
    """With a row that is rejected."""
    return import_file(library, dataset, write_csv(path, [(path.stem, "a"), ("", "no question")]))


def failed_to_replace(library: Library, dataset: Dataset, path: Path, **more: Any) -> ImportReport:
    """By a model that fails at the second batch."""
    job = queue_import(library, dataset, write_csv(path, numbered(BATCH_RECORDS + 88)), settings_of(path, "replace"), **more)
    with pytest.raises(EmbedderUnavailable):
        run_job(library, job, sleep=lambda _: None)
    return Jobs(library.store).get(job.id).report


def fail_at(word: str, embedder: NotingEmbedder) -> None:
    def check(texts: Sequence[str]) -> None:
        if any(word in text for text in texts) or texts == ["quotebase"]:
            raise EmbedderUnavailable("the model is away")

    embedder.before = check


def age(library: Library, report: ImportReport, by: timedelta) -> None:
    """As if the job had been over for so long."""
    document = library.store.find_document(KIND, report.job)
    assert document
    body = {**document.body, "updated_at": (now() - by).isoformat()}
    library.store.put_document(KIND, report.job, body, document.group)


def look(library: Library) -> None:
    """As if the hour were over."""
    library.store.delete_document(ingest.leftovers.KIND, ingest.leftovers.KIND)
    remove_old_jobs(library)


def jobs_of(library: Library) -> list[str]:
    return [job.id for job in Jobs(library.store).list()]


# One job


def test_a_job_goes_with_all_that_was_kept_for_it(
    library: Library, dataset: Dataset, embedder: NotingEmbedder, tmp_path: Path
) -> None:
    fail_at(f"question {BATCH_RECORDS + 38}", embedder)
    uploads = [tmp_path / name for name in ("gone", "kept")]
    reports = []
    for folder in uploads:
        folder.mkdir()
        report = failed_to_replace(library, dataset, folder / f"{folder.name}.csv", is_upload=True)
        path = pairs_path(library, report.job)
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}\n")
        reports.append(report)
    assert len(library.store.list_documents(STAGED)) == 2
    gone, kept = reports
    remove_job(library, gone.job)
    assert jobs_of(library) == [kept.job]
    assert [document.group for document in library.store.list_documents(STAGED)] == [kept.job]
    files = [path for path in library.data_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if gone.job in path.name]
    assert {path.name for path in files if kept.job in path.name} == {f"{kept.job}.csv", f"{kept.job}.jsonl"}
    assert [folder.exists() for folder in uploads] == [False, True]
    remove_job(library, gone.job)


def test_a_file_of_the_users_stays(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    report = imported(library, dataset, path)
    remove_job(library, report.job)
    assert path.exists()
    again = import_file(library, dataset, path)
    assert (again.job, again.unchanged, again.rejected) == (report.job, 1, 1)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_job_that_is_not_over_stays(library: Library, dataset: Dataset, tmp_path: Path, state: str) -> None:
    path = write_csv(tmp_path / "faq.csv", numbered(1))
    job = queue_import(library, dataset, path, settings_of(path))
    document = library.store.find_document(KIND, job.id)
    assert document
    report = document.body["report"]
    assert isinstance(report, dict)
    library.store.put_document(
        KIND, job.id, {**document.body, "report": {**report, "state": state}}, document.group
    )
    age(library, job.report, 2 * KEPT)
    library.delete_dataset(dataset.id)
    look(library)
    remove_job(library, job.id)
    assert [one.state for one in Jobs(library.store).list()] == [state]


def test_a_job_whose_files_cannot_be_deleted_stays(
    library: Library, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = imported(library, dataset, tmp_path / "faq.csv")
    path = rejects_path(library, report.job)
    path.unlink()
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        remove_job(library, report.job)
    assert "what the import of" in caplog.text
    assert jobs_of(library) == [report.job]
    path.rmdir()
    remove_job(library, report.job)
    assert jobs_of(library) == []


# All of them


def test_jobs_are_kept_for_thirty_days(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    ages = {"new": timedelta(), "young": KEPT - SOON, "old": KEPT + SOON, "older": 2 * KEPT}
    reports = {name: imported(library, dataset, tmp_path / f"{name}.csv") for name in ages}
    for name, by in ages.items():
        age(library, reports[name], by)
    look(library)
    assert jobs_of(library) == [reports[name].job for name in ("new", "young")]
    assert [rejects_path(library, report.job).exists() for report in reports.values()] == [
        True,
        True,
        False,
        False,
    ]
    assert library.store.count_records(dataset.id) == 4


def test_the_newest_are_kept(
    library: Library, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that ended last, whenever they began; those of a day; and all that are not over."""
    reports = [imported(library, dataset, tmp_path / f"{n}.csv") for n in range(7)]
    ages = (0, 25, 1, 26, 2, 25, 3)
    for report, hours in zip(reports, ages, strict=True):
        age(library, report, timedelta(hours=hours))
    waiting = queue_import(
        library, dataset, write_csv(tmp_path / "w.csv", []), settings_of(tmp_path / "w.csv")
    )
    monkeypatch.setattr(ingest.leftovers, "MOST_KEPT", 3)
    look(library)
    assert jobs_of(library) == [*(reports[n].job for n in (0, 2, 4, 6)), waiting.id]
    monkeypatch.setattr(ingest.leftovers, "MOST_KEPT", 5)
    late = imported(library, dataset, tmp_path / "late.csv")
    age(library, late, timedelta(hours=25))
    look(library)
    assert late.job in jobs_of(library)


def test_jobs_of_a_dataset_that_is_gone(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    other = library.create_dataset("tea")
    reports = [imported(library, one, tmp_path / f"{one.name}.csv") for one in (dataset, other)]
    library.delete_dataset(dataset.id)
    look(library)
    assert jobs_of(library) == [reports[1].job]


def test_once_an_hour(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    """Whoever looked; a clock that was ahead does not count."""
    reports = [imported(library, dataset, tmp_path / f"{n}.csv") for n in range(3)]
    for report in reports:
        age(library, report, 2 * KEPT)
    remove_old_jobs(library)
    assert len(jobs_of(library)) == 3

    def looked(at: datetime) -> None:
        kind = ingest.leftovers.KIND
        library.store.put_document(kind, kind, {"at": at.isoformat()})

    looked(now() - LOOKED_EVERY + SOON)
    remove_old_jobs(library)
    assert len(jobs_of(library)) == 3
    looked(now() - LOOKED_EVERY - SOON)
    remove_old_jobs(library)
    assert jobs_of(library) == []
    report = imported(library, dataset, tmp_path / "last.csv")
    age(library, report, 2 * KEPT)
    looked(now() + LOOKED_EVERY + SOON)
    remove_old_jobs(library)
    assert jobs_of(library) == []


def test_an_import_looks(library: Library, dataset: Dataset, tmp_path: Path) -> None:
    """And an old job of its own is begun anew."""
    report = imported(library, dataset, tmp_path / "one.csv")
    age(library, report, 2 * KEPT)
    library.store.delete_document(ingest.leftovers.KIND, ingest.leftovers.KIND)
    again = imported(library, dataset, tmp_path / "one.csv")
    assert (again.job, again.unchanged) == (report.job, 1)
    (job,) = Jobs(library.store).list()
    assert job.created_at > now() - SOON


class RequeueingStore(SqliteStore):
    """Lets a job be queued again at the moment in which jobs have been listed."""

    def __init__(self, library: Library, dataset: Dataset, path: Path) -> None:
        super().__init__(library.data_dir / "quotebase.sqlite")
        self._again = (library, dataset, path, settings_of(path))

    def list_documents(
        self, kind: str, group: str | None = None, newest: int | None = None
    ) -> list[Document]:
        found = super().list_documents(kind, group, newest)
        if kind == KIND:
            queue_import(*self._again)
        return found


@pytest.fixture
def requeueing(library: Library, dataset: Dataset, tmp_path: Path) -> Iterator[RequeueingStore]:
    store = RequeueingStore(library, dataset, write_csv(tmp_path / "faq.csv", numbered(2)))
    yield store
    store.close()


def test_a_job_that_is_queued_again_meanwhile_stays(
    library: Library, dataset: Dataset, tmp_path: Path, requeueing: RequeueingStore
) -> None:
    path = tmp_path / "faq.csv"
    report = run_job(library, queue_import(library, dataset, path, settings_of(path)))
    age(library, report, 2 * KEPT)
    own, library.store = library.store, requeueing
    look(library)
    library.store = own
    (job,) = Jobs(library.store).list()
    assert (job.id, job.state) == (report.job, "queued")
    assert run_job(library, job).unchanged == 2
