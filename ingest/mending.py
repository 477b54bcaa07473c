"""What went wrong in imports that are over, and putting it right: a row by its mended text, a job by doing it again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ingest.jobs import QUEUING, ImportReport, Job, Jobs
from ingest.mapping import RowProblem
from retrieval.errors import InvalidRequest, JobNotFound
from retrieval.library import Library
from retrieval.types import Collection, RecordDraft


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that was rejected, or, without a problem, a job that failed as a whole."""

    job: Job
    problem: RowProblem | None = None

    @property
    def id(self) -> str:
        return f"{self.job.id}-{self.problem.line}" if self.problem else self.job.id

    @property
    def reason(self) -> str:
        if self.problem is None:
            return self.job.report.error
        column = f"{self.problem.column}: " if self.problem.column else ""
        return f"line {self.problem.line}: {column}{self.problem.reason}"


def failures_of(jobs: Sequence[Job]) -> list[Failure]:
    """Jobs that failed, and rejected rows of all, the first thousand of each job; oldest first."""
    return [
        failure
        for job in jobs
        for failure in (
            *([Failure(job)] if job.state == "failed" else []),
            *(Failure(job, problem) for problem in job.report.problems),
        )
    ]


def find_failure(jobs: Sequence[Job], id_: str) -> Failure:
    """Raises JobNotFound."""
    for failure in failures_of(jobs):
        if failure.id == id_:
            return failure
    raise JobNotFound(f"nothing went wrong that has the id {id_!r}: getTrainingError lists what did")


def mend_row(library: Library, collection: Collection, failure: Failure, draft: RecordDraft) -> None:
    """Add the mended row; from then on it counts as added, or as unchanged if it was there.

    Raises:
        InvalidRequest: it is a whole job that failed.
        EmbedderUnavailable, StoreUnavailable: it stays as it was.
    """
    if failure.problem is None:
        raise InvalidRequest(
            f"the import of {failure.job.settings.file} failed as a whole: leave q and a out"
        )
    result = library.add_records(collection, [draft])
    with QUEUING:
        job = Jobs(library.store).get(failure.job.id)
        if failure.problem in job.report.problems:
            Jobs(library.store).save(replace(job, report=_without(job, failure.problem, len(result.added))))


def queue_again(library: Library, job: Job) -> Job:
    """A job that failed or was cancelled, to be gone on with. Raises InvalidRequest if its file is gone."""
    if not Path(job.path).exists():
        raise InvalidRequest(
            f"the file {Path(job.settings.file).name} is not here any more: upload it again", "dataId"
        )
    with QUEUING:
        return Jobs(library.store).save(replace(job, report=replace(job.report, state="queued", error="")))


def _without(job: Job, problem: RowProblem, added: int) -> ImportReport:
    report = job.report
    return replace(
        report,
        rejected=report.rejected - 1,
        added=report.added + added,
        unchanged=report.unchanged + 1 - added,
        problems=tuple(one for one in report.problems if one != problem),
    )
