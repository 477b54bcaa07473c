"""An import as a job: kept in the store, done batch by batch, gone on with where it was cut off.

    queued → running → done | failed | cancelled

A job is known by what it imports, so that the same command finds it again. What it has done is noted
after each batch, together with the counts: an attempt that was killed goes on behind the last batch
that was noted, and rows that were stored but not noted are found unchanged.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from ingest.chunking import ChunkOptions
from ingest.mapping import ColumnChoice, RowProblem
from ingest.rows import TableOptions
from ingest.sources import Reading
from retrieval.errors import InvalidRequest, JobNotFound
from retrieval.store import Store
from retrieval.types import Dataset, now

KIND = "job"
"""Of the documents in the store."""

MOST_PROBLEMS = 1000
"""Problems in a report; all of them are in the file of rejected rows."""

State = Literal["queued", "running", "done", "failed", "cancelled"]

Mode = Literal["append", "upsert", "replace"]
MODES: tuple[Mode, ...] = ("append", "upsert", "replace")


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """What to import, and how.

    Args:
        file: what to call it, in reports and by its suffix.
        collection: name of the collection; made if missing.
        mode: ``append`` adds what the collection does not have yet; ``upsert`` also replaces the
            records whose key comes with something else; ``replace`` makes the collection what the
            file says.
        vectors: what to call the file of ready-made embeddings, if there is one.
    """

    file: str
    collection: str
    mode: Mode = "append"
    reading: Reading = field(default_factory=Reading)
    vectors: str = ""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidRequest(f"there is no mode {self.mode!r}: it is one of {', '.join(MODES)}", "mode")
        if self.vectors and self.reading.is_qa:
            raise InvalidRequest("q/a pairs are made anew: they take no ready-made embeddings", "vectors")
        if self.vectors and self.mode != "append":
            raise InvalidRequest(
                f"ready-made embeddings can be appended only: {self.mode} takes none", "mode"
            )


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file: read = added + updated + unchanged + rejected.

    With ``replace`` that is so at the end: before it, nothing has become of what was ``read``.

    ``read`` counts the rows or chunks, without the header and without the ``blank`` rows; ``removed``
    the records that were there before and are not in the file (``replace``); ``embedded`` the texts
    that the model read; ``replaced`` the characters put in for what could not be decoded. ``problems``
    has the first thousand of the ``rejected``.
    """

    file: str
    dataset: str
    collection: str
    collection_id: str = ""
    job: str = ""
    state: State = "queued"
    kind: str = ""
    encoding: str = ""
    delimiter: str = ""
    ignored: tuple[str, ...] = ()
    read: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    removed: int = 0
    embedded: int = 0
    blank: int = 0
    replaced: int = 0
    share: float = 0.0
    seconds: float = 0.0
    problems: tuple[RowProblem, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One import.

    Args:
        path: of the file; ``vectors_path`` of its embeddings, or empty.
        is_upload: whether the files are the job's own, to be removed when it ends.
        position: rows or chunks that are done and noted.
        rejects_bytes: how much of the file of rejected rows is of them.
        error_code: of the error it failed with.
    """

    id: str
    dataset_id: str
    settings: ImportSettings
    path: str
    vectors_path: str
    digest: str
    report: ImportReport
    created_at: datetime
    updated_at: datetime
    is_upload: bool = False
    position: int = 0
    rejects_bytes: int = 0
    error_code: str = ""

    @property
    def state(self) -> State:
        return self.report.state

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


def digest_of(*paths: Path) -> str:
    """Of the bytes of the files. Raises OSError."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as source:
            digest.update(hashlib.file_digest(source, "blake2b").digest())
    return digest.hexdigest()


def job_id(dataset: Dataset, settings: ImportSettings, digest: str, key: str = "") -> str:
    """The same for the same import: by the caller's key if there is one, else by files and settings."""
    known_by = ["key", key] if key else ["file", digest, asdict(settings)]
    return hashlib.blake2b(json.dumps([dataset.id, known_by]).encode(), digest_size=12).hexdigest()


QUEUING = threading.Lock()
"""Held from looking whether a job is over until it is queued again or removed."""


class Jobs:
    """The jobs in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, id_: str) -> Job | None:
        document = self._store.find_document(KIND, id_)
        return _from_body(document.body) if document else None

    def get(self, id_: str) -> Job:
        """Raises JobNotFound."""
        job = self.find(id_)
        if job is None:
            raise JobNotFound(
                f"there is no job with the id {id_!r}: `quotebase jobs list` has those there are"
            )
        return job

    def list(self, dataset_id: str | None = None) -> "list[Job]":
        """Of a dataset, or all; oldest first."""
        return [_from_body(document.body) for document in self._store.list_documents(KIND, dataset_id)]

    def save(self, job: Job) -> Job:
        saved = replace(job, updated_at=now())
        self._store.put_document(KIND, saved.id, _to_body(saved), saved.dataset_id)
        return saved

    def delete(self, id_: str) -> None:
        """If there is one."""
        self._store.delete_document(KIND, id_)


def _to_body(job: Job) -> dict[str, object]:
    body = asdict(job)
    return {**body, "created_at": job.created_at.isoformat(), "updated_at": job.updated_at.isoformat()}


def _from_body(body: Mapping[str, Any]) -> Job:
    settings = body["settings"]
    report = body["report"]
    return Job(
        **{
            **body,
            "settings": ImportSettings(**{**settings, "reading": _reading(settings["reading"])}),
            "report": report_from(report),
            "created_at": datetime.fromisoformat(body["created_at"]),
            "updated_at": datetime.fromisoformat(body["updated_at"]),
        }
    )


def report_from(data: Mapping[str, Any]) -> ImportReport:
    """The report of which ``asdict`` made ``data``."""
    problems = tuple(RowProblem(**problem) for problem in data["problems"])
    known = {one.name for one in fields(ImportReport)}
    given = {name: value for name, value in data.items() if name in known}
    return ImportReport(**{**given, "ignored": tuple(data["ignored"]), "problems": problems})


def _reading(data: Mapping[str, Any]) -> Reading:
    columns = data["columns"]
    choice = ColumnChoice(
        **{**columns, "indexes": tuple(columns["indexes"]), "metadata": tuple(columns["metadata"])}
    )
    return Reading(
        TableOptions(**data["table"]),
        choice,
        ChunkOptions(**data["chunks"]),
        data["is_qa"],
        data["qa_prompt"],
    )
