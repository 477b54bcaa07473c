"""Datasets, their folders, and searching them: ``/api/core/dataset/…``."""

from typing import Any

from fastapi import APIRouter

from api.auth import DatasetKey, SearchKey, ServiceOf, WriteKey, require_all_datasets, require_dataset
from api.keys import Key
from api.schemas import envelope
from api.schemas.datasets import DatasetCreate, DatasetList, DatasetUpdate, dataset_item
from api.schemas.search import SearchTest, search_reply
from retrieval.store import Store
from retrieval.types import Dataset

router = APIRouter(prefix="/api/core/dataset", tags=["datasets"])

Envelope = dict[str, Any]


@router.get("/list")
def list_datasets_in(
    service: ServiceOf,
    key: DatasetKey,
    parentId: str = "",  # noqa: N803 - the wire's name
    searchKey: str = "",  # noqa: N803
) -> Envelope:
    """The datasets and folders in a folder, as far as the key opens them."""
    wanted = DatasetList(parent_id=parentId, search_key=searchKey)
    return envelope(_listed(service.library.store, key, wanted))


@router.post("/list")
def list_datasets(service: ServiceOf, key: DatasetKey, body: DatasetList | None = None) -> Envelope:
    """The datasets and folders in a folder, or all of some name, as far as the key opens them."""
    return envelope(_listed(service.library.store, key, body or DatasetList()))


@router.post("/create")
def create_dataset(body: DatasetCreate, service: ServiceOf, key: WriteKey) -> Envelope:
    """A dataset, or a folder for some; its id."""
    require_all_datasets(key)
    library = service.library
    # Clients send the names of models that they know from elsewhere.
    model = body.vector_model if body.vector_model in library.models.names else ""
    dataset = library.create_dataset(
        body.name,
        body.intro,
        model,
        parent_id=body.parent_id,
        is_folder=body.type == "folder",
        avatar=body.avatar,
    )
    return envelope(dataset.id)


@router.get("/detail")
def dataset_detail(id: str, service: ServiceOf, key: SearchKey) -> Envelope:
    """A dataset, and how many records it has."""
    require_dataset(key, id)
    dataset = service.library.store.get_dataset(id)
    return envelope({**dataset_item(dataset, key), "dataAmount": service.library.store.count_records(id)})


@router.put("/update")
@router.post("/update")
def update_dataset(body: DatasetUpdate, service: ServiceOf, key: WriteKey) -> Envelope:
    """Rename, describe or move a dataset or a folder."""
    require_dataset(key, body.id)
    if body.parent_id is not None:
        require_all_datasets(key)
    service.library.update_dataset(
        body.id, name=body.name, intro=body.intro, avatar=body.avatar, parent_id=body.parent_id
    )
    return envelope(None)


@router.delete("/delete")
def delete_dataset(id: str, service: ServiceOf, key: WriteKey) -> Envelope:
    """With everything in it; a folder has to be empty."""
    require_dataset(key, id)
    service.library.delete_dataset(id)
    service.runner.forget(id)
    return envelope(None)


@router.post("/searchTest")
def search_test(body: SearchTest, service: ServiceOf, key: SearchKey) -> Envelope:
    """Scored quotes for a text."""
    request = body.to_request()
    for dataset_id in request.dataset_ids:
        require_dataset(key, dataset_id)
    return envelope(search_reply(service.library.search(request)))


def _listed(store: Store, key: Key, wanted: DatasetList) -> list[dict[str, Any]]:
    """Folders first, each oldest first."""
    opened = [dataset for dataset in store.list_datasets() if key.may_use(dataset.id)]
    listed = [*_folders(store, key, opened), *opened]
    return [
        dataset_item(dataset, key)
        for dataset in listed
        if (wanted.is_flat or dataset.parent_id == wanted.parent_id)
        and wanted.search_key.lower() in dataset.name.lower()
        and wanted.wants(dataset)
    ]


def _folders(store: Store, key: Key, opened: list[Dataset]) -> list[Dataset]:
    """All, or those that lead to the datasets that the key opens."""
    folders = store.list_folders()
    if not key.dataset_ids:
        return folders
    by_id = {folder.id: folder for folder in folders}
    leading: set[str] = set()
    for dataset in opened:
        parent_id = dataset.parent_id
        while parent_id in by_id and parent_id not in leading:
            leading.add(parent_id)
            parent_id = by_id[parent_id].parent_id
    return [folder for folder in folders if folder.id in leading]
