"""A record on the wire, with what it is found by."""

from collections.abc import Sequence
from typing import Any

from api.schemas import wire_time
from retrieval.store import Store
from retrieval.types import Passage


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
        "q": record.q,
        "a": record.a,
        "chunkIndex": record.chunk_index,
        "indexes": index_items(passages),
        "datasetId": record.dataset_id,
        "collectionId": record.collection_id,
        "sourceName": store.get_collection(record.collection_id).name,
        "updateTime": wire_time(record.updated_at),
    }
