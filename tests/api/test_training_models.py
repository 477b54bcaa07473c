"""A dataset is moved to another embedding model over HTTP and by the command line, also across a restart."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from api.wiring import service_of
from retrieval.completion.backends import Backends
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.library import Library
from retrieval.model_changes import STEP
from retrieval.rebuilds import Rebuilds, RebuildState, rebuild_state
from retrieval.types import Embeddings, RecordDraft
from tests.api.commands import Cli
from tests.api.wire import DATASETS, Api, data_of, error_of
from tests.doubles import HashEmbedder

TRAINING = f"{DATASETS}/training"


class Gated(HashEmbedder):
    """Reads passages when it may."""

    name = "gated"
    fingerprint = "gated-1"

    def __init__(self) -> None:
        super().__init__(32)
        self.may_read = threading.Event()
        self.may_read.set()

    def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        assert self.may_read.wait(30)
        return super().embed_passages(texts)


@pytest.fixture
def gated() -> Gated:
    return Gated()


@pytest.fixture
def two(sampled: Library, tmp_path: Path, embedder: HashEmbedder, gated: Gated) -> Iterator[Api]:
    """The samples in a server that runs ``hash`` and ``gated``."""
    sampled.close()
    with Library.open(tmp_path / "data", embedder, models=[gated]) as library:
        service = service_of(library, Backends(ExtractiveCompletion()))
        with closing(service.rebuilds), closing(service.runner):
            yield Api(service)


def rebuild(api: Api, dataset_id: str, model: str = "gated") -> Any:
    return data_of(api.post(f"{TRAINING}/rebuildEmbedding", {"datasetId": dataset_id, "vectorModel": model}))


def ended(api: Api, dataset_id: str) -> dict[str, Any]:
    """The state of the rebuild, once it is over."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        state: dict[str, Any] = data_of(api.get(f"{TRAINING}/rebuildState", datasetId=dataset_id))
        if state["state"] not in ("queued", "running"):
            return state
        time.sleep(0.01)
    raise AssertionError(state)


def model_of(api: Api, dataset_id: str) -> str:
    name: str = data_of(api.get(f"{DATASETS}/detail", id=dataset_id))["vectorModel"]["model"]
    return name


def test_a_rebuild_is_begun_at_once_and_searches_have_the_old_model_until_it_ends(
    two: Api, gated: Gated
) -> None:
    dataset_id = two.dataset_id("suzume")
    library = two.service.library
    passages = library.store.count_passages(dataset_id)
    before = two.search("suzume", "导演是谁")
    assert rebuild_state(library, dataset_id) == RebuildState(dataset_id)
    gated.may_read.clear()
    assert rebuild(two, dataset_id) is None
    state = rebuild_state(library, dataset_id)
    assert (state.model, state.total, state.left, state.is_over) == ("gated", passages, passages, False)
    assert (two.search("suzume", "导演是谁")["list"], model_of(two, dataset_id)) == (before["list"], "hash")
    again = two.post(f"{TRAINING}/rebuildEmbedding", {"datasetId": dataset_id, "vectorModel": "gated"})
    assert "is being moved to another embedding model already" in error_of(again)["message"]
    gated.may_read.set()
    state = ended(two, dataset_id)
    assert (state["state"], state["done"], state["total"], state["error"]) == ("done", passages, passages, "")
    assert model_of(two, dataset_id) == "gated"
    assert two.search("suzume", "导演是谁")["list"] != before["list"]
    assert data_of(two.post(f"{TRAINING}/rollbackEmbedding", {"datasetId": dataset_id})) is None
    assert ended(two, dataset_id)["isRollBack"] is True
    assert two.search("suzume", "导演是谁")["list"] == before["list"]


def test_what_is_discarded_is_nothing_to_go_back_to(two: Api) -> None:
    dataset_id = two.dataset_id("suzume")
    rebuild(two, dataset_id)
    ended(two, dataset_id)
    assert data_of(two.post(f"{TRAINING}/discardEmbedding", {"datasetId": dataset_id})) is None
    response = two.post(f"{TRAINING}/rollbackEmbedding", {"datasetId": dataset_id})
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_request")
    assert model_of(two, dataset_id) == "gated"


def test_an_unknown_model_is_told_with_those_that_there_are(two: Api) -> None:
    body = {"datasetId": two.dataset_id("suzume"), "vectorModel": "text-embedding-3-small"}
    response = two.post(f"{TRAINING}/rebuildEmbedding", body)
    assert response.status_code == 422
    assert "(it runs: hash, gated)" in error_of(response)["message"]


def test_a_key_of_another_dataset_moves_nothing(two: Api) -> None:
    _, headers = two.new_key("dataset", dataset_ids=(two.dataset_id("coffee"),))
    body = {"datasetId": two.dataset_id("suzume"), "vectorModel": "gated"}
    for what in ("rebuildEmbedding", "rollbackEmbedding", "discardEmbedding"):
        assert two.post(f"{TRAINING}/{what}", body, headers).status_code == 403
    state = two.get(f"{TRAINING}/rebuildState", headers, datasetId=body["datasetId"])
    assert state.status_code == 403


def test_a_rebuild_that_a_restart_cut_off_goes_on(tmp_path: Path, gated: Gated) -> None:
    with Library.open(tmp_path, HashEmbedder(), models=[gated]) as library:
        collection = library.ensure_collection(library.create_dataset("d").id, "c")
        library.add_records(collection, [RecordDraft(f"text {n}") for n in range(2 * STEP)])
        rebuilds = Rebuilds(library)
        gated.may_read.clear()
        rebuilds.submit(collection.dataset_id, "gated")
        closing_thread = threading.Thread(target=rebuilds.close)
        closing_thread.start()
        while not rebuilds._is_closing:
            time.sleep(0.001)
        gated.may_read.set()
        closing_thread.join()
        state = rebuild_state(library, collection.dataset_id)
        assert (state.state, library.store.get_dataset(collection.dataset_id).model.name) == (
            "queued",
            "hash",
        )
    with Library.open(tmp_path, HashEmbedder(), models=[gated]) as library:
        rebuilds = Rebuilds(library)
        assert rebuilds.resume() == 1
        rebuilds._tasks[collection.dataset_id].outcome.result(30)
        rebuilds.close()
        assert rebuild_state(library, collection.dataset_id).state == "done"
        assert library.store.get_dataset(collection.dataset_id).model.name == "gated"
    assert gated.texts_read == 2 * STEP


def test_a_roll_back_that_had_come_to_its_end_does_not_go_back_again(tmp_path: Path, gated: Gated) -> None:
    with Library.open(tmp_path, HashEmbedder(), models=[gated]) as library:
        collection = library.ensure_collection(library.create_dataset("d").id, "c")
        library.add_records(collection, [RecordDraft("text")])
        library.change_model(collection.dataset_id, "gated")
        rebuilds = Rebuilds(library)
        ended = rebuilds.roll_back(collection.dataset_id).result(30)
        body = {**library.store.list_documents("rebuild")[0].body, "state": "running"}
        library.store.put_document("rebuild", collection.dataset_id, body, collection.dataset_id)
        rebuilds.close()
        rebuilds = Rebuilds(library)
        rebuilds.resume()
        rebuilds.close()
        assert (ended.state, library.store.get_dataset(collection.dataset_id).model.name) == ("done", "hash")


def test_a_rebuild_of_a_deleted_dataset_leaves_nothing(tmp_path: Path, gated: Gated) -> None:
    with Library.open(tmp_path, HashEmbedder(), models=[gated]) as library:
        collection = library.ensure_collection(library.create_dataset("d").id, "c")
        library.add_records(collection, [RecordDraft("text")])
        gated.may_read.clear()
        rebuilds = Rebuilds(library)
        outcome = rebuilds.submit(collection.dataset_id, "gated")
        library.delete_dataset(collection.dataset_id)
        gated.may_read.set()
        assert outcome.result(30).state == "cancelled"
        rebuilds.close()
        assert library.store.list_documents("rebuild") == []


def test_the_command_line_moves_a_dataset_and_back(filled: Cli) -> None:
    url = filled.settings["EMBEDDING_BASE_URL"]
    filled.settings["EMBEDDING_MODELS"] = f"another@{url}"
    first = filled("search", "suzume", "导演是谁", "--json").out
    moved = filled("datasets", "rebuild", "suzume", "--model", "another")
    assert (moved.code, moved.out) == (0, "suzume: searched by another\n")
    back = filled("datasets", "rebuild", "suzume", "--rollback", "--json")
    assert (back.code, back.out.split()) == (
        0,
        ["{", '"dataset":', '"suzume",', '"model":', '"scripted"', "}"],
    )
    assert filled("search", "suzume", "导演是谁", "--json").out.count("score") == first.count("score")
    unknown = filled("datasets", "rebuild", "suzume", "--model", "x")
    assert (unknown.code, "(it runs: scripted, another)" in unknown.err) == (1, True)
    assert filled("datasets", "rebuild", "suzume", "--model", "x", "--rollback").code == 2
