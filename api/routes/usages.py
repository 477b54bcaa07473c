"""What was pushed under a bill: ``/api/support/wallet/usage/…``."""

from typing import Any

from fastapi import APIRouter

from api.auth import ServiceOf, WriteKey, require_dataset
from api.schemas import Wire, envelope, to_wire
from api.usages import Usages

router = APIRouter(prefix="/api/support/wallet/usage", tags=["usage"])

Envelope = dict[str, Any]


class UsageCreate(Wire):
    dataset_id: str = ""
    name: str = ""


@router.post("/createTrainingUsage")
def create_usage(body: UsageCreate, service: ServiceOf, key: WriteKey) -> Envelope:
    """A bill for pushes to come; its id is their ``billId``."""
    if body.dataset_id:
        require_dataset(key, body.dataset_id)
        service.library.store.get_dataset(body.dataset_id)
    return envelope(Usages(service.library.store).create(body.name, body.dataset_id).id)


@router.get("/detail")
def usage_detail(id: str, service: ServiceOf, key: WriteKey) -> Envelope:
    """Records and tokens that were pushed under a bill so far."""
    usage = Usages(service.library.store).get(id)
    if usage.dataset_id:
        require_dataset(key, usage.dataset_id)
    return envelope(to_wire(usage))
