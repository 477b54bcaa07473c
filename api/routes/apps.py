"""Apps, for admins: ``/api/core/app/…``."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.apps import new_app
from api.auth import AdminKey, ServiceOf
from api.removing import delete_app
from api.schemas import envelope
from api.schemas.apps import AppCreate, AppList, AppUpdate, app_item
from api.wiring import Service
from retrieval.errors import InvalidRequest

router = APIRouter(prefix="/api/core/app", tags=["apps"])

Envelope = dict[str, Any]


@router.post("/list")
def list_apps(service: ServiceOf, _: AdminKey, body: AppList | None = None) -> Envelope:
    """All apps, oldest first, or those with ``searchKey`` in their names."""
    wanted = body.search_key.casefold() if body else ""
    return envelope([app_item(app) for app in service.apps.list() if wanted in app.name.casefold()])


@router.get("/list")
def list_apps_by_query(query: Annotated[AppList, Query()], service: ServiceOf, key: AdminKey) -> Envelope:
    """The same."""
    return list_apps(service, key, query)


@router.post("/create")
def create_app(body: AppCreate, service: ServiceOf, _: AdminKey) -> Envelope:
    """An app; its id. To chat with it takes a key for it."""
    given = body.given
    _check_named(service, given)
    return envelope(service.apps.create(new_app(given.pop("name"), given.pop("dataset_ids"), **given)).id)


@router.get("/detail")
def app_detail(
    service: ServiceOf,
    _: AdminKey,
    appId: str = "",  # noqa: N803 - the wire's name
    id: str = "",
) -> Envelope:
    """An app with all its settings, by its ``appId`` or ``id``."""
    return envelope(app_item(service.apps.get(_meant(appId or id))))


@router.put("/update")
@router.post("/update")
def update_app(
    body: AppUpdate,
    service: ServiceOf,
    _: AdminKey,
    appId: str = "",  # noqa: N803
) -> Envelope:
    """Change what is given; null takes a ``similarity``, ``topK``, ``perSource`` or ``temperature`` back."""
    app_id = _meant(appId or body.app_id)
    _check_named(service, body.given)
    service.apps.change(app_id, body.given)
    return envelope(None)


@router.delete("/del")
@router.delete("/delete")
def remove_app(
    service: ServiceOf,
    _: AdminKey,
    appId: str = "",  # noqa: N803
    id: str = "",
) -> Envelope:
    """Delete an app with its chats; its keys open nothing any more."""
    delete_app(service.apps, service.keys, service.chats, _meant(appId or id))
    return envelope(None)


def _meant(app_id: str) -> str:
    if not app_id:
        raise InvalidRequest("appId is missing: say which app is meant", "appId")
    return app_id


def _check_named(service: Service, given: Mapping[str, Any]) -> None:
    """Raises DatasetNotFound, InvalidRequest: what is named is not there, or cannot be searched.

    What an app had before is not looked at: a dataset that is gone must not keep its texts from being changed.
    """
    service.backends.named(given.get("backend", ""))
    for dataset_id in given.get("dataset_ids", ()):
        if service.library.store.get_dataset(dataset_id).is_folder:
            raise InvalidRequest(f"{dataset_id} is a folder: name the datasets in it", "datasetIds")
