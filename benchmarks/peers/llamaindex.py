"""LlamaIndex: `HuggingFaceEmbedding` and `FaissVectorStore` over `IndexFlatIP`, as its guide has it.

`VectorStoreIndex.from_documents` with its default splitter (sentences, 1,024 tokens), then `persist`; the default
retriever returns nodes with texts and scores, of which a document's best counts. The model's prompts are
given by the parameters it has for that (`query_instruction`, `text_instruction`). Threads: as many as torch takes.
Everything is in memory until `persist`: a kill before it loses all that was not saved.
"""

from pathlib import Path

import faiss
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.faiss import FaissVectorStore

from benchmarks.peers.harness import Job, main, read_rows

DIM = 384


class LlamaIndexTexts:
    def __init__(self, job: Job) -> None:
        self._place = job.place
        self._embedding = HuggingFaceEmbedding(
            model_name=str(job.model),
            device="cpu",
            query_instruction=job.prompts["query"],
            text_instruction=job.prompts["document"],
        )

    def add(self, table: Path) -> None:
        documents = [
            Document(text=row.text, doc_id=str(number)) for number, row in enumerate(read_rows(table))
        ]
        storage = StorageContext.from_defaults(
            vector_store=FaissVectorStore(faiss_index=faiss.IndexFlatIP(DIM))
        )
        self._index = VectorStoreIndex.from_documents(
            documents, storage_context=storage, embed_model=self._embedding
        )
        self._index.storage_context.persist(str(self._place / table.stem))

    def search(self, question: str, top_k: int) -> list[int]:
        found = self._index.as_retriever(similarity_top_k=top_k).retrieve(question)
        return list(dict.fromkeys(int(one.node.ref_doc_id) for one in found))


if __name__ == "__main__":
    main(open_texts=LlamaIndexTexts)
