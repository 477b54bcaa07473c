"""Datasets, collections and records: ``/api/core/dataset/…``."""

from typing import Any

from fastapi import APIRouter

from api.auth import DatasetKey, SearchKey, ServiceOf, WriteKey, require_all_datasets, require_dataset
from api.schemas import envelope
from api.schemas.datasets import (
    MAX_PUSH,
    CollectionCreate,
    DatasetCreate,
    DatasetList,
    PushData,
    dataset_item,
)
from api.schemas.search import SearchTest, search_reply
from retrieval.errors import InvalidRequest

router = APIRouter(prefix="/api/core/dataset", tags=["datasets"])

Envelope = dict[str, Any]


@router.get("/list")
@router.post("/list")
def list_datasets(service: ServiceOf, key: DatasetKey, body: DatasetList | None = None) -> Envelope:
    """The datasets that the key opens."""
    wanted = body.search_key.lower() if body else ""
    datasets = service.library.store.list_datasets()
    return envelope(
        [
            dataset_item(dataset)
            for dataset in datasets
            if key.may_use(dataset.id) and wanted in dataset.name.lower()
        ]
    )


@router.post("/create")
def create_dataset(body: DatasetCreate, service: ServiceOf, key: WriteKey) -> Envelope:
    """A dataset bound to ``vectorModel`` if the process runs that one, else to its primary model; its id."""
    require_all_datasets(key)
    library = service.library
    # Clients send the names of models that they know from elsewhere.
    model = body.vector_model if body.vector_model in library.models.names else ""
    return envelope(library.create_dataset(body.name, body.intro, model).id)


@router.get("/detail")
def dataset_detail(id: str, service: ServiceOf, key: SearchKey) -> Envelope:
    require_dataset(key, id)
    dataset = service.library.store.get_dataset(id)
    return envelope({**dataset_item(dataset), "dataAmount": service.library.store.count_records(id)})


@router.delete("/delete")
def delete_dataset(id: str, service: ServiceOf, key: WriteKey) -> Envelope:
    """With everything in it."""
    require_dataset(key, id)
    service.library.delete_dataset(id)
    service.runner.forget(id)
    return envelope(None)


@router.post("/collection/create")
def create_collection(body: CollectionCreate, service: ServiceOf, key: WriteKey) -> Envelope:
    """An empty collection; its id."""
    require_dataset(key, body.dataset_id)
    return envelope(service.library.store.create_collection(body.dataset_id, body.name, body.tags).id)


@router.delete("/collection/delete")
def delete_collection(id: str, service: ServiceOf, key: WriteKey) -> Envelope:
    """With its records."""
    dataset_id = service.library.store.get_collection(id).dataset_id
    require_dataset(key, dataset_id)
    service.library.delete_collection(id)
    service.runner.forget(dataset_id, id)
    return envelope(None)


@router.post("/data/pushData")
def push_data(body: PushData, service: ServiceOf, key: WriteKey) -> Envelope:
    """Add up to 200 records to a collection; replies when they are searchable."""
    if len(body.data) > MAX_PUSH:
        raise InvalidRequest(f"data has {len(body.data)} items, at most {MAX_PUSH} go in one request", "data")
    collection = service.library.store.get_collection(body.collection_id)
    require_dataset(key, collection.dataset_id)
    errors = [
        {"index": place, "error": "q is empty"} for place, item in enumerate(body.data) if not item.q.strip()
    ]
    drafts = [item.to_draft() for item in body.data if item.q.strip()]
    result = service.library.add_records(collection, drafts)
    return envelope(
        {
            "insertLen": len(result.added),
            "overToken": [],
            "repeat": [],
            "error": errors,
            "unchanged": result.unchanged,
        }
    )


@router.post("/searchTest")
def search_test(body: SearchTest, service: ServiceOf, key: SearchKey) -> Envelope:
    """Scored quotes for a text."""
    request = body.to_request()
    for dataset_id in request.dataset_ids:
        require_dataset(key, dataset_id)
    return envelope(search_reply(service.library.search(request)))
