"""pgvector in the PostgreSQL that the package `pgserver` brings, over its socket with psycopg.

A table of row, text and vector filled by binary COPY in one transaction, then an HNSW index with
`vector_cosine_ops` and its defaults (m 16, ef_construction 64), `maintenance_work_mem` 1 GB as its README says to
raise. One kept connection, autocommit, a prepared statement that returns row, text and distance. The default
`hnsw.ef_search` is 40; for the recall it is raised. PostgreSQL is a server, so each query crosses a socket and its
work is not in the cores counted here. Everything committed survives the end of the client
(SIGKILL) and an immediate shutdown of the server (SIGQUIT), after which it recovers from its log.
"""

from collections.abc import Sequence

import pgserver
import psycopg
from pgvector.psycopg import register_vector

from benchmarks.peers.harness import Job, Query, Row, Setting, Vectors, efforts, main

NEAREST = "SELECT row, text, vector <=> %s AS distance FROM bulk ORDER BY distance LIMIT %s"


class PostgresVectors:
    returns = "rows, texts, distances"
    settings = efforts("ef_search", 40, 1000)

    def __init__(self, job: Job) -> None:
        server = pgserver.get_server(job.place)
        self.server: int | None = server.get_pid()
        self._connection = psycopg.connect(server.get_uri(), autocommit=True, prepare_threshold=1)
        self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(self._connection)
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS bulk (row int PRIMARY KEY, text text, vector vector({job.vectors.shape[1]}))"
        )

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        with (
            self._connection.transaction(),
            self._connection.cursor() as cursor,
            cursor.copy("COPY bulk (row, text, vector) FROM STDIN WITH (FORMAT BINARY)") as copy,
        ):
            copy.set_types(["int4", "text", "vector"])
            for number, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
                # PostgreSQL's texts cannot hold this character.
                copy.write_row((number, row.text.replace("\0", ""), vector))
        self._connection.execute("SET maintenance_work_mem = '1GB'")
        self._connection.execute("CREATE INDEX ON bulk USING hnsw (vector vector_cosine_ops)")

    def search(self, query: Query, top_k: int) -> list[int]:
        return [row for row, _, _ in self._connection.execute(NEAREST, (query.vector, top_k)).fetchall()]

    def use(self, setting: Setting) -> None:
        self._connection.execute(f"SET hnsw.ef_search = {setting['ef_search']}")

    def count(self) -> int:
        (counted,) = self._connection.execute("SELECT count(*) FROM bulk").fetchall()
        return int(counted[0])


if __name__ == "__main__":
    main(PostgresVectors)
