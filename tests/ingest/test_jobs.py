"""A job in the store: what it is known by, and that it comes back as it was."""

from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest.chunking import ChunkOptions
from ingest.jobs import (
    KIND,
    MODES,
    ImportReport,
    ImportSettings,
    Job,
    Jobs,
    State,
    digest_of,
    job_id,
    report_from,
)
from ingest.mapping import ColumnChoice, RowProblem
from ingest.rows import TableOptions
from ingest.sources import Reading
from retrieval.errors import InvalidRequest, JobNotFound
from retrieval.library import Library
from retrieval.types import Dataset

SETTINGS = ImportSettings("faq.csv", "all")
LARGE = 1 << 20
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)

FULL = ImportSettings(
    "表\0.csv",
    "集合",
    "replace",
    Reading(
        TableOptions("gb18030", "\t", "replace", has_header=False, sheet="Sheet 2"),
        ColumnChoice("1", "2", ("3", "4"), "5", "6", ("7", "8")),
        ChunkOptions(256, 64, "/(?=Article)/"),
    ),
)

REPORT = ImportReport(
    "faq.csv",
    "coffee",
    "all",
    "c1",
    "j1",
    "failed",
    kind="csv",
    encoding="utf-8",
    delimiter=",",
    ignored=("id", ""),
    read=10,
    added=1,
    updated=2,
    unchanged=3,
    rejected=4,
    removed=5,
    embedded=6,
    blank=7,
    replaced=8,
    share=0.25,
    seconds=1.5,
    problems=(RowProblem(3, "q", "q is empty"), RowProblem(9, "", 'the quoting is broken: "\0"')),
    error="the model is away",
)


@pytest.fixture
def dataset(library: Library) -> Dataset:
    return library.create_dataset("coffee")


def job_of(dataset_id: str, id_: str = "j1", settings: ImportSettings = SETTINGS, **more: Any) -> Job:
    return Job(id_, dataset_id, settings, "/a/faq.csv", "", "d1", REPORT, MOMENT, MOMENT, **more)


# Settings


def test_only_modes_there_are() -> None:
    assert [ImportSettings("f", "c", mode).mode for mode in MODES] == ["append", "upsert", "replace"]
    for mode in ("", "Append", "delete"):
        with pytest.raises(InvalidRequest, match="it is one of append, upsert, replace") as raised:
            ImportSettings("f", "c", mode)  # type: ignore[arg-type]
        assert raised.value.param == "mode"


def test_ready_made_embeddings_are_appended_only() -> None:
    assert ImportSettings("f", "c", vectors="v.npy").vectors == "v.npy"
    for mode in MODES[1:]:
        with pytest.raises(InvalidRequest, match=f"can be appended only: {mode} takes none"):
            ImportSettings("f", "c", mode, vectors="v.npy")


# What a job is known by


def test_a_digest_is_of_all_bytes_of_all_files_in_order(tmp_path: Path) -> None:
    contents = [b"", b"\0", b"a", b"ab", b"x" * LARGE, b"x" * LARGE + b"y", b"y" + b"x" * LARGE]
    paths = [tmp_path / str(place) for place in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    groups = [[path] for path in paths] + [[one, other] for one in paths for other in paths]
    assert len({digest_of(*group) for group in groups}) == len(groups)
    (tmp_path / "copy").write_bytes(contents[-1])
    assert digest_of(tmp_path / "copy") == digest_of(paths[-1])


def variants(value: Any) -> list[Any]:
    """Other values of a field."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value * 2]
        case tuple():
            return [("x",), ("x", "y"), ("xy",)]
        case None:
            return ["1", "2"]
    return [f"{value}1", f"{value}2"]


def changed_in(whole: Any, allowed: dict[str, list[Any]]) -> list[Any]:
    """``whole`` with each of its fields, and of the fields of those, changed."""
    made = []
    for field in fields(whole):
        value = getattr(whole, field.name)
        others = allowed.get(field.name)
        if others is None:
            others = changed_in(value, allowed) if hasattr(value, "__dataclass_fields__") else variants(value)
        made += [replace(whole, **{field.name: other}) for other in others]
    return made


def test_each_setting_makes_another_job(dataset: Dataset, library: Library) -> None:
    allowed: dict[str, list[Any]] = {"mode": list(MODES[1:]), "errors": ["replace"], "overlap": [1, 2]}
    others = changed_in(SETTINGS, allowed)
    assert len(others) > 25
    ids = {job_id(dataset, settings, "d1") for settings in [SETTINGS, *others]}
    assert len(ids) == 1 + len(others)
    assert job_id(dataset, ImportSettings("faq.csv", "all"), "d1") in ids
    assert job_id(dataset, SETTINGS, "d2") not in ids
    assert job_id(library.create_dataset("tea"), SETTINGS, "d1") not in ids


def test_a_key_of_the_callers_is_all_that_counts_in_a_dataset(dataset: Dataset, library: Library) -> None:
    id_ = job_id(dataset, SETTINGS, "d1", "monday")
    assert job_id(dataset, FULL, "d2", "monday") == id_
    others = [
        job_id(dataset, SETTINGS, "d1", "tuesday"),
        job_id(dataset, SETTINGS, "monday"),
        job_id(library.create_dataset("tea"), SETTINGS, "d1", "monday"),
    ]
    assert id_ not in others


# In the store


@pytest.mark.parametrize("settings", [SETTINGS, FULL])
def test_a_job_comes_back_as_it_was(library: Library, dataset: Dataset, settings: ImportSettings) -> None:
    jobs = Jobs(library.store)
    job = job_of(dataset.id, "j1", settings, is_upload=True, position=9, rejects_bytes=77, error_code="x")
    saved = jobs.save(job)
    assert saved.updated_at > MOMENT
    assert replace(saved, updated_at=MOMENT) == job
    assert jobs.get("j1") == jobs.find("j1") == saved
    assert jobs.save(replace(saved, position=10)).position == 10
    assert [one.position for one in jobs.list()] == [10]


def test_jobs_are_listed_oldest_first(library: Library, dataset: Dataset) -> None:
    jobs = Jobs(library.store)
    other = library.create_dataset("tea")
    for id_, of in (("b", dataset), ("a", other), ("c", dataset)):
        jobs.save(job_of(of.id, id_))
    jobs.save(job_of(dataset.id, "b", position=5))
    assert [job.id for job in jobs.list()] == ["b", "a", "c"]
    assert [job.id for job in jobs.list(dataset.id)] == ["b", "c"]
    assert jobs.list("unknown") == []


def test_a_job_that_is_not_there(library: Library, dataset: Dataset) -> None:
    jobs = Jobs(library.store)
    jobs.save(job_of(dataset.id, "gone"))
    assert library.store.delete_document(KIND, "gone")
    assert jobs.find("gone") is None
    with pytest.raises(JobNotFound, match="no job with the id 'gone'"):
        jobs.get("gone")


@pytest.mark.parametrize(
    ("state", "is_over"),
    [("queued", False), ("running", False), ("done", True), ("failed", True), ("cancelled", True)],
)
def test_when_a_job_is_over(state: State, is_over: bool) -> None:
    job = job_of("d")
    assert replace(job, report=replace(REPORT, state=state)).is_over is is_over


def test_a_report_of_a_newer_server_is_read() -> None:
    assert report_from({**asdict(REPORT), "more": 1}) == REPORT
    assert report_from(asdict(REPORT)) == REPORT
