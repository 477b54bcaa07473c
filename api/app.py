"""The HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

from api import errors
from api.mcp_server import McpDoor, running_door
from api.routes import (
    calibration,
    chat,
    collections,
    datasets,
    dify,
    health,
    indexes,
    jobs,
    keys,
    records,
    training,
    training_models,
    usages,
)
from api.wiring import Service


def create_app(service: Service) -> FastAPI:
    """The application over an open service; whoever opened it closes it.

    The command line and the tests open services of their own, so opening is not done here.
    """
    app = FastAPI(
        title="quotebase", summary="Knowledge-base retrieval over FastGPT's HTTP API", lifespan=_open_mcp
    )
    app.state.service = service
    errors.install(app)
    for routes in (
        chat,
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
        health,
    ):
        app.include_router(routes.router)
    app.router.routes.append(Route("/mcp", McpDoor(), methods=["POST"]))
    return app


@asynccontextmanager
async def _open_mcp(app: FastAPI) -> AsyncIterator[None]:
    async with running_door(app.state.service) as app.state.mcp:
        yield
