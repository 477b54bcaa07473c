"""What operators are told: whether the server can answer, and what it does."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import create_app
from api.readiness import Readiness
from api.wiring import Service, service_of
from ingest.jobs import Jobs
from retrieval.completion.backends import Backends
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.embedding.endpoint import EndpointEmbedder
from retrieval.errors import EmbedderUnavailable
from retrieval.library import Library
from retrieval.types import Embeddings
from tests.api.conftest import opened
from tests.api.imports import Gate, table
from tests.api.wire import DATASETS, Api, data_of, error_of, new_chatter
from tests.doubles import HashEmbedder
from tests.openai_server import OpenAIServer, closed_port

Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]

NOTHING_WRONG = {"ready": True, "message": ""}


class MoodyEmbedder(HashEmbedder):
    """Counts what it is asked, and can be down."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.is_down = False

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        self.asked += texts
        if self.is_down:
            raise EmbedderUnavailable("http://user:hunter2@models/v1 does not answer")
        return super().embed_queries(texts)


@pytest.fixture
def moody(tmp_path: Path) -> Iterator[tuple[MoodyEmbedder, Library]]:
    embedder = MoodyEmbedder()
    with Library.open(tmp_path / "data", embedder) as library:
        yield embedder, library


def ready(library: Library, remembered_s: float = 0.0) -> tuple[int, Any]:
    """The reply of ``/ready`` without a key: (status, body)."""
    service = replace(
        service_of(library, Backends(ExtractiveCompletion())), readiness=Readiness(library, remembered_s)
    )
    with closing(service.runner):
        reply = TestClient(create_app(service)).get("/ready")
    return reply.status_code, reply.json()


def damage_store(library: Library) -> None:
    library.store.close()
    path = library.data_dir / "quotebase.sqlite"
    path.write_bytes(b"this is no database, whatever it was before" * 200)
    for extra in path.parent.glob("quotebase.sqlite-*"):
        extra.unlink()


# Alive and ready


def test_a_server_that_is_well_says_so_without_a_key(api: Api) -> None:
    assert api.client.get("/health").json() == {"status": "ok"}

    reply = api.client.get("/ready")

    assert reply.status_code == 200
    assert reply.json() == {
        "status": "ok",
        "checks": {
            "store": NOTHING_WRONG,
            "model": {**NOTHING_WRONG, "name": "hash"},
            "indexes": {**NOTHING_WRONG, "loaded": [], "failing": []},
        },
    }


def test_an_index_is_told_of_once_it_is_loaded(api: Api) -> None:
    api.search("suzume", "导演是谁")

    checks = api.client.get("/ready").json()["checks"]

    assert checks["indexes"]["loaded"] == [api.dataset_id("suzume")]


def test_a_model_that_is_down_is_told_of_without_its_secrets(moody: tuple[MoodyEmbedder, Library]) -> None:
    embedder, library = moody
    embedder.is_down = True

    status, body = ready(library)

    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"]["model"] == {
        "ready": False,
        "message": "the embedding model does not answer: the log says why",
        "name": "hash",
    }
    assert body["checks"]["store"] == NOTHING_WRONG
    assert "hunter2" not in str(body)


def test_a_model_that_comes_back_is_ready_again(moody: tuple[MoodyEmbedder, Library]) -> None:
    embedder, library = moody
    readiness = Readiness(library, remembered_s=0.0)

    embedder.is_down = True
    assert not readiness.look().is_ready
    embedder.is_down = False
    assert readiness.look().is_ready


def test_a_model_is_asked_once_in_a_while_however_often_it_is_looked(
    moody: tuple[MoodyEmbedder, Library],
) -> None:
    embedder, library = moody
    readiness = Readiness(library, remembered_s=60.0)

    assert [readiness.look().is_ready for _ in range(20)] == [True] * 20
    assert len(embedder.asked) == 1


def test_an_endpoint_that_nobody_listens_at_is_not_ready(tmp_path: Path) -> None:
    with (
        closed_port() as port,
        Library.open(
            tmp_path, EndpointEmbedder("m", f"http://127.0.0.1:{port}/v1", "sk-secret", 512)
        ) as library,
    ):
        report = Readiness(library).look()

    assert (report.store, report.is_ready) == ("", False)
    assert report.model == "the embedding model does not answer: the log says why"


def test_who_comes_while_the_model_is_asked_does_not_wait(endpoint: OpenAIServer, tmp_path: Path) -> None:
    gate = Gate(endpoint)
    gate.shut("ready?")
    with Library.open(tmp_path, EndpointEmbedder("m", endpoint.url, None, 512)) as library:
        readiness = Readiness(library)
        first = threading.Thread(target=readiness.look)
        first.start()
        gate.wait()

        meanwhile = readiness.look()
        gate.open()
        first.join()

        assert meanwhile.model == "the model has not answered yet"
        assert readiness.look().is_ready


def test_a_store_that_does_not_answer_is_told_of(sampled: Library) -> None:
    damage_store(sampled)

    status, body = ready(sampled)

    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"]["store"] == {
        "ready": False,
        "message": "the store does not answer: the log says why",
    }
    assert str(sampled.data_dir) not in str(body)


def test_an_index_that_cannot_be_loaded_is_tried_again_until_it_can(api: Api, sampled: Library) -> None:
    folder = sampled.data_dir / "fulltext"
    kept = folder.rename(folder.with_name("elsewhere")) if folder.exists() else None
    folder.write_bytes(b"where a folder should be")
    dataset = api.dataset_id("suzume")
    search = {"datasetId": dataset, "text": "x", "searchMode": "fullTextRecall"}

    assert error_of(api.post(f"{DATASETS}/searchTest", search))["code"] == "store_unavailable"
    status, body = ready(sampled)
    assert status == 503
    assert body["checks"]["indexes"]["failing"] == [dataset]
    assert body["checks"]["indexes"]["message"] == "some indexes cannot be loaded: the log says why"

    folder.unlink()
    if kept:
        kept.rename(folder)
    # The reply tells of the try that it made.
    assert ready(sampled)[0] == 200


def test_a_deleted_dataset_fails_no_more(api: Api, sampled: Library) -> None:
    (sampled.data_dir / "fulltext").write_bytes(b"where a folder should be")
    dataset = api.dataset_id("suzume")
    api.post(f"{DATASETS}/searchTest", {"datasetId": dataset, "text": "x", "searchMode": "fullTextRecall"})
    assert sampled.index_health().failing == {dataset}

    assert api.delete(f"{DATASETS}/delete", id=dataset).status_code == 200

    assert sampled.index_health().failing == set()


# Metrics


def metrics(api: Api) -> Samples:
    """All samples by name and labels."""
    reply = api.get("/metrics")
    assert reply.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def labelled(**labels: str) -> Labels:
    return frozenset(labels.items())


def requests_of(samples: Samples, method: str, route: str) -> dict[str, float]:
    """Counts by status."""
    found = {}
    for (name, pairs), value in samples.items():
        labels = dict(pairs)
        if name == "quotebase_requests_total" and (labels["method"], labels["route"]) == (method, route):
            found[labels["status"]] = value
    return found


def test_metrics_take_an_admin_key(api: Api) -> None:
    assert error_of(api.client.get("/metrics"))["code"] == "unauthorized"
    for key in (api.new_key("dataset")[1], api.new_key("app", app_id=api.new_app("suzume").id)[1]):
        assert error_of(api.get("/metrics", key))["code"] == "forbidden"
    assert api.get("/metrics").status_code == 200


def test_metrics_are_open_where_the_settings_say_so(sampled: Library) -> None:
    service = service_of(sampled, Backends(ExtractiveCompletion()), metrics_open=True)
    with closing(service.runner):
        reply = TestClient(create_app(service)).get("/metrics")

    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=")


def test_metrics_come_as_openmetrics_to_who_prefers_it(api: Api) -> None:
    reply = api.get("/metrics", {**api.admin, "Accept": "application/openmetrics-text; version=1.0.0"})

    assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
    assert reply.text.endswith("# EOF\n")


def test_requests_are_counted_by_method_route_and_status(api: Api) -> None:
    for text in ("导演是谁", "女主角叫什么名字"):
        api.search("suzume", text)
    api.post(f"{DATASETS}/searchTest", {})
    api.post(f"{DATASETS}/searchTest", {}, {})
    api.get(f"{DATASETS}/searchTest")

    samples = metrics(api)

    assert requests_of(samples, "POST", f"{DATASETS}/searchTest") == {"200": 2, "422": 1, "401": 1}
    assert requests_of(samples, "GET", f"{DATASETS}/searchTest") == {"405": 1}
    timed = labelled(method="POST", route=f"{DATASETS}/searchTest")
    assert samples["quotebase_request_seconds_count", timed] == 4
    assert samples["quotebase_request_seconds_sum", timed] > 0


def test_a_path_that_is_not_there_leaves_nothing_of_itself(api: Api) -> None:
    api.get("/my/secret/path")
    api.client.request("BREW", "/another/one", headers=api.admin)

    samples = metrics(api)

    assert requests_of(samples, "GET", "unmatched") == {"404": 1}
    assert requests_of(samples, "other", "unmatched") == {"404": 1}
    assert not re.search("secret|another|BREW", str(samples))


def test_stages_of_searches_are_timed(api: Api) -> None:
    api.search("suzume", "导演是谁")
    api.search("suzume", "导演是谁", searchMode="mixedRecall")
    new_chatter(api).answer("导演是谁")

    samples = metrics(api)

    def counted(stage: str) -> float:
        return samples.get(("quotebase_search_stage_seconds_count", labelled(stage=stage)), 0)

    assert [counted(stage) for stage in ("embed", "recall", "read", "rerank")] == [3, 3, 3, 0]


def test_what_is_stored_and_loaded_is_told_by_the_ids_of_datasets(api: Api, sampled: Library) -> None:
    api.search("suzume", "导演是谁")
    suzume, coffee = (api.dataset_id(name) for name in ("suzume", "coffee"))

    samples = metrics(api)

    assert samples["quotebase_records", labelled(dataset=suzume)] == 45
    assert samples["quotebase_passages", labelled(dataset=suzume)] == 57
    assert samples["quotebase_records", labelled(dataset=coffee)] == sampled.store.count_records(coffee)
    loaded = samples["quotebase_index_bytes", labelled(dataset=suzume)]
    assert loaded == sampled.index_status(suzume).memory_bytes > 0
    assert ("quotebase_index_bytes", labelled(dataset=coffee)) not in samples
    assert samples["quotebase_store_up", frozenset()] == 1
    assert samples["process_resident_memory_bytes", frozenset()] > 10_000_000


def test_nothing_that_users_wrote_is_in_the_metrics(api: Api) -> None:
    api.search("suzume", "文字脚本的作者")

    text = api.get("/metrics").text

    assert not re.search("suzume|coffee|文字|qb-admin", text)


def test_metrics_go_on_without_the_store(api: Api, sampled: Library) -> None:
    service = service_of(sampled, Backends(ExtractiveCompletion()), metrics_open=True)
    with closing(service.runner):
        client = TestClient(create_app(service), raise_server_exceptions=False)
        client.get("/health")
        damage_store(sampled)
        reply = client.get("/metrics")

    assert reply.status_code == 200
    assert "quotebase_store_up 0.0" in reply.text
    assert "quotebase_records{" not in reply.text
    assert 'quotebase_requests_total{method="GET",route="/health",status="200"} 1.0' in reply.text


def test_jobs_that_wait_and_that_run_are_told_apart(endpoint: OpenAIServer, tmp_path: Path) -> None:
    gate = Gate(endpoint)
    with (
        Library.open(tmp_path, EndpointEmbedder("m", endpoint.url, None, 512)) as library,
        opened(library, ExtractiveCompletion()) as api,
    ):
        dataset = data_of(api.post(f"{DATASETS}/create", {"name": "d"}))
        gate.shut("question 0\nanswer")
        for content in (table(1), table(2)):
            data_of(api.upload(dataset, "same.csv", content.encode(), **{"async": "true"}))
        gate.wait()
        before = metrics(api)
        gate.open()
        jobs = [item["id"] for item in data_of(api.get(f"{DATASETS}/job/list"))]
        for job in jobs:
            service_waits(api.service, job)
        after = metrics(api)

    def counts(samples: Samples) -> list[float]:
        return [samples["quotebase_jobs", labelled(state=state)] for state in ("queued", "running")]

    assert counts(before) == [1, 1]
    assert counts(after) == [0, 0]


def service_waits(service: Service, job_id: str) -> None:
    service.runner.submit(Jobs(service.library.store).get(job_id)).result(60)


def test_services_count_for_themselves(sampled: Library) -> None:
    first = service_of(sampled, Backends(ExtractiveCompletion()), metrics_open=True)
    second = service_of(sampled, Backends(ExtractiveCompletion()), metrics_open=True)
    with closing(first.runner), closing(second.runner):
        TestClient(create_app(first)).get("/health")
        text = TestClient(create_app(second)).get("/metrics").text

    assert "quotebase_requests_total{" not in text
