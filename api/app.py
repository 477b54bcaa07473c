"""The HTTP application."""

from fastapi import FastAPI

from api import errors
from api.limits import JSON_LIMIT, BodyLimit
from api.routes import calibration, chat, datasets, health, indexes, jobs
from api.wiring import Service


def create_app(service: Service) -> FastAPI:
    """The application over an open service; whoever opened it closes it.

    The command line and the tests open services of their own, so opening is not done here.
    """
    app = FastAPI(title="quotebase", summary="Knowledge-base retrieval over FastGPT's HTTP API")
    app.state.service = service
    errors.install(app)
    app.add_middleware(
        BodyLimit, limit_of=lambda path: service.upload_limit if path in jobs.UPLOAD_PATHS else JSON_LIMIT
    )
    for routes in (chat, datasets, indexes, jobs, calibration, health):
        app.include_router(routes.router)
    return app
