"""Milvus Lite through `MilvusClient("file.db")`.

A collection with the vector, the row and the text, cosine metric, and an HNSW index with M 16 and
efConstruction 200; inserted in batches of 1,000. Searches have `output_fields` row and text. The default leaves
`ef` to it; for the recall, `ef` is raised. The same client talks to a Milvus server, which is not measured
here. Threads: as many as it takes. What an insert that returned is worth is what the kill shows.
"""

from collections.abc import Sequence

from pymilvus import DataType, MilvusClient

from benchmarks.peers.harness import Job, Query, Row, Setting, Vectors, efforts, main, slices

BATCH = 1_000


class MilvusVectors:
    returns = "rows, texts, distances"
    settings = efforts("ef", 16, 512)
    server = None

    def __init__(self, job: Job) -> None:
        self._client = MilvusClient(str(job.place / "bulk.db"))
        self._setting: Setting = {}
        if self._client.has_collection("bulk"):
            self._client.load_collection("bulk")
        else:
            self._create(job.vectors.shape[1])

    def _create(self, dim: int) -> None:
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        schema.add_field("text", DataType.VARCHAR, max_length=65_535)
        parameters = self._client.prepare_index_params()
        parameters.add_index(
            "vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 200}
        )
        self._client.create_collection("bulk", schema=schema, index_params=parameters)

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        for part in slices(len(rows), BATCH):
            self._client.insert(
                "bulk",
                [
                    {"row": number, "vector": vectors[number], "text": rows[number].text}
                    for number in range(part.start, part.stop)
                ],
            )
        self._client.flush("bulk")

    def search(self, query: Query, top_k: int) -> list[int]:
        (found,) = self._client.search(
            "bulk",
            [query.vector],
            limit=top_k,
            output_fields=["row", "text"],
            search_params={"metric_type": "COSINE", "params": dict(self._setting)},
        )
        return [int(hit["entity"]["row"]) for hit in found]

    def use(self, setting: Setting) -> None:
        self._setting = setting

    def count(self) -> int:
        return int(self._client.query("bulk", output_fields=["count(*)"])[0]["count(*)"])


if __name__ == "__main__":
    main(MilvusVectors)
