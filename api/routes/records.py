"""Records of collections: ``/api/core/dataset/data/…``."""

from typing import Any

from fastapi import APIRouter

from api.access import opened_collection
from api.auth import SearchKey, ServiceOf, WriteKey, require_dataset
from api.schemas import envelope
from api.schemas.paging import page_of
from api.schemas.records import (
    MAX_PUSH,
    DataItem,
    DataList,
    DataUpdate,
    InsertData,
    PushData,
    record_detail,
    record_item,
)
from api.usages import Usages
from api.wiring import Service
from ingest.qa_split import FailedChunk, split_into_pairs
from retrieval.errors import InvalidRequest
from retrieval.types import RecordDraft

router = APIRouter(prefix="/api/core/dataset/data", tags=["records"])

Envelope = dict[str, Any]


@router.post("/pushData")
def push_data(body: PushData, service: ServiceOf, key: WriteKey) -> Envelope:
    """Add up to 200 records to a collection; replies when they are searchable.

    With ``trainingType`` ``qa`` the completion backend makes q/a pairs of the texts in ``q`` first.
    """
    if len(body.data) > MAX_PUSH:
        raise InvalidRequest(f"data has {len(body.data)} items, at most {MAX_PUSH} go in one request", "data")
    collection = opened_collection(service.library.store, key, body.collection_id)
    drafts, errors = _pairs(service, body) if body.training_type == "qa" else _drafts(body.data)
    result = service.library.add_records(collection, drafts)
    Usages(service.library.store).add(body.bill_id, len(result.added), drafts)
    return envelope(
        {
            "insertLen": len(result.added),
            "overToken": [],
            "repeat": [],
            "error": errors,
            "unchanged": result.unchanged,
        }
    )


@router.post("/insertData")
def insert_data(body: InsertData, service: ServiceOf, key: WriteKey) -> Envelope:
    """Add one record; its id."""
    collection = opened_collection(service.library.store, key, body.collection_id)
    _require_question(body)
    draft = body.to_draft()
    result = service.library.add_records(collection, [draft])
    if not result.added:
        known = service.library.store.find_record(collection.id, draft.content_hash)
        which = f": it is {known.id}" if known else ""
        raise InvalidRequest(f"the collection has this very record already{which}", "q")
    return envelope(result.added[0])


@router.post("/list")
@router.post("/v2/list")
def list_data(body: DataList, service: ServiceOf, key: SearchKey) -> Envelope:
    """A page of the records of a collection, oldest first; with ``searchText`` those that have it in q or a."""
    collection = opened_collection(service.library.store, key, body.collection_id)
    page = service.library.store.page_records(collection.id, body.search_text, body.start, body.page_size)
    return envelope(page_of([record_item(record) for record in page.items], page.total))


@router.get("/detail")
def get_record(id: str, service: ServiceOf, key: SearchKey) -> Envelope:
    """A record with the texts that it is found by."""
    detail = record_detail(service.library.store, id)
    require_dataset(key, detail["datasetId"])
    return envelope(detail)


@router.put("/update")
@router.post("/update")
def update_data(body: DataUpdate, service: ServiceOf, key: WriteKey) -> Envelope:
    """Change a record, which keeps its id; only texts that changed are embedded."""
    record = service.library.store.get_record(body.data_id)
    require_dataset(key, record.dataset_id)
    if body.q is not None and not body.q.strip():
        raise InvalidRequest("q is empty: a record needs a question, or leave q out to keep it", "q")
    service.library.update_record(record.id, q=body.q, a=body.a, indexes=body.texts)
    return envelope(None)


@router.delete("/delete")
def delete_data(id: str, service: ServiceOf, key: WriteKey) -> Envelope:
    """Delete a record; no search finds it any more when this replies."""
    record = service.library.store.get_record(id)
    require_dataset(key, record.dataset_id)
    service.library.delete_records(record.dataset_id, [id])
    return envelope("success")


def _require_question(item: DataItem) -> None:
    if not item.q.strip():
        raise InvalidRequest("q is empty: a record needs a question", "q")


def _drafts(items: list[DataItem]) -> tuple[list[RecordDraft], list[dict[str, object]]]:
    """Records, and what is wrong with the other items."""
    errors: list[dict[str, object]] = [
        {"index": place, "error": "q is empty"} for place, item in enumerate(items) if not item.q.strip()
    ]
    return [item.to_draft() for item in items if item.q.strip()], errors


def _pairs(service: Service, body: PushData) -> tuple[list[RecordDraft], list[dict[str, object]]]:
    """The same, of what the completion backend makes of the items."""
    drafts: list[RecordDraft] = []
    asked, errors = _drafts(body.data)
    texts = [draft.text for draft in asked]
    for result in split_into_pairs(texts, service.backends.default, body.prompt or None):
        if isinstance(result, FailedChunk):
            errors.append({"index": result.position, "error": result.reason})
        else:
            place = asked[result.position].chunk_index
            drafts += [RecordDraft(pair.q, pair.a, chunk_index=place) for pair in result.pairs]
    return drafts, errors
