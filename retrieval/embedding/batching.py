"""Grouping texts of like length, so that a batch carries little padding."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt


def batches_by_length(lengths: Sequence[int], max_tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Positions of texts in batches, longest first.

    Args:
        lengths: tokens of each text.
        max_tokens: most tokens in a batch, padding included; a text longer than this is a batch
            by itself.

    Yields:
        Each position once; within a batch all are padded to the length of the first.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, max_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
