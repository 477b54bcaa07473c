"""Imports: uploads that become jobs, and what becomes of them: ``/api/core/dataset/…``."""

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel

from api.auth import ExportKey, SearchKey, ServiceOf, WriteKey, require_dataset
from api.keys import Key
from api.schemas import envelope
from api.schemas.imports import ImportForm, LinkForm, TextForm, failure_of, job_item, read_form
from api.uploads import Upload, new_folder, receive_upload
from api.wiring import UPLOADS_FOLDER, Service
from ingest.export import export_csv
from ingest.inputs import check_file
from ingest.jobs import ImportReport, ImportSettings, Job, Jobs
from ingest.links import LinkLimits, fetch_link
from ingest.queueing import queue_import
from ingest.rejects import rejects_path
from retrieval.errors import InvalidRequest, JobNotFound, ServerStopping
from retrieval.library import Library

router = APIRouter(prefix="/api/core/dataset", tags=["imports"])

UPLOAD_PATHS = tuple(
    f"{router.prefix}/collection/create/{name}" for name in ("template", "backup", "localFile")
)
"""Whose bodies are written to the disk as they come."""

Envelope = dict[str, Any]

CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
"""What a route gives that does not give JSON."""


_UPLOAD_BODY = {
    "type": "object",
    "required": ["file", "data"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "data": {"type": "string", "description": "a JSON object, see ImportForm"},
        "vectors": {"type": "string", "format": "binary"},
    },
}
_UPLOAD = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD_BODY}}}}


@router.post("/collection/create/template", openapi_extra=_UPLOAD)
@router.post("/collection/create/backup", openapi_extra=_UPLOAD)
@router.post("/collection/create/localFile", openapi_extra=_UPLOAD)
async def import_upload(request: Request, service: ServiceOf, key: WriteKey) -> Envelope:
    """Import a table or a document into the collection of its name; replies when all is searchable.

    With ``"async": true`` it replies at once with the id of the job. The file ``vectors`` (.npy) brings
    ready-made embeddings, one for each text of each row, in order.
    """
    # Not by FastAPI: it would read the body before the key is looked at.
    with new_folder(_uploads(service)) as folder:
        upload = await receive_upload(request, folder, ("file", "vectors"))
        form = read_form(upload.fields)
        require_dataset(key, form.dataset_id)
        saved = _sent(upload, form)
    return await _import(service, form, saved)


def _sent(upload: Upload, form: ImportForm) -> "_Saved":
    file, vectors = upload.files.get("file"), upload.files.get("vectors")
    if file is None:
        raise InvalidRequest("file: the form has no file: send one in the field file", "file")
    name = file.name or "upload.csv"
    if vectors is None:
        return _Saved(form.to_settings(name), file.path)
    return _Saved(form.to_settings(name, vectors.name or "vectors.npy"), file.path, vectors.path)


@router.post("/collection/create/text")
async def import_text(body: TextForm, service: ServiceOf, key: WriteKey) -> Envelope:
    """Import a text, cut as a Markdown document is, into the collection of its name."""
    require_dataset(key, body.dataset_id)

    def save(folder: Path) -> _Saved:
        path = folder / "file"
        path.write_text(body.text, encoding="utf-8")
        return _Saved(body.to_settings(f"{body.name}.md"), path)

    return await _import(service, body, await run_in_threadpool(_save, service, body, save))


@router.post("/collection/create/link")
async def import_link(body: LinkForm, service: ServiceOf, key: WriteKey) -> Envelope:
    """Fetch a page or file, and import it into a collection named by the link.

    Addresses of this machine and of private networks are refused, unless the settings allow them.
    """
    require_dataset(key, body.dataset_id)

    def save(folder: Path) -> _Saved:
        found = fetch_link(body.link, folder, LinkLimits(allow_private=service.allows_private_links))
        settings = body.to_settings(found.name)
        return _Saved(replace(settings, collection=body.name or body.link), found.path)

    return await _import(service, body, await run_in_threadpool(_save, service, body, save))


@dataclass(frozen=True, slots=True)
class _Saved:
    """Files in a folder of their own, and what to do with them."""

    settings: ImportSettings
    path: Path
    vectors: Path | None = None


def _uploads(service: Service) -> Path:
    return service.library.data_dir / UPLOADS_FOLDER


def _save(service: Service, form: ImportForm, save: Callable[[Path], _Saved]) -> _Saved:
    service.library.store.get_dataset(form.dataset_id)
    with new_folder(_uploads(service)) as folder:
        return save(folder)


async def _import(service: Service, form: ImportForm, saved: _Saved) -> Envelope:
    job, running = await run_in_threadpool(_submit, service, form, saved)
    if form.is_async:
        progress = f"{router.prefix}/job/detail?id={job.id}"
        return envelope({"collectionId": job.report.collection_id, "job": job.id, "progress": progress})
    # No thread waits: imports that take hours would leave none for searches.
    return envelope(_outcome(await asyncio.wrap_future(running)))


def _submit(service: Service, form: ImportForm, saved: _Saved) -> "tuple[Job, Future[ImportReport]]":
    """Takes the folder over: it goes with the job, or now if there is none."""
    try:
        _describe(service.library, form, saved)
        job = queue_import(
            service.library,
            service.library.store.get_dataset(form.dataset_id),
            saved.path,
            saved.settings,
            saved.vectors,
            form.idempotency_key,
            is_upload=True,
        )
    except BaseException:
        shutil.rmtree(saved.path.parent)
        raise
    running = service.runner.submit(job)
    if job.path != str(saved.path.absolute()):
        # The same import is under way already, or done under its key, with a file of its own.
        shutil.rmtree(saved.path.parent)
    return job, running


def _describe(library: Library, form: ImportForm, saved: _Saved) -> None:
    """Make the collection as the form wants it, unless it is there, or the import will make just such a one.

    Raises:
        UnreadableFile, MissingColumn, InvalidRequest: the file cannot be imported; nothing was made.
    """
    if not (form.described or form.tags or form.parent_id or form.create_time):
        return
    check_file(saved.path, saved.settings, saved.vectors)
    collection = library.ensure_collection(
        form.dataset_id,
        saved.settings.collection,
        tags=form.tags,
        parent_id=form.parent_id,
        kind=form.kind,
        metadata=form.described,
    )
    if form.create_time:
        library.store.update_collection(collection.id, created_at=form.create_time)


def _outcome(report: ImportReport) -> Envelope:
    if report.state == "queued":
        raise ServerStopping(
            f"the server is stopping: the import of {report.file} goes on when it starts again, as job {report.job}"
        )
    if report.state != "done":
        raise failure_of(report)
    errors = [{"index": problem.line, "error": problem.reason} for problem in report.problems]
    results = {"insertLen": report.added, "overToken": [], "repeat": [], "error": errors}
    return {"collectionId": report.collection_id, "results": results, "report": asdict(report)}


class JobId(BaseModel):
    """Which job."""

    id: str


@router.get("/job/list")
def list_jobs(service: ServiceOf, key: SearchKey, datasetId: str | None = None) -> Envelope:  # noqa: N803 - the wire's name
    """Imports of a dataset, or of all that the key opens, oldest first."""
    jobs = Jobs(service.library.store).list(datasetId)
    return envelope([job_item(job) for job in jobs if key.may_use(job.dataset_id)])


@router.get("/job/detail")
def job_detail(id: str, service: ServiceOf, key: SearchKey) -> Envelope:
    """How far an import is, or what became of it."""
    return envelope(job_item(_job(service, key, id)))


@router.post("/job/cancel")
def cancel_job(body: JobId, service: ServiceOf, key: WriteKey) -> Envelope:
    """End an import after the batch in hand; what is done stays."""
    return envelope(job_item(service.runner.cancel(_job(service, key, body.id).id)))


@router.get("/job/rejects", response_class=FileResponse, responses=CSV)
def job_rejects(id: str, service: ServiceOf, key: WriteKey) -> FileResponse:
    """The rejected rows of an import as a CSV that can be mended and imported again."""
    path = rejects_path(service.library, _job(service, key, id).id)
    if not path.exists():
        raise JobNotFound(f"the job {id} has no rejected rows: it has not begun")
    return FileResponse(path, media_type="text/csv; charset=utf-8", filename=f"rejected-{id}.csv")


def _job(service: Service, key: Key, job_id: str) -> Job:
    job = Jobs(service.library.store).get(job_id)
    require_dataset(key, job.dataset_id)
    return job


@router.get("/exportAll", response_class=StreamingResponse, responses=CSV)
def export_all(datasetId: str, service: ServiceOf, key: ExportKey) -> StreamingResponse:  # noqa: N803 - the wire's name
    """All records as CSV: q, a, and a cell for each custom index."""
    require_dataset(key, datasetId)
    store = service.library.store
    name = quote(f"{store.get_dataset(datasetId).name}.csv", safe="")
    return StreamingResponse(
        export_csv(store, datasetId),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )
