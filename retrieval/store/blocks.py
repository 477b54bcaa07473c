"""What both stores do with drafts and rows: contents once, passages as columns, steps of a catch-up."""

from collections.abc import Sequence

import numpy as np

from retrieval.types import Changes, EmbeddedDraft, PassageBlock, StoredEmbeddings

PassageRow = tuple[int, int, bytes]
"""(passage id, collection key, embedding as float16 bytes)"""

RemovalRow = tuple[int, int]
"""(number in the sequence, passage id)"""


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
    """Columns of the rows, in their order."""
    embeddings = np.frombuffer(b"".join(row[2] for row in rows), dtype=np.float16)
    return PassageBlock(
        ids=np.array([row[0] for row in rows], dtype=np.int64),
        collection_keys=np.array([row[1] for row in rows], dtype=np.int64),
        embeddings=embeddings.reshape(len(rows), dim),
    )


def to_changes(
    added: Sequence[PassageRow], removed: Sequence[RemovalRow], watermark: int, limit: int, dim: int
) -> Changes:
    """One step from two lists that each hold the next ``limit`` rows at most.

    A full list may go on: the step then ends at its last number, and rows of the other list beyond
    that number wait for the next step.
    """
    ends = [rows[-1][0] for rows in (added, removed) if len(rows) == limit]
    if ends:
        end = min(ends)
        added = [row for row in added if row[0] <= end]
        removed = [row for row in removed if row[0] <= end]
    else:
        end = max([watermark, *(rows[-1][0] for rows in (added, removed) if rows)])
    gone = np.array([passage_id for _, passage_id in removed], dtype=np.int64)
    return Changes(to_block(added, dim), gone, end, is_last=not ends)
