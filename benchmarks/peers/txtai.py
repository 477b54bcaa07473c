"""txtai's `Embeddings` on our model's folder, with content storage, so that searches return texts.

`method="sentence-transformers"`, its integration of that library, which applies the prompts that the folder declares to
queries and to documents by itself. Default index (FAISS), default batches, `index` and then `save`, as its guide
does. Beyond 5,000 rows its default index has cells, a sixteenth of which it looks into (`nprobe`): what is missed by that
is in its nDCG. Threads: as many as torch takes. Everything is in memory and a temporary SQLite file until `save`: a kill
before it loses all that was not saved.
"""

from pathlib import Path

from txtai import Embeddings

from benchmarks.peers.harness import Job, main, read_rows


class TxtaiTexts:
    def __init__(self, job: Job) -> None:
        self._place = job.place
        self._embeddings = Embeddings(path=str(job.model), method="sentence-transformers", content=True)

    def add(self, table: Path) -> None:
        self._embeddings.index((number, row.text) for number, row in enumerate(read_rows(table)))
        self._embeddings.save(str(self._place / table.stem))

    def search(self, question: str, top_k: int) -> list[int]:
        return [int(found["id"]) for found in self._embeddings.search(question, top_k)]


if __name__ == "__main__":
    main(open_texts=TxtaiTexts)
