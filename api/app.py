"""The HTTP application."""

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from api import docs, errors
from api.access import Access
from api.openapi import complete
from api.request_ids import RequestIds
from api.routes import calibration, chat, datasets, health, indexes, jobs, operations
from api.wiring import Service


class Application(FastAPI):
    """With request ids and a watch on every request, also on those that end in an error nobody foresaw."""

    def build_middleware_stack(self) -> ASGIApp:
        service: Service = self.state.service
        # Middlewares that are added come within the one that answers 500, whose replies are to have an id too.
        return RequestIds(Access(super().build_middleware_stack(), service.metrics))

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
    )
    app.state.service = service
    errors.install(app)
    for routes in (chat, datasets, indexes, jobs, calibration, operations, health):
        app.include_router(routes.router)
    docs.install(app)
    return app
