"""Jobs in the background of a server: a few at a time, those of one collection one after another.

What was queued or running when the process ended goes on when the next one begins.
"""

import logging
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ingest.imports import run_job
from ingest.jobs import ImportReport, Job, Jobs, State
from ingest.leftovers import remove_job, remove_old_jobs, remove_upload
from retrieval.completion import Completion
from retrieval.errors import QuotebaseError
from retrieval.library import Library

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Jobs. They take turns at the model batch by batch, so that a short one does not wait for a long one."""


@dataclass(eq=False, slots=True)
class _Task:
    """A job that was submitted. ``outcome`` is set once it is over, or left for the next start."""

    job: Job
    outcome: "Future[ImportReport]" = field(default_factory=Future)
    cancelled: threading.Event = field(default_factory=threading.Event)
    is_running: bool = False
    is_interrupted: bool = False
    is_forgotten: bool = False

    @property
    def place(self) -> str:
        """Tasks of one place wait for each other."""
        return f"{self.job.dataset_id}/{self.job.settings.collection}"


class JobRunner:
    """Runs the jobs of a library. Safe to use from several threads.

    Args:
        completion: the backend that q/a pairs are made by.
    """

    def __init__(self, library: Library, completion: Completion | None = None) -> None:
        self._library = library
        self._completion = completion
        self._jobs = Jobs(library.store)
        self._pool = ThreadPoolExecutor(AT_ONCE, "import")
        self._lock = threading.Lock()
        self._tasks: dict[str, _Task] = {}
        """By the ids of their jobs."""
        self._queues: dict[str, deque[_Task]] = {}
        """By their places; the first of each is running, or about to."""
        self._is_closing = False

    def resume(self) -> int:
        """Go on with all jobs that are not over; how many there are. Old ones are removed."""
        remove_old_jobs(self._library)
        waiting = [job for job in self._jobs.list() if not job.is_over]
        for job in waiting:
            logger.info("going on with the import of %s", job.settings.file)
            self.submit(job)
        return len(waiting)

    def submit(self, job: Job) -> "Future[ImportReport]":
        """What becomes of a job, which is run unless it is over or running already."""
        with self._lock:
            task = self._tasks.get(job.id)
            # It may have ended since the caller looked.
            return task.outcome if task else self._enqueue(self._jobs.get(job.id))

    def cancel(self, job_id: str) -> Job:
        """End a job that waits at once, one that runs after the batch in hand. Raises JobNotFound."""
        with self._lock:
            job, task = self._jobs.get(job_id), self._tasks.get(job_id)
            if task is None or not task.is_running:
                return self._drop(job, task)
        task.cancelled.set()
        wait([task.outcome])
        return self._jobs.get(job_id)

    def forget(self, dataset_id: str, collection_id: str | None = None) -> None:
        """End the imports into a dataset, or one collection of it, and remove all that is left of them.

        What runs is ended after the batch in hand, and removed then; nobody waits for it here.
        """
        with self._lock:
            jobs = self._jobs.list(dataset_id)
            left = [job for job in jobs if collection_id in (None, job.report.collection_id)]
            for job in left:
                task = self._tasks.get(job.id)
                if task is None or not task.is_running:
                    self._drop(job, task)
                else:
                    task.is_forgotten = True
                    task.cancelled.set()
        for job in left:
            remove_job(self._library, job.id)

    def counts(self) -> "dict[State, int]":
        """Jobs of this process that are queued, and that are running."""
        with self._lock:
            running = sum(task.is_running for task in self._tasks.values())
            return {"queued": len(self._tasks) - running, "running": running}

    def interrupt(self) -> None:
        """End what is running after the batch in hand, to go on at the next start; nothing more begins."""
        with self._lock:
            if self._is_closing:
                return
            self._is_closing = True
            for task in self._tasks.values():
                if task.is_running:
                    task.is_interrupted = not task.cancelled.is_set()
                    task.cancelled.set()
                else:
                    task.outcome.set_result(task.job.report)

    def close(self) -> None:
        """Interrupt what is running, and wait until it has stopped."""
        self.interrupt()
        self._pool.shutdown(cancel_futures=True)

    def _enqueue(self, job: Job) -> "Future[ImportReport]":
        task = _Task(job)
        if job.is_over or self._is_closing:
            task.outcome.set_result(job.report)
            return task.outcome
        self._tasks[job.id] = task
        queue = self._queues.setdefault(task.place, deque())
        queue.append(task)
        if len(queue) == 1:
            self._pool.submit(self._work, queue)
        return task.outcome

    def _drop(self, job: Job, task: _Task | None) -> Job:
        """Cancel a job that does not run."""
        if not job.is_over:
            job = self._save(job, "cancelled")
            remove_upload(job)
        if task:
            del self._tasks[job.id]
            task.outcome.set_result(job.report)
        return job

    def _save(self, job: Job, state: State) -> Job:
        return self._jobs.save(replace(job, report=replace(job.report, state=state)))

    # In the threads of the pool

    def _work(self, queue: deque[_Task]) -> None:
        """Run the first task of a place; the others wait for their turn behind those of other places."""
        task = queue[0]
        with self._lock:
            task.is_running = not task.outcome.done()
        if task.is_running:
            self._run(task)
        with self._lock:
            queue.popleft()
            if not queue:
                del self._queues[task.place]
            elif not self._is_closing:
                self._pool.submit(self._work, queue)

    def _run(self, task: _Task) -> None:
        job = task.job
        try:
            report = run_job(self._library, job, cancelled=task.cancelled, completion=self._completion)
            if report.state == "cancelled" and task.is_interrupted:
                report = self._save(self._jobs.get(job.id), "queued").report
        except Exception as error:
            if isinstance(error, QuotebaseError):
                logger.warning("the import of %s failed: %s", job.settings.file, error)
            else:
                logger.exception("the import of %s failed", job.settings.file)
            self._leave(task)
            task.outcome.set_exception(error)
        else:
            self._leave(task)
            task.outcome.set_result(report)

    def _leave(self, task: _Task) -> None:
        """The job is over, or to be gone on with at the next start; or it was queued again meanwhile."""
        with self._lock, suppress(QuotebaseError):
            del self._tasks[task.job.id]
            job = self._jobs.get(task.job.id)
            if job.is_over or job.path != task.job.path:
                remove_upload(task.job)
            if job.state == "queued" and job != task.job:
                self._enqueue(job)
        if task.is_forgotten:
            remove_job(self._library, task.job.id)
