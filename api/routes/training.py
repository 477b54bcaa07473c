"""How far imports are and what went wrong in them: ``/api/core/dataset/…``."""

from typing import Any

from fastapi import APIRouter

from api.access import opened_collection
from api.auth import SearchKey, ServiceOf, WriteKey, require_dataset
from api.keys import Key
from api.schemas import envelope
from api.schemas.collections import rows_left
from api.schemas.paging import page_of
from api.schemas.training import TrainingErrors, TrainingUpdate, failure_item, training_detail
from api.wiring import Service
from ingest.jobs import Job, Jobs
from ingest.mending import failures_of, find_failure, mend_row, queue_again
from retrieval.rebuilds import rebuild_state
from retrieval.types import Collection, RecordDraft

router = APIRouter(prefix="/api/core/dataset", tags=["training"])

Envelope = dict[str, Any]


@router.get("/collection/trainingDetail")
def get_training_detail(collectionId: str, service: ServiceOf, key: SearchKey) -> Envelope:  # noqa: N803 - the wire's name
    """Rows of imports into a collection by stage."""
    collection, jobs = _imports(service, key, collectionId)
    records = service.library.store.count_records_in([collection.id])[collection.id]
    return envelope(training_detail(jobs, records))


@router.get("/training/getDatasetTrainingQueue")
def get_training_queue(datasetId: str, service: ServiceOf, key: SearchKey) -> Envelope:  # noqa: N803
    """Rows that imports into a dataset have yet to do, and passages that another model has yet to read."""
    require_dataset(key, datasetId)
    store = service.library.store
    jobs = [job for job in Jobs(store).list(store.get_dataset(datasetId).id) if not job.is_over]
    left = rebuild_state(service.library, datasetId).left
    return envelope({"rebuildingCount": left, "trainingCount": sum(map(rows_left, jobs))})


@router.post("/training/getTrainingError")
def get_training_errors(body: TrainingErrors, service: ServiceOf, key: SearchKey) -> Envelope:
    """Rows that were rejected and imports that failed, oldest first."""
    _, jobs = _imports(service, key, body.collection_id)
    failures = failures_of(jobs)
    page = failures[body.start : body.start + body.page_size]
    return envelope(page_of([failure_item(one) for one in page], len(failures)))


@router.put("/training/updateTrainingData")
def update_training_data(body: TrainingUpdate, service: ServiceOf, key: WriteKey) -> Envelope:
    """Add a mended row, or do failed imports again."""
    collection, jobs = _imports(service, key, body.collection_id)
    if body.data_id and body.q.strip():
        failure = find_failure(jobs, body.data_id)
        mend_row(
            service.library, collection, failure, RecordDraft(body.q, body.a, chunk_index=body.chunk_index)
        )
        return envelope({})
    chosen = [find_failure(jobs, body.data_id).job] if body.data_id else jobs
    for job in chosen:
        if job.state in ("failed", "cancelled"):
            service.runner.submit(queue_again(service.library, job))
    return envelope({})


def _imports(service: Service, key: Key, collection_id: str) -> tuple[Collection, list[Job]]:
    """A collection and the jobs that import into it. Raises CollectionNotFound, Forbidden."""
    store = service.library.store
    collection = opened_collection(store, key, collection_id)
    jobs = Jobs(store).list(collection.dataset_id)
    return collection, [job for job in jobs if job.report.collection_id == collection_id]
