"""The same library through the server that holds its data directory.

A running server leaves its address and a token in ``server.json`` in the data directory, readable
by its owner only: whoever may read the directory owns what is in it.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import httpx2

from api.schemas import from_wire
from api.schemas.calibration import held_out_of, listed_of, threshold_item
from api.schemas.imports import failure_of, import_form
from api.schemas.search import read_search, search_body
from api.wiring import SERVER_FILE
from api.workspace import Added
from ingest.jobs import ImportReport, ImportSettings, Job, report_from
from ingest.progress import ReportProgress
from ingest.rows import TableOptions
from ingest.sources import Reading
from retrieval.calibration import Threshold
from retrieval.errors import (
    DatasetNotFound,
    DirectoryInUse,
    QuotebaseError,
    StoreUnavailable,
    UnreadableFile,
)
from retrieval.heldout import HeldOut
from retrieval.labels import Listed
from retrieval.library import no_dataset_named
from retrieval.rebuilds import RebuildState
from retrieval.types import (
    Dataset,
    IndexDifferences,
    IndexStatus,
    ModelBinding,
    RecordDraft,
    SearchRequest,
    SearchResult,
    VerifyReport,
    now,
)
from retrieval.vectors.index import OnStep

LOOK_S = 0.5
"""Between two looks at how far a rebuild or an import is."""

FIRST_LOOK_S = 0.02
"""Before the first look at an import; then twice as long each time."""

_PUSHED = "records.jsonl"
"""What the server calls records that come without a file."""


@contextmanager
def announce_server(data_dir: Path, url: str, token: str) -> Iterator[None]:
    """Let the command line find this server while the body runs."""
    path = data_dir / SERVER_FILE
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump({"url": url, "token": token, "pid": os.getpid()}, stream)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def connect(data_dir: Path, in_use: DirectoryInUse) -> Iterator["RemoteLibrary"]:
    """The server that holds the directory.

    Raises:
        DirectoryInUse: ``in_use``, if what holds the directory is no server.
        StoreUnavailable: the server went away in the middle.
    """
    with closing(_client(data_dir, in_use)) as client:
        try:
            yield RemoteLibrary(client)
        except httpx2.HTTPError as error:
            raise StoreUnavailable(
                f"the server at {client.base_url} stopped answering ({error}): try again"
            ) from error


def _client(data_dir: Path, in_use: DirectoryInUse) -> httpx2.Client:
    """A client of the server, which has answered."""
    try:
        server = json.loads((data_dir / SERVER_FILE).read_text())
        headers = {"Authorization": f"Bearer {server['token']}"}
        # An import may take hours; the server answers when it is done.
        client = httpx2.Client(base_url=server["url"], headers=headers, timeout=None)
        client.get("/health").raise_for_status()
    except (OSError, ValueError, KeyError, httpx2.HTTPError) as error:
        raise in_use from error
    return client


@dataclass(frozen=True, slots=True)
class RemoteLibrary:
    """What the command line needs of a library, over HTTP."""

    client: httpx2.Client

    def list_datasets(self) -> list[Dataset]:
        return [_dataset(item) for item in self._post("list", json={"everywhere": True, "type": "dataset"})]

    def dataset_named(self, name: str) -> Dataset:
        """Raises DatasetNotFound, with the names there are."""
        datasets = self.list_datasets()
        for dataset in datasets:
            if dataset.name == name:
                return dataset
        raise DatasetNotFound(no_dataset_named(name, datasets))

    def create_dataset(self, name: str) -> Dataset:
        self._post("create", json={"name": name})
        return self.dataset_named(name)

    def delete_dataset(self, dataset_id: str) -> None:
        self._read(self.client.delete("/api/core/dataset/delete", params={"id": dataset_id}))

    def import_file(
        self,
        dataset: Dataset,
        path: Path,
        settings: ImportSettings,
        vectors: Path | None,
        on_progress: ReportProgress | None,
    ) -> ImportReport:
        """The server is asked meanwhile how far it is; an interrupt cancels. Raises what its import raised."""
        form = {**import_form(dataset.id, settings), "async": True}
        with ExitStack() as stack:
            files = {"file": (path.name, _open(path, stack), "application/octet-stream")}
            if vectors:
                files["vectors"] = (vectors.name, _open(vectors, stack), "application/octet-stream")
            data = {"data": json.dumps(form)}
            job_id = self._post("collection/create/template", files=files, data=data)["job"]
        wait_s = FIRST_LOOK_S
        try:
            while (job := self._get("job/detail", id=job_id))["state"] in ("queued", "running"):
                if on_progress:
                    on_progress(report_from(job["report"]))
                time.sleep(wait_s)
                wait_s = min(LOOK_S, 2 * wait_s)
        except KeyboardInterrupt:
            self.cancel_job(job_id)
            raise
        report = replace(report_from(job["report"]), file=settings.file)
        if report.state == "failed":
            raise _error(job["errorCode"], report.error)
        if report.state == "cancelled":
            raise failure_of(report)
        return report

    def cancel_job(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        return _job(self._post("job/cancel", json={"id": job_id}))

    def save_rejects(self, report: ImportReport, path: Path) -> None:
        self._download("job/rejects", path, id=report.job)

    def export(self, dataset_id: str, path: Path) -> None:
        self._download("exportAll", path, datasetId=dataset_id)

    def _download(self, what: str, path: Path, **parameters: str) -> None:
        with self._streaming(what, **parameters) as response, path.open("wb") as file:
            file.writelines(response.iter_bytes())

    @contextmanager
    def _streaming(self, what: str, **parameters: str) -> Iterator[httpx2.Response]:
        with self.client.stream("GET", f"/api/core/dataset/{what}", params=parameters) as response:
            if response.is_error:
                response.read()
                self._read(response)
            yield response

    def add_records(self, dataset_id: str, collection: str, drafts: Sequence[RecordDraft]) -> Added:
        """By an import, which finds a collection by its name and makes it if it is missing."""
        lines = (json.dumps({"q": draft.q, "a": draft.a, "indexes": draft.indexes}) for draft in drafts)
        settings = ImportSettings(_PUSHED, collection, reading=Reading(TableOptions(encoding="utf-8")))
        files = {"file": (_PUSHED, "\n".join(lines).encode(), "application/x-ndjson")}
        data = {"data": json.dumps(import_form(dataset_id, settings))}
        report = self._post("collection/create/template", files=files, data=data)["report"]
        return Added(report["added"], report["unchanged"])

    def read_record(self, record_id: str) -> dict[str, Any]:
        """Raises RecordNotFound."""
        return dict(self._get("data/detail", id=record_id))

    def search(self, request: SearchRequest) -> SearchResult:
        data = self.search_reply(request)
        datasets = {dataset.id: dataset for dataset in self.list_datasets()}
        return read_search(data, request, datasets[request.dataset_ids[0]].model)

    def search_reply(self, request: SearchRequest) -> dict[str, Any]:
        return dict(self._post("searchTest", json=search_body(request)))

    def list_records(self, dataset_id: str) -> Iterator[Listed]:
        with self._streaming("records", datasetId=dataset_id) as response:
            yield from map(listed_of, response.iter_lines())

    def search_itself(self, dataset_id: str, top_k: int) -> HeldOut:
        return held_out_of(self._get("calibration/heldOut", datasetId=dataset_id, topK=str(top_k)))

    def set_threshold(self, threshold: Threshold) -> None:
        self._post("calibration", json=threshold_item(threshold))

    def status_of(self, dataset: Dataset) -> tuple[Dataset, int, IndexStatus]:
        """The dataset, its records, and where its index stands."""
        data = self._get("index/status", id=dataset.id)
        return dataset, data.pop("records"), from_wire(IndexStatus, data)

    def verify(self, _on_step: OnStep) -> VerifyReport:
        """Replies when the server is done."""
        data = self._post("index/verify")
        differences, text_differences = (
            {name: from_wire(IndexDifferences, found) for name, found in data[field].items()}
            for field in ("differences", "textDifferences")
        )
        return VerifyReport(
            data["repairedBatches"],
            data["orphansRemoved"],
            differences,
            data["passages"],
            text_differences,
        )

    def rebuild(self, dataset_id: str, on_step: OnStep) -> IndexStatus:
        """Replies when the server is done; it is asked meanwhile how far it is."""
        with ThreadPoolExecutor(1) as waiting:
            rebuilt = waiting.submit(self._post, "index/rebuild", json={"id": dataset_id})
            while not wait([rebuilt], timeout=LOOK_S).done:
                share = self._get("index/status", id=dataset_id)["folding"]
                on_step(int(1000 * (share or 0)), 1000)
            return from_wire(IndexStatus, rebuilt.result())

    def move(self, dataset_id: str, model: str | None, on_step: OnStep) -> str:
        """The server is asked how far it is; it goes on if nobody asks any more."""
        if model is None:
            self._post("training/rollbackEmbedding", json={"datasetId": dataset_id})
        else:
            self._post("training/rebuildEmbedding", json={"datasetId": dataset_id, "vectorModel": model})
        while True:
            state = from_wire(RebuildState, self._get("training/rebuildState", datasetId=dataset_id))
            on_step(state.done, state.total)
            if state.state == "done":
                return state.model
            if state.is_over:
                raise QuotebaseError(state.error or "the rebuild was cancelled: start it again to go on")
            time.sleep(LOOK_S)

    def _get(self, path: str, **parameters: str) -> Any:
        return self._read(self.client.get(f"/api/core/dataset/{path}", params=parameters))

    def _post(self, path: str, **content: Any) -> Any:
        return self._read(self.client.post(f"/api/core/dataset/{path}", **content))

    def _read(self, response: httpx2.Response) -> Any:
        body = response.json()
        if body.get("code") == 200:
            return body["data"]
        raise _error(body["statusText"], body["message"])


def _open(path: Path, stack: ExitStack) -> BinaryIO:
    try:
        return stack.enter_context(path.open("rb"))
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error


def _error(code: str, message: str) -> QuotebaseError:
    kinds = {kind.code: kind for kind in _all_errors(QuotebaseError)}
    return kinds.get(code, QuotebaseError)(message)


def _all_errors(kind: type[QuotebaseError]) -> Iterator[type[QuotebaseError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _all_errors(child)


def _dataset(item: dict[str, Any]) -> Dataset:
    model = item["vectorModel"]
    binding = ModelBinding(model["model"], model["dimension"], model["fingerprint"])
    return Dataset(item["_id"], item["name"], binding, item["intro"], now(), now())


def _job(item: dict[str, Any]) -> Job:
    report = report_from(item["report"])
    created, updated = (datetime.fromisoformat(item[name]) for name in ("createTime", "updateTime"))
    settings = ImportSettings(item["file"], report.collection)
    return Job(item["id"], item["datasetId"], settings, "", "", "", report, created, updated)
