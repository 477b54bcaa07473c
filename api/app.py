"""The HTTP application."""

from fastapi import FastAPI

from api import errors
from api.routes import calibration, chat, datasets, health, indexes, jobs, training_models
from api.wiring import Service


def create_app(service: Service) -> FastAPI:
    """The application over an open service; whoever opened it closes it.

    The command line and the tests open services of their own, so opening is not done here.
    """
    app = FastAPI(title="quotebase", summary="Knowledge-base retrieval over FastGPT's HTTP API")
    app.state.service = service
    errors.install(app)
    for routes in (chat, datasets, indexes, jobs, calibration, training_models, health):
        app.include_router(routes.router)
    return app
