"""Whether the service is alive."""

from typing import Any

from fastapi import APIRouter, Request

from api.auth import ServiceOf, find_key
from api.schemas import envelope

router = APIRouter(tags=["operations"])


@router.get("/api/support/openapi/health")
def key_health(service: ServiceOf, request: Request, apiKey: str) -> dict[str, Any]:  # noqa: N803 - the wire's name
    """Whether a key is known."""
    is_known = find_key(service, request, apiKey) is not None
    return envelope({"valid": is_known, "available": is_known})


@router.get("/health")
def health() -> dict[str, str]:
    """Alive; needs no key."""
    return {"status": "ok"}
