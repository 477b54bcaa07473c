"""Whether the service is alive."""

from typing import Any

from fastapi import APIRouter

from api.auth import ServiceOf
from api.schemas import envelope

router = APIRouter(tags=["operations"])


@router.get("/api/support/openapi/health")
def key_health(service: ServiceOf, apiKey: str) -> dict[str, Any]:  # noqa: N803 - the wire's name
    """Whether a key is known."""
    is_known = service.keys.find(apiKey) is not None
    return envelope({"valid": is_known, "available": is_known})


@router.get("/health")
def health() -> dict[str, str]:
    """Alive; needs no key."""
    return {"status": "ok"}
