"""What Prometheus is told: requests, the stages of searches, what is stored and loaded, the process.

Labels are methods, routes, statuses, stages and ids of datasets: nothing that users wrote.
"""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ingest.runner import JobRunner
from retrieval.errors import DatasetNotFound, StoreUnavailable
from retrieval.library import Library
from retrieval.stages import Stage
from retrieval.types import IndexStatus

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STAGE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts of one service, in a registry of its own.

    Args:
        is_open: whether they are told without a key.
    """

    def __init__(self, library: Library, runner: JobRunner, is_open: bool = False) -> None:
        self.is_open = is_open
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "quotebase_requests",
            "Requests that are over.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._request_seconds = Histogram(
            "quotebase_request_seconds",
            "From a request's first byte to its reply's last.",
            ["method", "route"],
            buckets=REQUEST_BUCKETS_S,
            registry=self._registry,
        )
        self._stage_seconds = Histogram(
            "quotebase_search_stage_seconds",
            "What a search spent in a stage.",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(_Present(library, runner))
        ProcessCollector(registry=self._registry)
        library.watch_searches(self.observe_search)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def observe_search(self, stages: Mapping[Stage, float]) -> None:
        """Seconds that one search spent, by its stages."""
        for stage, seconds in stages.items():
            self._stage_seconds.labels(stage).observe(seconds)

    def write(self, accept: str) -> tuple[bytes, str]:
        """(text, media type) in the form that an ``Accept`` header prefers; counts what the store has."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _Present(Collector):
    """What is there at the moment of asking. Without the store, its part is left out and ``store_up`` is 0."""

    def __init__(self, library: Library, runner: JobRunner) -> None:
        self._library = library
        self._runner = runner

    def collect(self) -> Iterator[Metric]:
        yield from self._stored()
        jobs = GaugeMetricFamily("quotebase_jobs", "Imports that are not over.", labels=["state"])
        for state, count in self._runner.counts().items():
            jobs.add_metric([state], count)
        yield jobs

    def _stored(self) -> Iterator[Metric]:
        records = GaugeMetricFamily("quotebase_records", "Records stored.", labels=["dataset"])
        passages = GaugeMetricFamily("quotebase_passages", "Passages stored.", labels=["dataset"])
        loaded = GaugeMetricFamily("quotebase_index_bytes", "Bytes of a loaded index.", labels=["dataset"])
        try:
            for dataset_id, count, status in self._datasets():
                records.add_metric([dataset_id], count)
                passages.add_metric([dataset_id], status.passages)
                if status.is_loaded:
                    loaded.add_metric([dataset_id], status.memory_bytes)
        except StoreUnavailable:
            yield GaugeMetricFamily("quotebase_store_up", "Whether the store answers.", 0)
            return
        yield GaugeMetricFamily("quotebase_store_up", "Whether the store answers.", 1)
        yield from (records, passages, loaded)

    def _datasets(self) -> Iterator[tuple[str, int, IndexStatus]]:
        """(id, records, index) of each."""
        store = self._library.store
        for dataset in store.list_datasets():
            try:
                status = self._library.index_status(dataset.id)
            except DatasetNotFound:
                continue
            yield dataset.id, store.count_records(dataset.id), status
