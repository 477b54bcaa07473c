"""Requests about datasets and their folders, and what is told of them."""

from typing import Any, Literal

from pydantic import Field

from api.keys import Key
from api.schemas import Wire, wire_time
from retrieval.types import Dataset

Type = Literal["dataset", "folder"]


class DatasetList(Wire):
    """``searchKey`` looks everywhere below ``parentId``'s top; ``everywhere`` lists what is in folders, too (ours)."""

    parent_id: str = ""
    type: Type | list[str] | Literal[""] = ""
    search_key: str = ""
    everywhere: bool = False

    @property
    def is_flat(self) -> bool:
        """Whether all are meant, in whatever folder."""
        return self.everywhere or bool(self.search_key)

    def wants(self, dataset: Dataset) -> bool:
        type_ = type_of(dataset)
        return not self.type or type_ == self.type or (isinstance(self.type, list) and type_ in self.type)


class DatasetCreate(Wire):
    """A dataset is bound to ``vectorModel`` if the process runs one of that name, else to its primary model."""

    name: str = Field(min_length=1)
    type: Type = "dataset"
    parent_id: str = ""
    intro: str = ""
    avatar: str = ""
    vector_model: str = ""


class DatasetUpdate(Wire):
    """What is left out stays. An empty ``parentId`` moves to the top."""

    id: str
    name: str | None = None
    intro: str | None = None
    avatar: str | None = None
    parent_id: str | None = None


def type_of(dataset: Dataset) -> Type:
    return "folder" if dataset.is_folder else "dataset"


def permission_of(key: Key, dataset_id: str) -> dict[str, bool]:
    """What the key that asks may do with a dataset: whoever may write may also manage."""
    opens = key.may_use(dataset_id)
    can_write = opens and key.may("write")
    return {
        "hasReadPer": opens and key.may("search"),
        "hasWritePer": can_write,
        "hasManagePer": can_write,
        "isOwner": key.kind == "admin",
    }


def dataset_item(dataset: Dataset, key: Key) -> dict[str, Any]:
    """A dataset, and what the key that asks may do with it."""
    permission = permission_of(key, dataset.id)
    return {
        "_id": dataset.id,
        "parentId": dataset.parent_id or None,
        "avatar": dataset.avatar,
        "name": dataset.name,
        "intro": dataset.intro,
        "type": type_of(dataset),
        "permission": permission,
        "canWrite": permission["hasWritePer"],
        "isOwner": permission["isOwner"],
        "vectorModel": {
            "model": dataset.model.name,
            "name": dataset.model.name,
            "dimension": dataset.model.dim,
            "fingerprint": dataset.model.fingerprint,
        },
        "updateTime": wire_time(dataset.updated_at),
    }
