"""How an import becomes a job: the one that there is already, if it is the same import."""

from dataclasses import replace
from pathlib import Path

from ingest.jobs import QUEUING, ImportReport, ImportSettings, Job, Jobs, digest_of, job_id
from ingest.leftovers import remove_old_jobs
from retrieval.errors import UnreadableFile
from retrieval.library import Library
from retrieval.types import Dataset, now


def queue_import(
    library: Library,
    dataset: Dataset,
    path: Path,
    settings: ImportSettings,
    vectors: Path | None = None,
    key: str = "",
    *,
    is_upload: bool = False,
) -> Job:
    """The job of an import: one that there is already if it is not over, or if it has the caller's key.

    A job that has failed or was cancelled is queued again and goes on, if files and settings are the
    same; one that is done begins anew. Old jobs are removed (see :mod:`ingest.leftovers`).

    Args:
        key: the caller's own name for this import; given again it does nothing again, as long as the
            job is kept.
        is_upload: whether the files go when the job ends.

    Raises:
        UnreadableFile: there is no such file.
    """
    remove_old_jobs(library)
    job = _new_job(dataset, path, settings, vectors, key, is_upload)
    jobs = Jobs(library.store)
    with QUEUING:
        found = jobs.find(job.id)
        if found and ((is_upload and not found.is_over) or (found.state == "done" and key)):
            return found
        if found and found.state != "done" and (found.digest, found.settings) == (job.digest, settings):
            job = _going_on(job, found)
        return jobs.save(job)


def _new_job(
    dataset: Dataset, path: Path, settings: ImportSettings, vectors: Path | None, key: str, is_upload: bool
) -> Job:
    try:
        digest = digest_of(*(one for one in (path, vectors) if one))
    except OSError as error:
        name = settings.vectors if vectors and error.filename == str(vectors) else settings.file
        raise UnreadableFile(f"{name} cannot be read: {error.strerror or error}") from error
    moment, id_ = now(), job_id(dataset, settings, digest, key)
    return Job(
        id_,
        dataset.id,
        settings,
        str(path.absolute()),
        str(vectors.absolute()) if vectors else "",
        digest,
        ImportReport(settings.file, dataset.name, settings.collection, job=id_),
        moment,
        moment,
        is_upload,
    )


def _going_on(job: Job, before: Job) -> Job:
    """The job with what was done of it before."""
    return replace(
        job,
        report=replace(before.report, state="queued", error=""),
        created_at=before.created_at,
        position=before.position,
        rejects_bytes=before.rejects_bytes,
    )
