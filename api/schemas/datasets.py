"""Requests about datasets and their records, and what is told of them."""

from typing import Any, Literal

from pydantic import Field

from api.schemas import Wire
from retrieval.types import Dataset, RecordDraft

MAX_PUSH = 200
"""Most records of one pushData."""


class DatasetList(Wire):
    search_key: str = ""


class DatasetCreate(Wire):
    name: str = Field(min_length=1)
    type: Literal["dataset"] = "dataset"
    intro: str = ""
    vector_model: str = ""


class CollectionCreate(Wire):
    dataset_id: str
    name: str = Field(min_length=1)
    type: Literal["virtual"] = "virtual"
    tags: list[str] = Field(default_factory=list)


class IndexText(Wire):
    text: str


class DataItem(Wire):
    q: str
    a: str = ""
    chunk_index: int = 0
    indexes: list[IndexText] = Field(default_factory=list)

    def to_draft(self) -> RecordDraft:
        indexes = tuple(index.text.strip() for index in self.indexes if index.text.strip())
        return RecordDraft(self.q, self.a, indexes, self.chunk_index)


class PushData(Wire):
    collection_id: str
    data: list[DataItem]


def dataset_item(dataset: Dataset) -> dict[str, Any]:
    return {
        "_id": dataset.id,
        "parentId": None,
        "avatar": "",
        "name": dataset.name,
        "intro": dataset.intro,
        "type": "dataset",
        "permission": {"hasReadPer": True, "hasWritePer": True, "hasManagePer": True, "isOwner": True},
        "canWrite": True,
        "isOwner": True,
        "vectorModel": {
            "model": dataset.model.name,
            "name": dataset.model.name,
            "dimension": dataset.model.dim,
            "fingerprint": dataset.model.fingerprint,
        },
    }
