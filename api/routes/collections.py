"""Collections and their folders: ``/api/core/dataset/collection/…``."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter

from api.auth import SearchKey, ServiceOf, WriteKey, require_dataset
from api.keys import Key
from api.schemas import envelope
from api.schemas.collections import (
    EXTERNAL_ID,
    RAW_LINK,
    CollectionCreate,
    CollectionDelete,
    CollectionList,
    CollectionRead,
    CollectionUpdate,
    collection_detail,
    collection_item,
    ids_to_delete,
)
from api.schemas.paging import page_of
from api.wiring import Service
from ingest.jobs import Job, Jobs
from retrieval.errors import CollectionNotFound
from retrieval.store import Store
from retrieval.types import Collection

router = APIRouter(prefix="/api/core/dataset/collection", tags=["collections"])

Envelope = dict[str, Any]


@router.post("/create")
def create_collection(body: CollectionCreate, service: ServiceOf, key: WriteKey) -> Envelope:
    """An empty collection, or a folder for some; its id."""
    require_dataset(key, body.dataset_id)
    collection = service.library.store.create_collection(
        body.dataset_id,
        body.name,
        body.tags,
        parent_id=body.parent_id,
        kind=body.type,
        metadata=body.kept,
    )
    return envelope(collection.id)


@router.post("/list")
@router.post("/listV2")
def list_collections(body: CollectionList, service: ServiceOf, key: SearchKey) -> Envelope:
    """A page of the collections in a folder, newest first."""
    require_dataset(key, body.dataset_id)
    store = service.library.store
    store.get_dataset(body.dataset_id)
    page = store.page_collections(body.dataset_id, body.place, body.search_text, body.start, body.page_size)
    counts = store.count_records_in([one.id for one in page.items])
    running = _running(store, body.dataset_id)
    items = [collection_item(one, key, counts[one.id], _into(running, one.id)) for one in page.items]
    return envelope(page_of(items, page.total))


@router.get("/detail")
def get_collection(id: str, service: ServiceOf, key: SearchKey) -> Envelope:
    """All that is known of a collection."""
    collection = _opened(service, key, id)
    store = service.library.store
    records = store.count_records_in([id])[id]
    jobs = _into(_running(store, collection.dataset_id), id)
    return envelope(collection_detail(collection, key, records, jobs))


@router.put("/update")
@router.post("/update")
def update_collection(body: CollectionUpdate, service: ServiceOf, key: WriteKey) -> Envelope:
    """Rename, move, tag or forbid a collection; what is forbidden, and in a folder all below it, is not searched."""
    store = service.library.store
    collection_id = body.id or _known_elsewhere(store, body.dataset_id, body.external_file_id).id
    _opened(service, key, collection_id)
    store.update_collection(
        collection_id,
        name=body.name,
        parent_id=body.parent_id,
        tags=body.tags,
        created_at=body.create_time,
    )
    if body.forbid is not None:
        service.library.set_forbid(collection_id, body.forbid)
    return envelope(None)


@router.delete("/delete")
def delete_collections(
    service: ServiceOf, key: WriteKey, id: str = "", body: CollectionDelete | None = None
) -> Envelope:
    """Collections with their records, a folder with all below it: one by ``id``, several by ``collectionIds``."""
    return _delete(service, key, ids_to_delete(id, body))


@router.post("/delete")
def delete_listed_collections(body: CollectionDelete, service: ServiceOf, key: WriteKey) -> Envelope:
    """The same for clients that send no body with DELETE."""
    return _delete(service, key, ids_to_delete("", body))


@router.post("/read")
def read_collection(body: CollectionRead, service: ServiceOf, key: SearchKey) -> Envelope:
    """Where the source of a collection is: the link it was made of; files are not kept, and have none."""
    collection = _opened(service, key, body.collection_id)
    return envelope({"type": "url", "value": collection.metadata.get(RAW_LINK, "")})


def _opened(service: Service, key: Key, collection_id: str) -> Collection:
    """Raises CollectionNotFound, Forbidden."""
    collection = service.library.store.get_collection(collection_id)
    require_dataset(key, collection.dataset_id)
    return collection


def _known_elsewhere(store: Store, dataset_id: str, external_id: str) -> Collection:
    """Raises CollectionNotFound, DatasetNotFound."""
    for collection in store.list_collections(dataset_id):
        if collection.metadata.get(EXTERNAL_ID) == external_id:
            return collection
    raise CollectionNotFound(
        f"no collection of the dataset {dataset_id} has the externalFileId {external_id!r}: give it one when it is made"
    )


def _delete(service: Service, key: Key, ids: Sequence[str]) -> Envelope:
    """All of them have to be there and open to the key before the first one goes."""
    store = service.library.store
    for collection in [_opened(service, key, id_) for id_ in ids]:
        below = store.children_of(collection.id)
        service.library.delete_collection(collection.id)
        for id_ in (collection.id, *below):
            service.runner.forget(collection.dataset_id, id_)
    return envelope(None)


def _running(store: Store, dataset_id: str) -> list[Job]:
    return [job for job in Jobs(store).list(dataset_id) if not job.is_over]


def _into(jobs: Sequence[Job], collection_id: str) -> list[Job]:
    return [job for job in jobs if job.report.collection_id == collection_id]
