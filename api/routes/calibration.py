"""Measuring a dataset: its records, for labels to name; searches with its own texts; the thresholds chosen."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.auth import ExportKey, SearchKey, ServiceOf, WriteKey, require_dataset
from api.schemas import envelope
from api.schemas.calibration import ThresholdForm, record_line, threshold_item
from ingest.labelled import list_records
from retrieval.calibration import Calibrations
from retrieval.heldout import search_itself
from retrieval.types import SearchMode

router = APIRouter(prefix="/api/core/dataset", tags=["calibration"])

Envelope = dict[str, Any]

TopK = Annotated[int, Query(ge=1, le=1000)]


@router.get(
    "/records",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
def all_records(datasetId: str, service: ServiceOf, key: ExportKey) -> StreamingResponse:  # noqa: N803 - the wire's name
    """All records with their ids, keys, places and custom texts, a JSON object a line."""
    require_dataset(key, datasetId)
    store = service.library.store
    lines: Iterator[str] = map(record_line, list_records(store, store.get_dataset(datasetId).id))
    return StreamingResponse(lines, media_type="application/x-ndjson")


@router.get("/calibration")
def list_thresholds(datasetId: str, service: ServiceOf, key: SearchKey) -> Envelope:  # noqa: N803
    """The default similarities of a dataset, by search mode."""
    require_dataset(key, datasetId)
    store = service.library.store
    return envelope(
        [threshold_item(found) for found in Calibrations(store).list(store.get_dataset(datasetId).id)]
    )


@router.post("/calibration")
def set_threshold(body: ThresholdForm, service: ServiceOf, key: WriteKey) -> Envelope:
    """Searches of the dataset in this mode that name no similarity take this one from now on."""
    require_dataset(key, body.dataset_id)
    threshold = body.to_threshold()
    Calibrations(service.library.store).put(threshold)
    return envelope(threshold_item(threshold))


@router.delete("/calibration")
def delete_threshold(
    datasetId: str,  # noqa: N803
    service: ServiceOf,
    key: WriteKey,
    searchMode: SearchMode = "embedding",  # noqa: N803
    usingReRank: bool = False,  # noqa: N803
) -> Envelope:
    """Searches that name no similarity filter nothing from now on; whether there was a default."""
    require_dataset(key, datasetId)
    return envelope(Calibrations(service.library.store).delete(datasetId, searchMode, usingReRank))


@router.get("/calibration/heldOut")
def held_out(datasetId: str, service: ServiceOf, key: SearchKey, topK: TopK = 10) -> Envelope:  # noqa: N803
    """Searches with the dataset's own texts, to calibrate by; replies when a thousand or so are done."""
    require_dataset(key, datasetId)
    return envelope(asdict(search_itself(service.library, datasetId, topK)))
