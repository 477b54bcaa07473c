"""LanceDB, its synchronous Python API on a local folder.

One table of vectors, texts and row numbers, written at once, then an `IVF_HNSW_SQ` index with cosine distance
and its default parameters: the index that its guide recommends for speed. Searches select the text and the distance. By
default `ef` is 1.5 k and nothing is refined; for the recall, `ef` and `refine_factor` (which reads the full
vectors of that many times k) are raised. Threads: as many as it takes. A write is a new version of the
table, on disk when the call returns; a kill loses nothing.
"""

from collections.abc import Sequence
from typing import Any

import lancedb
import pyarrow as pa

from benchmarks.peers.harness import Job, Query, Row, Setting, Vectors, main


class LanceVectors:
    returns = "rows, texts, distances"
    settings = tuple(
        {"ef": ef, "refine_factor": factor}
        for ef, factor in (
            (30, 2),
            (60, 3),
            (100, 5),
            (150, 5),
            (150, 10),
            (200, 10),
            (250, 10),
            (400, 20),
            (800, 40),
            (1600, 80),
        )
    )
    server = None

    def __init__(self, job: Job) -> None:
        self._database = lancedb.connect(job.place)
        self._table: Any = (
            self._database.open_table("bulk") if "bulk" in self._database.table_names() else None
        )
        self._setting: Setting = {}

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        table = pa.table({"row": range(len(rows)), "text": [row.text for row in rows], "vector": column})
        self._table = self._database.create_table("bulk", table)
        self._table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_HNSW_SQ")

    def search(self, query: Query, top_k: int) -> list[int]:
        search = self._table.search(query.vector).distance_type("cosine").limit(top_k)
        if self._setting:
            search = search.ef(self._setting["ef"]).refine_factor(self._setting["refine_factor"])
        return [found["row"] for found in search.select(["row", "text", "_distance"]).to_list()]

    def use(self, setting: Setting) -> None:
        self._setting = setting

    def count(self) -> int:
        return int(self._table.count_rows()) if self._table else 0


if __name__ == "__main__":
    main(LanceVectors)
