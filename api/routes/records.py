"""Single records: ``/api/core/dataset/data/…``."""

from typing import Any

from fastapi import APIRouter

from api.auth import SearchKey, ServiceOf, require_dataset
from api.schemas import envelope
from api.schemas.records import record_detail

router = APIRouter(prefix="/api/core/dataset/data", tags=["datasets"])


@router.get("/detail")
def get_record(id: str, service: ServiceOf, key: SearchKey) -> dict[str, Any]:
    """A record with the texts that it is found by."""
    detail = record_detail(service.library.store, id)
    require_dataset(key, detail["datasetId"])
    return envelope(detail)
