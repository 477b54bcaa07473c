"""A server under concurrent searches: as users run it, and with each query embedded by itself."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import httpx2

from benchmarks.server import PROGRAM, environment_of, serving
from benchmarks.timing import Timed, time_each, time_once

# The same program, but for how a question becomes an embedding.
UNBATCHED = """
from retrieval.embedding.queries import QueryEmbeddings
QueryEmbeddings.embed = lambda self, text: self._embedder.embed_queries([text])
from api.cli import main
main()
"""


def measure_batching(
    data_dir: Path, cache_dir: Path, dataset_id: str, questions: Sequence[str], clients: int
) -> dict[str, Any]:
    """Each question once, with and without batching; half of them for each, so that none is known."""
    half = len(questions) // 2
    warm, questions = questions[:32], questions[32:]
    results: dict[str, Any] = {"clients": clients, "questions": half}
    modes = {
        "batched": (PROGRAM, questions[:half]),
        "unbatched": (("-c", UNBATCHED), questions[half : 2 * half]),
    }
    for mode, (program, asked) in modes.items():
        with serving(environment_of(data_dir, cache_dir), program) as (url, key):
            _ask_all(url, key, dataset_id, warm, clients)
            results[mode] = _ask_all(url, key, dataset_id, asked, clients)
    results["times_as_many_requests"] = round(
        results["batched"]["requests_per_s"] / results["unbatched"]["requests_per_s"], 2
    )
    return results


def _ask_all(url: str, key: str, dataset_id: str, questions: Sequence[str], clients: int) -> dict[str, float]:
    waiting: Queue[str] = Queue()
    for question in questions:
        waiting.put(question)

    def ask_all() -> Timed[None]:
        with ThreadPoolExecutor(clients) as pool:
            asking = [pool.submit(_ask, url, key, dataset_id, waiting) for _ in range(clients)]
            return Timed([None] * len(questions), [ms for one in asking for ms in one.result().taken_ms])

    timed, seconds = time_once(ask_all)
    return {"requests_per_s": round(len(questions) / seconds, 1), **timed.percentiles(1)}


def _ask(url: str, key: str, dataset_id: str, waiting: "Queue[str]") -> Timed[None]:
    """One client: the next question as soon as the last is answered."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:

        def ask(text: str) -> None:
            client.post(
                "/api/core/dataset/searchTest", json={"datasetId": dataset_id, "text": text, "topK": 10}
            ).raise_for_status()

        return time_each(ask, _drained(waiting))


def _drained(waiting: "Queue[str]") -> Iterator[str]:
    with suppress(Empty):
        while True:
            yield waiting.get_nowait()
