"""Requests about records, and what is told of them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field

from api.schemas import Wire, wire_time
from api.schemas.paging import Paging
from retrieval.store import Store
from retrieval.types import Passage, Record, RecordDraft

MAX_PUSH = 200
"""Most records of one pushData."""

LARGEST = 2**53

Training = Literal["chunk", "qa", "auto"]


class IndexText(Wire):
    """A text that a record can be found by. FastGPT's ``dataId`` names one that there was; the text decides."""

    text: str = ""
    default_index: bool = False


def _as_index(value: object) -> object:
    """Older clients send plain texts."""
    return {"text": value} if isinstance(value, str) else value


def _custom(indexes: Sequence[IndexText]) -> tuple[str, ...]:
    """The texts beside the default one, which q and a make."""
    return tuple(text for index in indexes if not index.default_index and (text := index.text.strip()))


Indexes = list[Annotated[IndexText, BeforeValidator(_as_index)]]


class DataItem(Wire):
    q: str
    a: str = ""
    chunk_index: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    indexes: Indexes = Field(default_factory=list)

    def to_draft(self) -> RecordDraft:
        return RecordDraft(self.q, self.a, _custom(self.indexes), self.chunk_index)


class PushData(Wire):
    """``trainingType`` was called ``mode`` and ``trainingMode`` before."""

    collection_id: str
    data: list[DataItem]
    training_type: Training = Field(
        "chunk", validation_alias=AliasChoices("trainingType", "trainingMode", "mode", "training_type")
    )
    prompt: str = ""
    bill_id: str = ""


class InsertData(DataItem):
    collection_id: str


class DataList(Paging):
    collection_id: str
    search_text: str = ""


class DataUpdate(Wire):
    """``dataId``, or ``id`` as older clients call it. What is left out stays; ``indexes`` are all there shall be."""

    data_id: str = Field(validation_alias=AliasChoices("dataId", "id", "data_id"))
    q: str | None = None
    a: str | None = None
    indexes: Indexes | None = None

    @property
    def texts(self) -> tuple[str, ...] | None:
        return None if self.indexes is None else _custom(self.indexes)


def record_item(record: Record) -> dict[str, Any]:
    """A record in a list."""
    return {
        "_id": record.id,
        "datasetId": record.dataset_id,
        "collectionId": record.collection_id,
        "q": record.q,
        "a": record.a,
        "chunkIndex": record.chunk_index,
    }


def index_items(passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """FastGPT's ``indexes``."""
    return [
        {
            "_id": f"{passage.id:024x}",
            "type": "qa" if passage.is_default else "custom",
            "dataId": str(passage.id),
            "text": passage.text,
            "defaultIndex": passage.is_default,
        }
        for passage in passages
    ]


def record_detail(store: Store, record_id: str) -> dict[str, Any]:
    """Raises RecordNotFound."""
    record = store.get_record(record_id)
    passages = store.passages_of([record_id]).get(record_id, ())
    return {
        "id": record.id,
        **record_item(record),
        "indexes": index_items(passages),
        "sourceName": store.get_collection(record.collection_id).name,
        "sourceId": record.collection_id,
        "updateTime": wire_time(record.updated_at),
        "tokens": record.tokens,
        "metadata": _plain(record.metadata),
    }


def _plain(metadata: Mapping[str, object]) -> dict[str, object]:
    return dict(metadata)
