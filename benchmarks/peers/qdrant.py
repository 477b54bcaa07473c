"""Qdrant's local mode, `QdrantClient(path=…)`: the client's own Python implementation, without a server.

Cosine distance, points with the text as payload, upserted in batches of 1,000; `query_points` returns
scores and payloads. Local mode searches exactly, by numpy, and has nothing to set: its recall is 1. Its authors offer
it for development and tests and say to run the server for more than some 20,000 points; the server is a
program that the package does not bring, and is not measured here. Each point is in SQLite when the call returns.
"""

from collections.abc import Sequence

from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams

from benchmarks.peers.harness import Job, Query, Row, Setting, Vectors, main, slices

BATCH = 1_000


class QdrantVectors:
    returns = "ids, texts, scores"
    settings: Sequence[Setting] = ()
    server = None

    def __init__(self, job: Job) -> None:
        self._client = QdrantClient(path=str(job.place))
        if not self._client.collection_exists("bulk"):
            parameters = VectorParams(size=job.vectors.shape[1], distance=Distance.COSINE)
            self._client.create_collection("bulk", vectors_config=parameters)

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        for part in slices(len(rows), BATCH):
            points = [
                PointStruct(id=number, vector=vectors[number].tolist(), payload={"text": rows[number].text})
                for number in range(part.start, part.stop)
            ]
            self._client.upsert("bulk", points)

    def search(self, query: Query, top_k: int) -> list[int]:
        found = self._client.query_points("bulk", query=query.vector, limit=top_k, with_payload=True)
        return [int(point.id) for point in found.points]

    def use(self, setting: Setting) -> None:
        raise AssertionError("there are no settings")

    def count(self) -> int:
        return int(self._client.count("bulk").count)


if __name__ == "__main__":
    main(QdrantVectors)
