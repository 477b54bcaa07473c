"""For those who run the server: whether it can answer, and what it does."""

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import JSONResponse, Response

from api.auth import MetricsKey, ServiceOf
from api.schemas.operations import ReadyReply, ready_reply

router = APIRouter(tags=["operations"])


@router.get(
    "/ready",
    response_model=ReadyReply,
    responses={503: {"model": ReadyReply, "description": "Something is not ready; `checks` say what."}},
)
def ready(service: ServiceOf) -> JSONResponse:
    """Whether searches can be answered: the store, the model and the indexes; needs no key."""
    reply = ready_reply(service.readiness.look())
    return JSONResponse(reply.model_dump(), 200 if reply.status == "ok" else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(service: ServiceOf, _: MetricsKey, accept: Annotated[str, Header()] = "") -> Response:
    """Counts and times in the form of Prometheus; takes an admin key unless the settings leave it open."""
    text, media_type = service.metrics.write(accept)
    return Response(text, media_type=media_type)
