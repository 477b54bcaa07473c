"""How far imports are, as FastGPT tells it: counts by stage, and what went wrong."""

from collections.abc import Sequence
from typing import Any

from pydantic import AliasChoices, Field

from api.schemas import Wire
from api.schemas.collections import rows_left
from api.schemas.paging import Paging
from ingest.jobs import Job
from ingest.mending import Failure

STAGES = ("parse", "qa", "chunk", "image", "auto")
"""FastGPT's. What is not ours stays 0."""


class TrainingErrors(Paging):
    collection_id: str


class TrainingUpdate(Wire):
    """What went wrong by its id; with ``q`` the mended row is added, without it a failed import is done again.

    Without ``dataId`` all failed imports into the collection are done again.
    """

    dataset_id: str = ""
    collection_id: str
    data_id: str = Field("", validation_alias=AliasChoices("dataId", "id", "data_id"))
    q: str = ""
    a: str = ""
    chunk_index: int = Field(0, ge=0, le=2**53)


def training_detail(jobs: Sequence[Job], records: int) -> dict[str, Any]:
    """Rows by stage: waiting, under way, rejected; and records that are there."""
    counts = {state: dict.fromkeys(STAGES, 0) for state in ("queued", "running", "failed")}
    for job in jobs:
        stage = _stage(job)
        if job.state in ("queued", "running"):
            counts[job.state][stage] += rows_left(job)
        counts["failed"][stage] += job.report.rejected + (job.state == "failed")
    return {
        "trainingType": next((_stage(job) for job in jobs), "chunk"),
        "advancedTraining": {"customPdfParse": False, "imageIndex": False, "autoIndexes": False},
        "queuedCounts": counts["queued"],
        "trainingCounts": counts["running"],
        "errorCounts": counts["failed"],
        "trainedCount": records,
    }


def failure_item(failure: Failure) -> dict[str, Any]:
    job, problem = failure.job, failure.problem
    return {
        "_id": failure.id,
        "datasetId": job.dataset_id,
        "collectionId": job.report.collection_id,
        "mode": _stage(job),
        "chunkIndex": problem.line if problem else 0,
        "errorMsg": failure.reason,
        "q": "",
        "a": "",
    }


def _stage(job: Job) -> str:
    return "qa" if job.settings.reading.is_qa else "chunk"
