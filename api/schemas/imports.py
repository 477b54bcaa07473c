"""What an upload says about the file, and what is told of jobs."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from api.schemas import Wire, to_wire
from api.schemas.collections import CHUNK_SIZE, CHUNK_SPLITTER, EXTERNAL_ID, RAW_LINK, TRAINING_TYPE
from ingest.chunking import ChunkOptions
from ingest.jobs import ImportReport, ImportSettings, Job, Mode
from ingest.mapping import ColumnChoice
from ingest.rows import TableOptions
from ingest.sources import Reading
from retrieval.errors import InvalidRequest

TRAINING_TYPES = ("chunk", "qa", "auto")

Column = Annotated[str, Field(coerce_numbers_to_str=True)]
"""By name, or by position from 1."""


class ImportForm(Wire):
    """The form field ``data``. ``name`` is the collection's, the file's by default.

    What is not given, or empty, is found out.
    """

    dataset_id: str
    name: str = ""
    mode: Mode = "append"
    encoding: str | None = None
    delimiter: str | None = None
    errors: Literal["strict", "replace"] = "strict"
    has_header: bool = True
    sheet: str | None = None
    q: Column | None = None
    a: Column | None = None
    indexes: list[Column] = Field(default_factory=list)
    key: Column | None = None
    tags_column: Column | None = None
    metadata_columns: list[Column] = Field(default_factory=list)
    chunk_size: int = ChunkOptions().size
    chunk_overlap: int = ChunkOptions().overlap
    chunk_splitter: str = ""
    training_type: Literal["chunk", "qa", "auto"] = "chunk"
    qa_prompt: str = ""
    parent_id: str = ""
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    external_file_id: str = ""
    idempotency_key: str = ""
    is_async: bool = Field(False, alias="async")

    @model_validator(mode="before")
    @classmethod
    def _without_empty_texts(cls, body: Any) -> Any:
        return (
            {name: value for name, value in body.items() if value != ""} if isinstance(body, dict) else body
        )

    @model_validator(mode="before")
    @classmethod
    def _with_training_type(cls, body: Any) -> Any:
        """Older clients say it as ``trainingMode``, or as ``mode``, which is ours for what becomes of records."""
        if not isinstance(body, dict):
            return body
        older = {name: body[name] for name in ("trainingMode", "mode") if body.get(name) in TRAINING_TYPES}
        kept = {name: value for name, value in body.items() if name not in older}
        return {**({"trainingType": next(iter(older.values()))} if older else {}), **kept}

    @property
    def described(self) -> dict[str, Any]:
        """What its collection keeps of it, beside its name; empty where all is as usual."""
        said = {
            TRAINING_TYPE: self.training_type,
            CHUNK_SIZE: self.chunk_size,
            CHUNK_SPLITTER: self.chunk_splitter,
            EXTERNAL_ID: self.external_file_id,
        }
        usual = {TRAINING_TYPE: "chunk", CHUNK_SIZE: ChunkOptions().size, CHUNK_SPLITTER: "", EXTERNAL_ID: ""}
        return {**self.metadata, **{name: value for name, value in said.items() if value != usual[name]}}

    def to_settings(self, file: str, vectors: str = "") -> ImportSettings:
        """Raises InvalidRequest."""
        table = TableOptions(self.encoding, self.delimiter, self.errors, self.has_header, self.sheet)
        columns = ColumnChoice(
            self.q, self.a, tuple(self.indexes), self.key, self.tags_column, tuple(self.metadata_columns)
        )
        chunks = ChunkOptions(self.chunk_size, self.chunk_overlap, self.chunk_splitter)
        reading = Reading(table, columns, chunks, self.training_type == "qa", self.qa_prompt)
        return ImportSettings(file, self.name or file, self.mode, reading, vectors)


class TextForm(ImportForm):
    """A text to be cut into chunks. It needs a name."""

    name: str
    text: str


class LinkForm(ImportForm):
    """A page or file to be fetched."""

    link: str

    @property
    def described(self) -> dict[str, Any]:
        return {**super().described, RAW_LINK: self.link}


def import_form(dataset_id: str, settings: ImportSettings) -> dict[str, Any]:
    """The form field of which :class:`ImportForm` makes these settings."""
    table, columns, chunks = settings.reading.table, settings.reading.columns, settings.reading.chunks
    return {
        "datasetId": dataset_id,
        "name": settings.collection,
        "mode": settings.mode,
        **to_wire(table),
        "q": columns.q,
        "a": columns.a,
        "indexes": columns.indexes,
        "key": columns.key,
        "tagsColumn": columns.tags,
        "metadataColumns": columns.metadata,
        "chunkSize": chunks.size,
        "chunkOverlap": chunks.overlap,
        "chunkSplitter": chunks.splitter,
        "trainingType": "qa" if settings.reading.is_qa else "chunk",
        "qaPrompt": settings.reading.qa_prompt,
    }


def failure_of(report: ImportReport) -> InvalidRequest:
    """Why an import that is over is not done."""
    cancelled = f"the import of {report.file} was cancelled after {report.read} rows: start it again to go on"
    return InvalidRequest(report.error or cancelled)


def job_item(job: Job) -> dict[str, Any]:
    """A job on the wire, without the paths of this machine, which the command line names its files by."""
    file = Path(job.settings.file).name
    error = job.report.error.replace(job.settings.file, file)
    return {
        "id": job.id,
        "datasetId": job.dataset_id,
        "state": job.state,
        "file": file,
        "createTime": job.created_at.isoformat(),
        "updateTime": job.updated_at.isoformat(),
        "errorCode": job.error_code,
        "report": asdict(replace(job.report, file=file, error=error)),
    }
