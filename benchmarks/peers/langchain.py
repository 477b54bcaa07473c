"""LangChain: `HuggingFaceEmbeddings` of langchain-huggingface, the `FAISS` store of langchain-community.

`FAISS.from_texts`, its default flat index, then `save_local`; `similarity_search` returns documents. The model's
prompts are asked for by the parameters it has for that (`encode_kwargs`, `query_encode_kwargs`); the
vectors are of unit length, so that its Euclidean distances order as cosines do. Texts go in whole, without a
splitter: the model reads their first 512 tokens. Threads: as many as torch takes. Everything is in
memory until `save_local`: a kill before it loses all that was not saved.
"""

from pathlib import Path

from langchain_community.vectorstores import FAISS
from langchain_huggingface import HuggingFaceEmbeddings

from benchmarks.peers.harness import Job, main, read_rows


class LangchainTexts:
    def __init__(self, job: Job) -> None:
        self._place = job.place
        self._embeddings = HuggingFaceEmbeddings(
            model_name=str(job.model),
            model_kwargs={"device": "cpu"},
            encode_kwargs={"prompt_name": "document", "normalize_embeddings": True},
            query_encode_kwargs={"prompt_name": "query", "normalize_embeddings": True},
        )

    def add(self, table: Path) -> None:
        rows = read_rows(table)
        numbers = [{"row": number} for number in range(len(rows))]
        self._store = FAISS.from_texts([row.text for row in rows], self._embeddings, metadatas=numbers)
        self._store.save_local(str(self._place / table.stem))

    def search(self, question: str, top_k: int) -> list[int]:
        return [found.metadata["row"] for found in self._store.similarity_search(question, k=top_k)]


if __name__ == "__main__":
    main(open_texts=LangchainTexts)
