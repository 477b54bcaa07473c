"""Apps as OpenAI's clients list models: an app key sees its app, an admin key all."""

from fastapi import APIRouter

from api.apps import App
from api.auth import ChatKey, ServiceOf
from api.keys import Key
from api.schemas.models import ModelItem, ModelList, model_item
from api.wiring import Service
from retrieval.errors import AppNotFound

router = APIRouter(tags=["chat"])


@router.get("/v1/models")
@router.get("/api/v1/models")
def list_models(service: ServiceOf, key: ChatKey) -> ModelList:
    """The app of the key, or with an admin key all apps, oldest first."""
    return ModelList(data=[model_item(app) for app in _seen(service, key)])


@router.get("/v1/models/{model:path}")
@router.get("/api/v1/models/{model:path}")
def get_model(model: str, service: ServiceOf, key: ChatKey) -> ModelItem:
    """One of them, by the name of the app."""
    seen = _seen(service, key)
    for app in seen:
        if app.name == model:
            return model_item(app)
    names = ", ".join(app.name for app in seen) or "none yet"
    raise AppNotFound(f"this key opens no app named {model!r} (it opens: {names})")


def _seen(service: Service, key: Key) -> list[App]:
    return [service.apps.get(key.app_id)] if key.kind == "app" else service.apps.list()
