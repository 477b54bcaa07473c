"""The HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp

from api import docs, errors
from api.limits import JSON_LIMIT, BodyLimit
from api.mcp_server import McpDoor, running_door
from api.openapi import complete
from api.request_ids import RequestIds
from api.request_log import RequestLog
from api.routes import (
    apps,
    calibration,
    chat,
    collections,
    datasets,
    dify,
    health,
    history,
    indexes,
    jobs,
    keys,
    models,
    operations,
    records,
    training,
    training_models,
    usages,
)
from api.wiring import Service


class Application(FastAPI):
    """With request ids and a watch on every request, also on those that end in an error nobody foresaw."""

    def build_middleware_stack(self) -> ASGIApp:
        service: Service = self.state.service
        # Middlewares that are added come within the one that answers 500, whose replies are to have an id too.
        return RequestIds(RequestLog(super().build_middleware_stack(), service.metrics))

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = complete(super().openapi())
        return self.openapi_schema


def create_app(service: Service) -> FastAPI:
    """The application over an open service; whoever opened it closes it.

    The command line and the tests open services of their own, so opening is not done here.
    """
    app = Application(
        title="quotebase",
        summary="Knowledge-base retrieval over FastGPT's HTTP API",
        docs_url=None,
        redoc_url=None,
        lifespan=_running,
    )
    app.state.service = service
    errors.install(app)
    app.add_middleware(
        BodyLimit, limit_of=lambda path: service.upload_limit if path in jobs.UPLOAD_PATHS else JSON_LIMIT
    )
    for routes in (
        chat,
        models,
        history,
        apps,
        datasets,
        collections,
        records,
        training,
        training_models,
        usages,
        indexes,
        jobs,
        calibration,
        keys,
        dify,
        operations,
        health,
    ):
        app.include_router(routes.router)
    app.router.routes.append(Route("/mcp", McpDoor(), methods=["POST"]))
    docs.install(app)
    return app


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    async with running_door(app.state.service) as app.state.mcp:
        yield
    await app.state.service.backends.aclose()
