"""How far a job is: counted batch by batch, noted in the store, told to whoever looks on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ingest.jobs import MOST_PROBLEMS, ImportReport, Job, Jobs, State, digest_of
from ingest.mapping import RowProblem
from ingest.rejects import Rejects
from ingest.sources import Format, Item, Source
from retrieval.types import AddResult, Collection

NOTED_S = 1.0
"""How often a job is noted while nothing changes but the count of what is known."""

ReportProgress = Callable[[ImportReport], None]
"""Called after each batch with the report so far."""


class Progress:
    """A job on its way. ``job`` is how it stands, which may be somewhat more than is noted."""

    def __init__(self, jobs: Jobs, job: Job, on_progress: ReportProgress | None) -> None:
        self.job = job
        self._jobs = jobs
        self._on_progress = on_progress
        self._started = time.perf_counter() - job.report.seconds
        self._noted = 0.0

    def begin(self, collection: Collection, read_as: Format) -> None:
        """From the beginning, unless the rows that are done are where they were put."""
        goes_on = self._goes_on(collection)
        if not goes_on or self.job.settings.mode == "replace":
            report = self.job.report
            fresh = ImportReport(
                report.file,
                report.dataset,
                collection.name,
                collection.id,
                self.job.id,
                embedded=report.embedded if goes_on else 0,
            )
            self.job = replace(self.job, report=fresh, position=0, rejects_bytes=0)
            self._started = time.perf_counter()
        self._note(
            state="running",
            kind=read_as.kind,
            encoding=read_as.encoding,
            delimiter=read_as.delimiter,
            ignored=read_as.ignored,
            error="",
        )

    def _goes_on(self, collection: Collection) -> bool:
        """Whether the collection and the files are those of the attempt before."""
        job = self.job
        if collection.id != job.report.collection_id:
            return False
        return (
            job.is_upload or digest_of(*map(Path, filter(None, (job.path, job.vectors_path)))) == job.digest
        )

    def count(self, items: Sequence[Item], result: AddResult, source: Source, rejects: Rejects) -> None:
        """Items that are done, and what became of them."""
        report = self.job.report
        problems = [item.outcome for item in items if isinstance(item.outcome, RowProblem)]
        if problems:
            rejects.write(items)
        report = replace(
            report,
            read=report.read + len(items),
            added=report.added + len(result.added),
            updated=report.updated + len(result.updated),
            unchanged=report.unchanged + result.unchanged,
            rejected=report.rejected + len(problems),
            removed=report.removed + result.removed,
            embedded=report.embedded + result.embedded,
            problems=(*report.problems, *problems)[:MOST_PROBLEMS],
            blank=source.blank(),
            replaced=source.replaced(),
            share=source.share_read(),
        )
        self.job = replace(
            self.job, report=report, position=self.job.position + len(items), rejects_bytes=rejects.size
        )
        is_news = result.added or result.updated or result.embedded
        if is_news or time.perf_counter() - self._noted > NOTED_S:
            self._note()

    def end(self, state: State, error: str = "", code: str = "") -> None:
        self.job = replace(self.job, error_code=code)
        self._note(state=state, error=error)

    def _note(self, **changes: object) -> None:
        """Keep the report, with changes, in the store."""
        seconds = time.perf_counter() - self._started
        report = replace(self.job.report, seconds=seconds, **changes)  # type: ignore[arg-type]
        self.job = self._jobs.save(replace(self.job, report=report))
        self._noted = time.perf_counter()
        if self._on_progress:
            self._on_progress(report)
