"""How much effort a walk along a graph takes to find what a scan finds, by trying.

It is tried with the questions that were asked, once there are enough: nothing that can be made of the passages is as hard
as they are at every size. Samples of 1,000 questions take an effort of 117 to 128 in 100,000 real q/a passages, and of 215
to 256 in a million that are copies of them with noise; the dataset's own questions 83 and 76; passages that are blurred
into questions, 600 at a time, 197 to 256 and 215.

Until then passages are blurred: noise four fifths as long as the vector itself is added, in directions at random, which
leaves a cosine of 0.78 to the passage.
"""

from bisect import bisect_left
from collections.abc import Callable

import numpy as np

from retrieval.types import Embeddings
from retrieval.vectors.codes import Codes

RECALL = 0.98
"""Of the true ten best, which a walk has to find on average."""

TOP_K = 10

ENOUGH = 1000
"""Questions to try with. A few find nothing at all, so that their mean is uncertain by 0.002."""

BLURRED = 600
"""Passages to try with, for want of questions."""

BLUR = 0.8

TOLERANCE = 1e-6
"""How far two sums of the same products may be apart."""

NONE_ASKED: Embeddings = np.empty((0, 0), dtype=np.float32)

EFFORTS = tuple(round(64 * 2 ** (step / 8)) for step in range(41))
"""From 64 to 2048, each a tenth more than the one before."""


def find_effort(codes: Codes, asked: Embeddings, check: Callable[[], None] = lambda: None) -> int:
    """The least of ``EFFORTS`` that reaches ``RECALL`` by a standard error, or the largest.

    Costs a scan and up to six walks for each question. What ``check`` raises, called between them, ends the work.

    Args:
        asked: (n, dim) float32 of unit length; fewer than ``ENOUGH`` decide nothing.
    """
    queries, top_k = asked if len(asked) >= ENOUGH else _blurred(codes), min(TOP_K, len(codes))
    worst = []
    for query in queries:
        check()
        worst.append(codes.scan(query, top_k).scores[top_k - 1] - TOLERANCE)

    def is_enough(effort: int) -> bool:
        found = []
        for query, score in zip(queries, worst, strict=True):
            check()
            found.append(np.count_nonzero(codes.walk(query, top_k, effort).scores >= score) / top_k)
        return bool(np.mean(found) - np.std(found) / len(found) ** 0.5 >= RECALL)

    return EFFORTS[bisect_left(EFFORTS[:-1], True, key=is_enough)]


def _blurred(codes: Codes) -> Embeddings:
    places = np.linspace(0, len(codes) - 1, BLURRED, dtype=np.int64)
    passages = codes.at(places).astype(np.float32)
    noise = np.random.default_rng(len(codes)).standard_normal(passages.shape, dtype=np.float32)
    noise *= BLUR / np.linalg.norm(noise, axis=1, keepdims=True)
    blurred = passages + noise
    queries: Embeddings = blurred / np.linalg.norm(blurred, axis=1, keepdims=True)
    return queries
