"""Chroma's PersistentClient returning documents: run in a virtual environment of its own.

    python chroma.py FOLDER TOP_K ROUNDS LEAST_RECALL

FOLDER has vectors.npy, queries.npy, texts.json and truth.npy, the true rows of the first queries; the
answer is one JSON object on stdout. Settings are Chroma's own but for the cosine space; then ef_search
is raised until it finds as much as LEAST_RECALL. Vectors are given ready-made, so that no model runs.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import chromadb
import numpy as np
from chromadb.api.client import SharedSystemClient

BATCH = 5000
EFFORTS = (150, 200, 300, 400, 600, 800, 1200)


def main() -> None:
    folder, top_k, rounds, least = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    vectors = np.load(folder / "vectors.npy").astype(np.float32)
    queries = np.load(folder / "queries.npy").astype(np.float32)
    truth = np.load(folder / "truth.npy").tolist()
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        client = chromadb.PersistentClient(place)
        collection = client.create_collection(
            "bulk", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        started = time.perf_counter()
        for first in range(0, len(texts), BATCH):
            rows = range(first, min(first + BATCH, len(texts)))
            collection.add(
                ids=[str(row) for row in rows],
                embeddings=vectors[first : first + BATCH],
                documents=[texts[row] for row in rows],
            )
        added_s = time.perf_counter() - started
        answer = {"version": chromadb.__version__, "add_s": added_s}
        answer["default"] = _measure(collection, queries, truth, top_k, rounds)
        answer["same_recall"] = answer["default"]
        for effort in EFFORTS:
            if answer["same_recall"]["recall_at_10"] >= least:
                break
            collection.modify(configuration={"hnsw": {"ef_search": effort}})
            # What is open keeps the value that it was opened with.
            SharedSystemClient.clear_system_cache()
            collection = chromadb.PersistentClient(place).get_collection("bulk", embedding_function=None)
            answer["same_recall"] = {
                "ef_search": effort,
                **_measure(collection, queries, truth, top_k, rounds),
            }
    print(json.dumps(answer))


def _measure(
    collection: Any, queries: Any, truth: list[list[int]], top_k: int, rounds: int
) -> dict[str, float]:
    rates: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        found = [_query(collection, query, top_k) for query in queries]
        rates.append(len(queries) / (time.perf_counter() - started))
    shares = [len(set(one) & set(true)) / len(true) for one, true in zip(found, truth, strict=False)]
    return {"recall_at_10": round(float(np.mean(shares)), 4), "queries_per_s": round(median(rates))}


def _query(collection: Any, query: Any, top_k: int) -> list[int]:
    reply = collection.query(
        query_embeddings=query[np.newaxis], n_results=top_k, include=["documents", "distances"]
    )
    return [int(number) for number in reply["ids"][0]]


if __name__ == "__main__":
    main()
