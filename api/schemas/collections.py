"""Requests about collections, and what is told of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator

from api.keys import Key
from api.schemas import Wire, wire_time
from api.schemas.datasets import permission_of
from api.schemas.paging import Paging
from ingest.jobs import Job
from retrieval.errors import InvalidRequest
from retrieval.types import Collection

NOBODY = "0" * 24
"""The id of the team and of the member: there are none here, and clients want some."""

EXTERNAL_ID = "externalFileId"
"""The name, in the metadata, of what another system knows a collection by."""

TRAINING_TYPE = "trainingType"
CHUNK_SIZE, CHUNK_SPLITTER = "chunkSize", "chunkSplitter"
RAW_LINK = "rawLink"
"""Names in the metadata of what an import was told."""


class CollectionCreate(Wire):
    dataset_id: str
    name: str = Field(min_length=1)
    type: Literal["virtual", "folder"] = "virtual"
    parent_id: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    external_file_id: str = ""

    @property
    def kept(self) -> dict[str, Any]:
        """The metadata, with what another system knows it by."""
        return {**self.metadata, **({EXTERNAL_ID: self.external_file_id} if self.external_file_id else {})}


class CollectionList(Paging):
    """Those in the folder ``parentId``, the top by default; with ``searchText`` those anywhere below, by name."""

    dataset_id: str
    parent_id: str = ""
    search_text: str = ""

    @property
    def place(self) -> str | None:
        return None if self.search_text and not self.parent_id else self.parent_id


class CollectionUpdate(Wire):
    """By ``id``, or by ``datasetId`` and ``externalFileId``. What is left out stays."""

    id: str = Field("", validation_alias=AliasChoices("id", "collectionId"))
    dataset_id: str = ""
    external_file_id: str = ""
    name: str | None = Field(None, min_length=1)
    parent_id: str | None = None
    tags: list[str] | None = None
    forbid: bool | None = None
    create_time: datetime | None = None

    @model_validator(mode="after")
    def _is_named(self) -> "CollectionUpdate":
        if not self.id and not (self.dataset_id and self.external_file_id):
            raise ValueError("name the collection by id, or by datasetId and externalFileId")
        return self

    @field_validator("create_time")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


class CollectionDelete(Wire):
    """One by ``id``, or several by ``collectionIds``."""

    id: str = ""
    collection_ids: list[str] = Field(default_factory=list)


class CollectionRead(Wire):
    collection_id: str


def ids_to_delete(id_: str, body: CollectionDelete | None) -> list[str]:
    """Each once. Raises InvalidRequest if none is named."""
    named = [id_, *((body.id, *body.collection_ids) if body else ())]
    ids = list(dict.fromkeys(one for one in named if one))
    if not ids:
        raise InvalidRequest("no collection was named: give id, or a list collectionIds", "id")
    return ids


def collection_item(
    collection: Collection, key: Key, records: int, jobs: Sequence[Job] = ()
) -> dict[str, Any]:
    """A collection in a list.

    Args:
        jobs: imports into it that are not over.
    """
    return {
        "_id": collection.id,
        "parentId": collection.parent_id or None,
        "datasetId": collection.dataset_id,
        "name": collection.name,
        "type": collection.kind,
        "dataAmount": records,
        "trainingAmount": sum(map(rows_left, jobs)),
        "createTime": wire_time(collection.created_at),
        "updateTime": wire_time(collection.updated_at),
        "tags": list(collection.tags),
        "forbid": collection.forbid,
        "trainingType": collection.metadata.get(TRAINING_TYPE, "chunk"),
        "rawLink": collection.metadata.get(RAW_LINK, ""),
        "externalFileId": collection.metadata.get(EXTERNAL_ID, ""),
        "permission": permission_of(key, collection.dataset_id),
    }


def collection_detail(
    collection: Collection, key: Key, records: int, jobs: Sequence[Job] = ()
) -> dict[str, Any]:
    """All that is told of one. Of the file itself nothing is kept, so that its length and hash are empty."""
    item = collection_item(collection, key, records, jobs)
    return {
        **item,
        "teamId": NOBODY,
        "tmbId": NOBODY,
        "chunkSize": collection.metadata.get(CHUNK_SIZE, 512),
        "chunkSplitter": collection.metadata.get(CHUNK_SPLITTER, ""),
        "rawTextLength": 0,
        "hashRawText": "",
        "sourceName": collection.name,
        "sourceId": collection.metadata.get(RAW_LINK) or collection.id,
        "metadata": dict(collection.metadata),
        "canWrite": item["permission"]["hasWritePer"],
    }


def rows_left(job: Job) -> int:
    """Rows that an import has yet to do, by the share of the file that was read; at least 1."""
    report = job.report
    if not report.share:
        return 1
    return max(1, round(report.read * (1 - report.share) / report.share))
