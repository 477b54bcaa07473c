"""Keys, for admins: ``/api/support/openapi/…``."""

from typing import Any

from fastapi import APIRouter

from api.auth import AdminKey, ServiceOf
from api.schemas import envelope
from api.schemas.keys import KeyCreate, key_item

router = APIRouter(prefix="/api/support/openapi", tags=["keys"])

Envelope = dict[str, Any]


@router.post("/create")
def create_key(body: KeyCreate, service: ServiceOf, _: AdminKey) -> Envelope:
    """A key; ``key`` is what to send, and is shown this once."""
    body.check()
    if body.app_id:
        service.apps.get(body.app_id)
    for dataset_id in body.dataset_ids or ():
        service.library.store.get_dataset(dataset_id)
    key, secret = service.keys.create(**body.options())
    return envelope({**key_item(key, {}), "key": secret})


@router.get("/list")
def list_keys(service: ServiceOf, _: AdminKey) -> Envelope:
    """All keys, oldest first, without what to send: only its hash is known."""
    last_uses = service.keys.uses.last()
    return envelope([key_item(key, last_uses) for key in service.keys.list()])


@router.delete("/delete")
def revoke_key(id: str, service: ServiceOf, _: AdminKey) -> Envelope:
    """From now on the key opens nothing."""
    service.keys.revoke(id)
    return envelope(None)
