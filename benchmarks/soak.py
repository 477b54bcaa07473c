"""Clients that write and clients that search, all at once and for a while; then a look at what is there.

Each writer has a collection of its own and knows what must be in it: what was acknowledged, and nothing else.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np

from benchmarks.server import command, serving

DATASETS = 4
PUSHED = 20
"""Records of one push."""
PAGE = 1000
SEED = 7

Rows = Sequence[tuple[str, str]]
Say = Callable[[str], None]


@dataclass
class Load:
    """What one client did: milliseconds of each kind of request, and what went wrong."""

    taken: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


class Client:
    """An HTTP client that takes the time of its requests."""

    def __init__(self, url: str, key: str, load: Load) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx2.Client(base_url=f"{url}/api/core/dataset", headers=headers, timeout=60)
        self._load = load

    def send(self, kind: str, method: str, path: str, **request: Any) -> Any:
        """The reply; ``None`` for a failure, which is noted."""
        started = time.perf_counter()
        reply = self._http.request(method, path, **request)
        self._load.taken.setdefault(kind, []).append((time.perf_counter() - started) * 1000)
        if reply.status_code != 200:
            self._load.errors.append(f"{kind}: {reply.status_code} {reply.text[:200]}")
            return None
        return reply.json()

    def close(self) -> None:
        self._http.close()


class Writer:
    """Adds, changes and deletes records of its collection, and knows what is left: q → a."""

    def __init__(self, number: int, client: Client, collection_id: str, rows: Rows) -> None:
        self._client = client
        self.collection_id = collection_id
        self._rows = iter([(f"{q} ({number})", a) for q, a in rows])
        self._random = random.Random(SEED + number)  # noqa: S311 - no secret, and the same each time
        self._ids: dict[str, str] = {}
        self.expected: dict[str, str] = {}
        self.deleted: list[str] = []

    def step(self) -> None:
        choice = self._random.random()
        if choice < 0.3 or len(self._ids) < 5:
            self._insert()
        elif choice < 0.5:
            self._push()
        elif choice < 0.8:
            self._update()
        else:
            self._delete()

    def _insert(self) -> None:
        q, a = next(self._rows)
        body = {"collectionId": self.collection_id, "q": q, "a": a}
        inserted = self._client.send("insert", "POST", "/data/insertData", json=body)
        if inserted:
            self._ids[q], self.expected[q] = inserted["data"], a

    def _push(self) -> None:
        items = [next(self._rows) for _ in range(PUSHED)]
        body = {"collectionId": self.collection_id, "data": [{"q": q, "a": a} for q, a in items]}
        pushed = self._client.send("push", "POST", "/data/pushData", json=body)
        if pushed:
            self.expected.update(items)

    def _update(self) -> None:
        q = self._random.choice(list(self._ids))
        a = f"{self.expected[q]} and more"
        if self._client.send("update", "PUT", "/data/update", json={"dataId": self._ids[q], "a": a}):
            self.expected[q] = a

    def _delete(self) -> None:
        q = self._random.choice(list(self._ids))
        if self._client.send("delete", "DELETE", "/data/delete", params={"id": self._ids[q]}):
            del self._ids[q], self.expected[q]
            self.deleted.append(q)


def measure_soak(
    environment: Mapping[str, str], rows: Rows, seconds: float, writers: int, searchers: int, say: Say
) -> dict[str, Any]:
    """Milliseconds by kind of request, errors, and records that are lost, wrong or back again (0 each, if all is well).

    Args:
        environment: of the server, which is started on an empty data directory.
        rows: the writers take turns at them; their questions are searched for as well.
    """
    with serving(environment) as (url, key):
        loads = [Load() for _ in range(writers + searchers)]
        clients = [Client(url, key, load) for load in loads]
        dataset_ids = [
            clients[0].send("set up", "POST", "/create", json={"name": f"soak {number}"})["data"]
            for number in range(DATASETS)
        ]
        writing = [
            Writer(
                number, clients[number], _collection(clients[0], dataset_ids, number), rows[number::writers]
            )
            for number in range(writers)
        ]
        say(f"{writers} write and {searchers} search for {seconds:g} s")
        _run_all(writing, clients[writers:], dataset_ids, rows, seconds)
        results = {
            "seconds": seconds,
            "writers": writers,
            "searchers": searchers,
            "requests": _latencies(loads),
            "errors": [error for load in loads for error in load.errors][:20],
            "records": sum(len(writer.expected) for writer in writing),
            **_differences(clients[0], dataset_ids, writing),
        }
        for client in clients:
            client.close()
    verified = command(environment, "datasets", "verify")
    return {**results, "verify": "clean" if verified.returncode == 0 else verified.stdout[-500:]}


def _collection(client: Client, dataset_ids: Sequence[str], number: int) -> str:
    body = {
        "datasetId": dataset_ids[number % len(dataset_ids)],
        "name": f"writer {number}",
        "type": "virtual",
    }
    collection_id: str = client.send("set up", "POST", "/collection/create", json=body)["data"]
    return collection_id


def _run_all(
    writing: Sequence[Writer],
    searching: Sequence[Client],
    dataset_ids: Sequence[str],
    rows: Rows,
    seconds: float,
) -> None:
    is_over = threading.Event()

    def write(writer: Writer) -> None:
        while not is_over.is_set():
            writer.step()

    def search(number: int, client: Client) -> None:
        choice = random.Random(-SEED - number)  # noqa: S311 - no secret, and the same each time
        while not is_over.is_set():
            q, _ = choice.choice(rows)
            body = {"datasetId": choice.choice(dataset_ids), "text": q, "limit": 1500}
            client.send("search", "POST", "/searchTest", json=body)

    with ThreadPoolExecutor(len(writing) + len(searching)) as pool:
        running = [pool.submit(write, writer) for writer in writing]
        running += [pool.submit(search, number, client) for number, client in enumerate(searching)]
        time.sleep(seconds)
        is_over.set()
        for one in running:
            one.result()


def _latencies(loads: Sequence[Load]) -> dict[str, dict[str, float]]:
    kinds = sorted({kind for load in loads for kind in load.taken} - {"set up"})
    by_kind = {kind: [ms for load in loads for ms in load.taken.get(kind, ())] for kind in kinds}
    return {
        kind: {
            "count": len(taken),
            "p50_ms": round(float(np.percentile(taken, 50)), 1),
            "p99_ms": round(float(np.percentile(taken, 99)), 1),
        }
        for kind, taken in by_kind.items()
    }


def _differences(client: Client, dataset_ids: Sequence[str], writing: Sequence[Writer]) -> dict[str, int]:
    lost = wrong = unexpected = 0
    for writer in writing:
        found = dict(_stored(client, writer.collection_id))
        lost += len(writer.expected.keys() - found.keys())
        unexpected += len(found.keys() - writer.expected.keys())
        wrong += sum(found[q] != a for q, a in writer.expected.items() if q in found)
    ghosts = sum(_is_found(client, dataset_ids, q) for writer in writing for q in writer.deleted[-10:])
    return {"lost": lost, "wrong": wrong, "unexpected": unexpected, "deleted_ones_found": ghosts}


def _stored(client: Client, collection_id: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    while True:
        body = {"collectionId": collection_id, "offset": len(found), "pageSize": PAGE}
        page = client.send("set up", "POST", "/data/v2/list", json=body)["data"]
        found += [(item["q"], item["a"]) for item in page["list"]]
        if not page["list"] or len(found) >= page["total"]:
            return found


def _is_found(client: Client, dataset_ids: Sequence[str], q: str) -> bool:
    body = {"datasetIds": list(dataset_ids), "text": q, "limit": 20_000, "topK": 50}
    quotes = client.send("set up", "POST", "/searchTest", json=body)["data"]["list"]
    return any(quote["q"] == q for quote in quotes)
