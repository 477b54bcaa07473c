"""Apps, for admins: ``/api/core/app/…``; and as the models that OpenAI's clients list."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.apps import App, check_app, new_app
from api.auth import AdminKey, ChatKey, ServiceOf
from api.keys import Key
from api.removing import delete_app
from api.schemas import envelope
from api.schemas.apps import AppCreate, AppList, AppUpdate, ModelItem, ModelList, app_item, model_item
from api.wiring import Service
from retrieval.errors import AppNotFound, InvalidRequest

router = APIRouter(prefix="/api/core/app", tags=["apps"])
models = APIRouter(tags=["chat"])

Envelope = dict[str, Any]


@router.post("/list")
def list_apps(body: AppList, service: ServiceOf, _: AdminKey) -> Envelope:
    """All apps, oldest first, or those with ``searchKey`` in their names."""
    wanted = body.search_key.casefold()
    return envelope([app_item(app) for app in service.apps.list() if wanted in app.name.casefold()])


@router.get("/list")
def list_apps_by_query(query: Annotated[AppList, Query()], service: ServiceOf, key: AdminKey) -> Envelope:
    """The same."""
    return list_apps(query, service, key)


@router.post("/create")
def create_app(body: AppCreate, service: ServiceOf, _: AdminKey) -> Envelope:
    """An app; its id. Chats need a key for it besides."""
    given = body.given
    app = new_app(given.pop("name"), given.pop("dataset_ids"), **given)
    _check(service, app)
    return envelope(service.apps.create(app).id)


@router.get("/detail")
def get_app(service: ServiceOf, _: AdminKey, appId: str = "", id: str = "") -> Envelope:  # noqa: N803
    """An app by its ``appId`` (or ``id``)."""
    return envelope(app_item(service.apps.get(_named(appId or id))))


@router.post("/update")
@router.put("/update")
def update_app(body: AppUpdate, service: ServiceOf, _: AdminKey, appId: str = "") -> Envelope:  # noqa: N803
    """Change what is given; null takes back a similarity, topK, perSource or temperature."""
    app = replace(service.apps.get(_named(appId or body.app_id)), **body.given)
    check_app(app)
    _check(service, app)
    service.apps.update(app)
    return envelope(None)


@router.delete("/del")
@router.delete("/delete")
def remove_app(service: ServiceOf, _: AdminKey, appId: str = "", id: str = "") -> Envelope:  # noqa: N803
    """Delete an app with its chats; its keys are revoked."""
    delete_app(service.apps, service.keys, service.chats, _named(appId or id))
    return envelope(None)


@models.get("/v1/models")
@models.get("/api/v1/models")
def list_models(service: ServiceOf, key: ChatKey) -> ModelList:
    """The app of the key, or with an admin key all apps, as OpenAI lists models."""
    return ModelList(data=[model_item(app) for app in _opened(service, key)])


@models.get("/v1/models/{name}")
@models.get("/api/v1/models/{name}")
def get_model(name: str, service: ServiceOf, key: ChatKey) -> ModelItem:
    """One of them, by the name of the app."""
    for app in _opened(service, key):
        if app.name == name:
            return model_item(app)
    raise AppNotFound(f"the key opens no app named {name!r}: see /v1/models")


def _opened(service: Service, key: Key) -> list[App]:
    return [service.apps.get(key.app_id)] if key.app_id else service.apps.list()


def _named(app_id: str) -> str:
    if not app_id:
        raise InvalidRequest("say which app: give its appId", "appId")
    return app_id


def _check(service: Service, app: App) -> None:
    """Raises DatasetNotFound, InvalidRequest: what the app names is not there, or cannot be searched."""
    service.backends.named(app.backend)
    for dataset_id in app.dataset_ids:
        if service.library.store.get_dataset(dataset_id).is_folder:
            raise InvalidRequest(f"{dataset_id} is a folder: name the datasets in it", "datasetIds")
