"""Embeddings that somebody else has made: checked, scaled to unit length, shared out to records."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval.errors import InvalidRequest, ModelMismatch
from retrieval.types import Embeddings, RecordDraft, StoredEmbeddings


def to_unit_length(embeddings: Embeddings | StoredEmbeddings, dim: int) -> StoredEmbeddings:
    """(n, dim) of any float type and any length to rows of unit length.

    Raises:
        ModelMismatch: they are not ``dim`` wide.
        InvalidRequest: one is zero, infinite or not a number.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != dim:
        raise ModelMismatch(
            f"the embeddings are of the shape {embeddings.shape}, the dataset takes rows of {dim} numbers: "
            "embed the texts with the model of the dataset"
        )
    with np.errstate(over="ignore"):
        wide = embeddings.astype(np.float64)
    wrong = without_direction(wide)
    if len(wrong):
        raise InvalidRequest(
            f"embedding {wrong[0] + 1} is zero or not finite: it has no direction to compare"
        )
    # Squares of what is very long or very short would overflow or vanish.
    wide /= np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    unit: StoredEmbeddings = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float16)
    return unit


def without_direction(embeddings: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The rows that are zero, infinite or not a number."""
    return np.flatnonzero(~(np.isfinite(embeddings).all(axis=1) & embeddings.any(axis=1)))


def split_embeddings(drafts: Sequence[RecordDraft], embeddings: StoredEmbeddings) -> list[StoredEmbeddings]:
    """The rows of each draft: one for each of its texts, in order.

    Raises:
        InvalidRequest: there are more or fewer rows than texts.
    """
    ends = np.cumsum([len(draft.texts) for draft in drafts], dtype=np.int64)
    texts = int(ends[-1]) if len(ends) else 0
    if texts != len(embeddings):
        raise InvalidRequest(
            f"there are {len(embeddings)} embeddings for {texts} texts: give one for each text of each record"
        )
    return np.split(embeddings, ends[:-1]) if len(ends) else []
