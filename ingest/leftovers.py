"""What imports leave behind, and when it goes: jobs, and what is kept to go on with them or to mend their rows."""

import logging
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from ingest.jobs import QUEUING, Job, Jobs
from ingest.pairs import pairs_path
from ingest.rejects import rejects_path
from ingest.staging import Staged
from retrieval.library import Library
from retrieval.store import Store
from retrieval.types import now

logger = logging.getLogger(__name__)

KEPT = timedelta(days=30)
"""How long a job is kept after its end."""

MOST_KEPT = 1000
"""Jobs that are kept so long, the newest; of the others it is SHORTLY_KEPT."""

SHORTLY_KEPT = timedelta(days=1)
"""However many there are: whoever has imported a folder of files still wants to see the rejected rows."""

LOOKED_EVERY = timedelta(hours=1)

KIND = "upkeep"
"""Of the document that says when it was looked last."""


def remove_old_jobs(library: Library) -> None:
    """Remove the jobs that are over and whose dataset is gone, or that are over for too long.

    Does nothing more than once an hour. One that is removed is forgotten: the same import begins anew,
    and finds what it has stored unchanged.
    """
    if not _is_due(library.store):
        return
    for job in _old_jobs(library.store):
        remove_job(library, job.id)


def remove_job(library: Library, job_id: str) -> None:
    """With its rejected rows, its pairs, its staged embeddings and its upload, unless it was queued again.

    Where a file cannot be deleted the job stays, to be removed another time.
    """
    jobs = Jobs(library.store)
    with QUEUING:
        job = jobs.find(job_id)
        if job and job.is_over:
            try:
                _remove(library, job)
            except OSError as error:
                logger.warning("what the import of %s left cannot be removed: %s", job.settings.file, error)


def _remove(library: Library, job: Job) -> None:
    """The job last: cut off before, it is found again."""
    remove_upload(job)
    rejects_path(library, job.id).unlink(missing_ok=True)
    pairs_path(library, job.id).unlink(missing_ok=True)
    Staged(library.store, job.id).clear()
    Jobs(library.store).delete(job.id)


def remove_upload(job: Job) -> None:
    """An uploaded file, and its folder, are the job's own."""
    if job.is_upload:
        shutil.rmtree(Path(job.path).parent, ignore_errors=True)


def _is_due(store: Store) -> bool:
    """Whether it is time to look, which is noted as done."""
    moment = now()
    last = store.find_document(KIND, KIND)
    # Not "since": a clock that was wrong for a while must not end all looking.
    if last and abs(moment - datetime.fromisoformat(str(last.body["at"]))) < LOOKED_EVERY:
        return False
    store.put_document(KIND, KIND, {"at": moment.isoformat()})
    return True


def _old_jobs(store: Store) -> Iterator[Job]:
    over = sorted((job for job in Jobs(store).list() if job.is_over), key=lambda job: job.updated_at)
    datasets = {dataset.id for dataset in store.list_datasets()}
    for place, job in enumerate(reversed(over)):
        kept = KEPT if place < MOST_KEPT else SHORTLY_KEPT
        if job.updated_at < now() - kept or job.dataset_id not in datasets:
            yield job
