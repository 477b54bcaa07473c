"""Records and thresholds on the wire, as measuring a dataset needs them."""

import json
from typing import Annotated, Any

from pydantic import Field

from api.schemas import Wire, wire_time
from api.schemas.search import read_record
from retrieval.calibration import JudgedSearch, Threshold
from retrieval.heldout import HeldOut
from retrieval.labels import Listed
from retrieval.types import SearchMode, now

Share = Annotated[float, Field(ge=0, le=1)]


class ThresholdForm(Wire):
    """A default similarity of a dataset, with what it was measured to do."""

    dataset_id: str
    search_mode: SearchMode = "embedding"
    using_re_rank: bool = False
    similarity: Share
    precision: Share
    recall: Share
    labels: str = ""

    def to_threshold(self) -> Threshold:
        return Threshold(
            self.dataset_id,
            self.search_mode,
            self.using_re_rank,
            self.similarity,
            self.precision,
            self.recall,
            now().isoformat(timespec="seconds"),
            self.labels,
        )


def threshold_item(threshold: Threshold) -> dict[str, Any]:
    return {
        "datasetId": threshold.dataset_id,
        "searchMode": threshold.mode,
        "usingReRank": threshold.rerank,
        "similarity": threshold.similarity,
        "precision": threshold.precision,
        "recall": threshold.recall,
        "date": threshold.date,
        "labels": threshold.labels,
    }


def held_out_of(data: dict[str, Any]) -> HeldOut:
    """What was sent as :func:`dataclasses.asdict` has it."""
    searches = [
        JudgedSearch(tuple(item["scores"]), tuple(item["hits"]), item["relevant"])
        for item in data["searches"]
    ]
    return HeldOut(data["texts"], searches)


def record_line(listed: Listed) -> str:
    """A record as a line of ASCII JSON, which nothing takes for two lines."""
    record = listed.record
    item = {
        "id": record.id,
        "datasetId": record.dataset_id,
        "collectionId": record.collection_id,
        "q": record.q,
        "a": record.a,
        "chunkIndex": record.chunk_index,
        "tokens": record.tokens,
        "updateTime": wire_time(record.updated_at),
        "key": record.key,
        "indexes": listed.indexes,
    }
    return json.dumps(item) + "\n"


def listed_of(line: str) -> Listed:
    """The record of a line."""
    item = json.loads(line)
    return Listed(read_record(item, item["key"]), tuple(item["indexes"]))
