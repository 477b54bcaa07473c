"""What both stores do with drafts and rows: contents once, passages as columns, steps of a catch-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from retrieval.types import (
    Changes,
    EmbeddedDraft,
    PassageBlock,
    PassageIds,
    StoredEmbeddings,
    TextBlock,
    TextChanges,
)

PassageRow = tuple[int, int, bytes]
"""(passage id, collection key, embedding as float16 bytes)"""

TextRow = tuple[int, int, str]
"""(passage id, collection key, text)"""

RemovalRow = tuple[int, int]
"""(number in the sequence, passage id)"""

Row = TypeVar("Row", PassageRow, TextRow)


def by_content(drafts: Sequence[EmbeddedDraft]) -> dict[bytes, EmbeddedDraft]:
    """The first of each content, by its hash, in order."""
    first: dict[bytes, EmbeddedDraft] = {}
    for item in drafts:
        first.setdefault(item.draft.content_hash, item)
    return first


def replaced_by(drafts: Sequence[EmbeddedDraft], gone: Sequence[str]) -> list[str]:
    """Ids of the records that an add deletes."""
    return [*gone, *(item.record_id for item in drafts if item.record_id)]


def to_embedding(stored: bytes) -> StoredEmbeddings:
    return np.frombuffer(stored, dtype=np.float16)


def to_block(rows: Sequence[PassageRow], dim: int) -> PassageBlock:
    """Columns of the rows, in their order; ``dim`` wide where there are none."""
    embeddings = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.float16)
    # Another edition of the dataset may be of another width.
    dim = len(embeddings) // len(rows) if rows else dim
    return PassageBlock(
        ids=np.array([row[0] for row in rows], dtype=np.int64),
        collection_keys=np.array([row[1] for row in rows], dtype=np.int64),
        embeddings=embeddings.reshape(len(rows), dim),
    )


def to_texts(rows: Sequence[TextRow]) -> TextBlock:
    """Columns of the rows, in their order."""
    return TextBlock(
        ids=np.array([row[0] for row in rows], dtype=np.int64),
        collection_keys=np.array([row[1] for row in rows], dtype=np.int64),
        texts=tuple(row[2] for row in rows),
    )


def to_changes(
    added: Sequence[PassageRow], removed: Sequence[RemovalRow], watermark: int, limit: int, dim: int
) -> Changes:
    """A step of a catch-up, from lists of the next ``limit`` rows at most."""
    step = _one_step(added, removed, watermark, limit)
    return Changes(to_block(step.added, dim), step.removed, step.end, step.is_last)


def to_text_changes(
    added: Sequence[TextRow], removed: Sequence[RemovalRow], watermark: int, limit: int
) -> TextChanges:
    """A step of a catch-up, from lists of the next ``limit`` rows at most."""
    step = _one_step(added, removed, watermark, limit)
    return TextChanges(to_texts(step.added), step.removed, step.end, step.is_last)


@dataclass(frozen=True, slots=True)
class _Step(Generic[Row]):
    added: Sequence[Row]
    removed: PassageIds
    end: int
    is_last: bool


def _one_step(added: Sequence[Row], removed: Sequence[RemovalRow], watermark: int, limit: int) -> _Step[Row]:
    """Two lists cut to where both are known.

    A list of ``limit`` rows may go on: the step then ends at its last number, and rows of the other
    list beyond that number wait for the next step.
    """
    ends = [rows[-1][0] for rows in (added, removed) if len(rows) == limit]
    if ends:
        end = min(ends)
        added = [row for row in added if row[0] <= end]
        removed = [row for row in removed if row[0] <= end]
    else:
        end = max([watermark, *(rows[-1][0] for rows in (added, removed) if rows)])
    gone = np.array([passage_id for _, passage_id in removed], dtype=np.int64)
    return _Step(added, gone, end, is_last=not ends)
