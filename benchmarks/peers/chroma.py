"""Chroma's PersistentClient returning documents: run in a virtual environment of its own.

    python chroma.py FOLDER TOP_K ROUNDS

FOLDER has vectors.npy, queries.npy and texts.json; the answer is one JSON object on stdout. Settings
are Chroma's own but for the cosine space; vectors are given ready-made, so that no model runs.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import chromadb
import numpy as np

BATCH = 5000


def main() -> None:
    folder, top_k, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    vectors = np.load(folder / "vectors.npy").astype(np.float32)
    queries = np.load(folder / "queries.npy").astype(np.float32)
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
        found: list[list[int]] = []
        rates: list[float] = []
        for _ in range(rounds):
            found = []
            started = time.perf_counter()
            for query in queries:
                reply = collection.query(
                    query_embeddings=query[np.newaxis], n_results=top_k, include=["documents", "distances"]
                )
                found.append([int(number) for number in reply["ids"][0]])
            rates.append(len(queries) / (time.perf_counter() - started))
    answer = {"version": chromadb.__version__, "add_s": added_s, "queries_per_s": rates, "found": found}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
