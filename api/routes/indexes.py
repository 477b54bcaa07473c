"""The indexes of datasets: where they stand, comparing them with the store, making them again."""

from typing import Any

from fastapi import APIRouter

from api.auth import AdminKey, SearchKey, ServiceOf, WriteKey, require_dataset
from api.schemas import Wire, envelope, to_wire

router = APIRouter(prefix="/api/core/dataset/index", tags=["indexes"])

Envelope = dict[str, Any]


class IndexRebuild(Wire):
    id: str


@router.get("/status")
def index_status(id: str, service: ServiceOf, key: SearchKey) -> Envelope:
    """Passages in the sealed and in the flat part, bytes, and how far a fold or rebuild is."""
    require_dataset(key, id)
    status = service.library.index_status(id)
    return envelope({"records": service.library.store.count_records(id), **to_wire(status)})


@router.post("/rebuild")
def rebuild_index(body: IndexRebuild, service: ServiceOf, key: WriteKey) -> Envelope:
    """Make the index again from the store; replies when it is in use, searches go on meanwhile."""
    require_dataset(key, body.id)
    return envelope(to_wire(service.library.rebuild(body.id)))


@router.post("/verify")
def verify_indexes(service: ServiceOf, _: AdminKey) -> Envelope:
    """Compare all indexes with the store; those that differ are told and made again."""
    report = service.library.verify()
    return envelope(
        {
            "clean": report.is_clean,
            **to_wire(report),
            "differences": {name: to_wire(found) for name, found in report.differences.items()},
            "textDifferences": {name: to_wire(found) for name, found in report.text_differences.items()},
        }
    )
