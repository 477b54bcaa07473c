"""Changes of texts for the tests of full text, made by hand."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np

from retrieval.types import TextBlock, TextChanges

Rows = Mapping[int, tuple[int, str]]
"""Collection key and text of passages, by id."""

NOTHING: Rows = MappingProxyType({})


def step(rows: Rows = NOTHING, removed: Iterable[int] = (), watermark: int | None = None) -> TextChanges:
    """Up to the last passage, unless it is said how far."""
    in_order = sorted(rows)
    added = TextBlock(
        ids=np.array(in_order, dtype=np.int64),
        collection_keys=np.array([rows[passage_id][0] for passage_id in in_order], dtype=np.int64),
        texts=tuple(rows[passage_id][1] for passage_id in in_order),
    )
    gone = np.array(list(removed), dtype=np.int64)
    return TextChanges(added, gone, max([0, *rows]) if watermark is None else watermark, is_last=True)
