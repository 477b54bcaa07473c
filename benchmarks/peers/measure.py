"""Jobs for the peers, and the three reports that their answers become.

The peers take their turns one after another, the project among them, asked by the same lines
(:mod:`benchmarks.peers.harness`), one question at a time. A peer that fails is in the report with the reason.
"""

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from benchmarks.brute_force import nearest_rows
from benchmarks.corpus import Say, read_corpus, read_rows
from benchmarks.peers.environments import Peer, PeerFailed, run_job
from benchmarks.quality import measure_quality, qrels_of
from benchmarks.report import SEED, make_report
from ingest.labelled import LabelledSet, read_labelled
from retrieval.embedding import binding
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.evaluation import Run, evaluate
from retrieval.quotes import content_key
from retrieval.types import RecordDraft, SearchMode, StoredEmbeddings

Part = Literal["vectors", "texts", "quality"]

OWN = Peer("quotebase", "quotebase")
CHROMA = Peer("chroma", "Chroma", ("chromadb",))
FLOORS = (
    Peer("bare_faiss", "FAISS HNSW, bare", ("faiss-cpu",)),
    Peer("bare_hnswlib", "hnswlib, bare", ("hnswlib",)),
)
VECTOR_PEERS = (
    CHROMA,
    Peer("lancedb", "LanceDB", ("lancedb",)),
    Peer("pgvector", "pgvector", ("pgserver", "pgvector")),
    Peer("milvus", "Milvus Lite", ("milvus-lite", "pymilvus")),
    Peer("qdrant", "Qdrant, local mode", ("qdrant-client",)),
)
TEXT_PEERS = (
    CHROMA,
    Peer("txtai", "txtai", ("txtai",)),
    Peer("langchain", "LangChain + FAISS", ("langchain-huggingface", "langchain-community", "faiss-cpu")),
    Peer("llamaindex", "LlamaIndex + FAISS", ("llama-index-core", "faiss-cpu")),
)

TOP_K = 10
LEAST_RECALL = 0.98
ROUND_S, QUICK_ROUND_S = 20.0, 1.0
KILLED = 1_000
"""Vectors that are there when the process is killed."""
WARM_UP = 16


def measure_peers(
    parts: Sequence[Part],
    bulk: Path,
    labelled: Sequence[Path],
    embedder: BundledEmbedder,
    cache_dir: Path,
    is_quick: bool,
    say: Say,
) -> Iterator[dict[str, Any]]:
    """A report for each part, as soon as it is made: vectors with texts, texts to be embedded, quality on labelled sets."""
    bench = Bench(embedder, cache_dir, is_quick, say)
    measures: Mapping[Part, Callable[[], dict[str, Any]]] = {
        "vectors": lambda: bench.vectors(bulk),
        "texts": lambda: bench.texts(bulk),
        "quality": lambda: bench.quality(labelled),
    }
    return (measures[part]() for part in get_args(Part) if part in parts)


class Bench:
    """What all jobs have in common."""

    def __init__(self, embedder: BundledEmbedder, cache_dir: Path, is_quick: bool, say: Say) -> None:
        self._embedder = embedder
        self._cache_dir = cache_dir
        self._is_quick = is_quick
        self._say = say

    def vectors(self, bulk: Path) -> dict[str, Any]:
        """Rows of the bulk table with ready-made embeddings, those that repeat another left out."""
        rows, queries = (10_000, 500) if self._is_quick else (100_000, 2_000)
        corpus = read_corpus(bulk, self._embedder, self._cache_dir, queries, self._say, rows)
        kept = distinct(corpus.drafts)
        vectors = corpus.embeddings[kept]
        (truth,) = nearest_rows([vectors], corpus.queries, TOP_K)
        with tempfile.TemporaryDirectory(prefix="quotebase-bench-") as place:
            data, few = Path(place) / "data", Path(place) / "few"
            drafts = [corpus.drafts[row] for row in kept]
            write_vectors(data, drafts, vectors)
            write_vectors(few, drafts[:KILLED], vectors[:KILLED])
            for folder in (data, few):
                write_questions(folder, corpus.questions)
                np.save(folder / "queries.npy", corpus.queries)
                np.save(folder / "truth.npy", truth)
            peers = self._ask_each(
                (OWN, *VECTOR_PEERS, *FLOORS),
                lambda peer: self._run(peer, "vectors", data) | self._killed(peer, few),
            )
        results = {
            "passages": len(drafts),
            "dim": vectors.shape[1],
            "queries": len(corpus.questions),
            "top_k": TOP_K,
            "least_recall": LEAST_RECALL,
            "peers": peers,
        }
        return make_report("peers vectors", binding(self._embedder), bulk, results)

    def texts(self, bulk: Path) -> dict[str, Any]:
        """Rows drawn from all of the bulk table as a CSV file; questions are those of other rows."""
        count, questions = (80, 60) if self._is_quick else (10_000, 320)
        drawn = draw(read_rows(bulk, 1_000_000), count + WARM_UP + questions)
        with tempfile.TemporaryDirectory(prefix="quotebase-bench-") as place:
            data = Path(place) / "data"
            data.mkdir()
            write_table(data / "rows.csv", drawn[:count])
            write_table(data / "warm_up.csv", drawn[count : count + WARM_UP])
            write_questions(data, [draft.q for draft in drawn[count + WARM_UP :]])
            peers = self._ask_each((OWN, *TEXT_PEERS), lambda peer: self._run(peer, "texts", data))
        results = {"rows": count, "questions": questions, "top_k": TOP_K, "peers": peers}
        return make_report("peers texts", binding(self._embedder), bulk, results)

    def quality(self, folders: Sequence[Path]) -> dict[str, Any]:
        """nDCG@10 of each peer's default search beside each of the project's modes."""
        sets: dict[str, Any] = {}
        for folder in folders:
            own = measure_quality(folder, "test", get_args(SearchMode), self._embedder, None, self._say)
            labelled = read_labelled(folder, "test")
            sets[folder.name] = {
                "documents": len(labelled.documents),
                "queries": len(labelled.queries),
                "quotebase": {
                    mode: round(own["results"][f"{mode} nDCG@10"], 4) for mode in get_args(SearchMode)
                },
                "peers": self._search_set(labelled),
            }
        return make_report("peers quality", binding(self._embedder), folders[0].parent, {"sets": sets})

    def _search_set(self, labelled: LabelledSet) -> dict[str, Any]:
        keys = [content_key(draft) for draft in labelled.documents.values()]
        qrels = qrels_of(labelled)
        with tempfile.TemporaryDirectory(prefix="quotebase-bench-") as place:
            data = Path(place)
            write_table(data / "rows.csv", labelled.documents.values())
            write_questions(data, list(labelled.queries.values()))

            def ask(peer: Peer) -> dict[str, Any]:
                answer = self._run(peer, "runs", data)
                run = to_run(labelled.queries, answer.pop("found"), keys)
                return {"nDCG@10": round(evaluate(run, qrels).means["nDCG@10"], 4), **answer}

            return self._ask_each(TEXT_PEERS, ask)

    def _ask_each(
        self, peers: Iterable[Peer], ask: Callable[[Peer], dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        answers: dict[str, dict[str, Any]] = {}
        for peer in peers:
            try:
                answer = ask(peer)
            except PeerFailed as failure:
                answer = {"failed": str(failure)}
            loaded = {"load_average": round(os.getloadavg()[0], 2)}
            answers[peer.module] = {"name": peer.name, "versions": peer.versions, **loaded, **answer}
            self._say(f"{peer.name}: {answer}")
        return answers

    def _run(self, peer: Peer, kind: str, data: Path) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="quotebase-peer-") as place:
            return run_job(peer, self._job(kind, Path(place), data), self._cache_dir, self._say)

    def _killed(self, peer: Peer, data: Path) -> dict[str, Any]:
        """How many vectors are there after a process had added them and was killed at once."""
        with tempfile.TemporaryDirectory(prefix="quotebase-peer-") as place:
            job = self._job("kill", Path(place), data)
            added = run_job(peer, {**job, "is_killed": True}, self._cache_dir, self._say)["added"]
            kept = run_job(peer, {**job, "kind": "count"}, self._cache_dir, self._say)["kept"]
        return {"kept_after_kill": round(kept / added, 4)}

    def _job(self, kind: str, place: Path, data: Path) -> dict[str, Any]:
        return {
            "kind": kind,
            "place": str(place),
            "data": str(data),
            "top_k": TOP_K,
            "least_recall": LEAST_RECALL,
            "round_s": QUICK_ROUND_S if self._is_quick else ROUND_S,
            "model": str(self._embedder.folder),
            "binding": asdict(binding(self._embedder)),
        }


def distinct(drafts: Sequence[RecordDraft]) -> list[int]:
    """The rows that are not another's repeat, so that a search which drops repeats has no other truth."""
    return sorted({content_key(draft): row for row, draft in reversed(list(enumerate(drafts)))}.values())


def draw(drafts: Sequence[RecordDraft], count: int) -> list[RecordDraft]:
    """``count`` of them by chance, the same in each run: the table has one kind of text after another."""
    return [drafts[place] for place in np.random.default_rng(SEED).permutation(len(drafts))[:count]]


def to_run(query_ids: Iterable[str], found: Sequence[Sequence[int]], keys: Sequence[str]) -> Run:
    """Documents by their content, each at its best place, as our own searches are scored."""
    return {
        query_id: {
            key: 1 / place for place, key in enumerate(dict.fromkeys(keys[row] for row in rows), start=1)
        }
        for query_id, rows in zip(query_ids, found, strict=True)
    }


def write_vectors(folder: Path, drafts: Sequence[RecordDraft], vectors: StoredEmbeddings) -> None:
    folder.mkdir()
    np.save(folder / "vectors.npy", vectors)
    rows = json.dumps([(draft.q, draft.a) for draft in drafts], ensure_ascii=False)
    (folder / "rows.json").write_text(rows, encoding="utf-8")


def write_questions(folder: Path, questions: Sequence[str]) -> None:
    (folder / "questions.json").write_text(json.dumps(questions, ensure_ascii=False), encoding="utf-8")


def write_table(path: Path, drafts: Iterable[RecordDraft]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("q", "a"), *((draft.q, draft.a) for draft in drafts)])
