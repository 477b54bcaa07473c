"""Datasets moved to another embedding model, and back: ``/api/core/dataset/training/…Embedding``."""

from typing import Any

from fastapi import APIRouter

from api.auth import SearchKey, ServiceOf, WriteKey, require_dataset
from api.schemas import Wire, envelope, to_wire
from retrieval.rebuilds import rebuild_state

router = APIRouter(prefix="/api/core/dataset/training", tags=["training"])

Envelope = dict[str, Any]


class DatasetMove(Wire):
    dataset_id: str


class DatasetRebuild(DatasetMove):
    vector_model: str


@router.post("/rebuildEmbedding")
def rebuild_embedding(body: DatasetRebuild, service: ServiceOf, key: WriteKey) -> Envelope:
    """Begin to embed a dataset by another model of this server; it is searched by its own until that is done."""
    require_dataset(key, body.dataset_id)
    service.rebuilds.submit(body.dataset_id, body.vector_model)
    return envelope(None)


@router.post("/rollbackEmbedding")
def roll_back_embedding(body: DatasetMove, service: ServiceOf, key: WriteKey) -> Envelope:
    """Begin to go back to the former model, which embeds what was added meanwhile."""
    require_dataset(key, body.dataset_id)
    service.rebuilds.roll_back(body.dataset_id)
    return envelope(None)


@router.post("/discardEmbedding")
def discard_embedding(body: DatasetMove, service: ServiceOf, key: WriteKey) -> Envelope:
    """Delete what the former model has embedded, or what a rebuild that did not end has."""
    require_dataset(key, body.dataset_id)
    service.library.discard_old_model(body.dataset_id)
    return envelope(None)


@router.get("/rebuildState")
def rebuild_state_of(datasetId: str, service: ServiceOf, key: SearchKey) -> Envelope:  # noqa: N803
    """How far the last rebuild or roll-back of a dataset is: ``queued``, ``running``, ``done``, …"""
    require_dataset(key, datasetId)
    return envelope(to_wire(rebuild_state(service.library, datasetId)))
