"""What an upload says about the file, and what is told of jobs."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from api.schemas import Wire, to_wire
from api.schemas.collections import CHUNK_SIZE, CHUNK_SPLITTER, EXTERNAL_ID, RAW_LINK, TRAINING_TYPE
from api.schemas.problems import describe_validation
from ingest.chunking import ChunkOptions
from ingest.jobs import ImportReport, ImportSettings, Job, Mode
from ingest.mapping import ColumnChoice
from ingest.rows import TableOptions
from ingest.sources import Reading
from retrieval.errors import InvalidRequest

Column = Annotated[str, Field(coerce_numbers_to_str=True)]
"""By name, or by position from 1."""

_OBJECT = TypeAdapter(dict[str, Any])

_TRAINING_TYPES = {"chunk": "chunk", "qa": "qa", "auto": "chunk", "template": "chunk", "backup": "chunk"}
"""FastGPT's, and what they are here."""

_CHUNK_SETTINGS = ("chunkSize", "chunkOverlap", "chunkSplitter")


def _is_training_type(value: Any) -> bool:
    return isinstance(value, str) and value in _TRAINING_TYPES


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class ImportForm(Wire):
    """The form field ``data``. ``name`` is the collection's, the file's by default.

    What is not given, or empty, is found out. FastGPT's values of ``mode``, and ``trainingMode``, say the
    training type; with its ``chunkSettingMode`` "auto" the sizes of chunks are ours.
    """

    kind: ClassVar[str] = "file"
    """Of the collection it makes."""

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
    training_type: Literal["chunk", "qa"] = "chunk"
    qa_prompt: str = ""
    parent_id: str = ""
    tags: list[Column] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    create_time: Annotated[datetime, AfterValidator(_in_utc)] | None = None
    external_file_id: str = ""
    idempotency_key: str = ""
    is_async: bool = Field(False, alias="async")

    @model_validator(mode="before")
    @classmethod
    def _with_fastgpts_forms(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        given = {name: value for name, value in body.items() if value is not None and value != ""}
        if _is_training_type(given.get("mode")):
            given.setdefault("trainingType", given.pop("mode"))
        if "trainingMode" in given:
            given.setdefault("trainingType", given.pop("trainingMode"))
        if _is_training_type(given.get("trainingType")):
            given["trainingType"] = _TRAINING_TYPES[given["trainingType"]]
        if given.get("chunkSettingMode") == "auto":
            given = {name: value for name, value in given.items() if name not in _CHUNK_SETTINGS}
        return given

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

    kind: ClassVar[str] = "virtual"
    name: str
    text: str


class LinkForm(ImportForm):
    """A page or file to be fetched."""

    kind: ClassVar[str] = "link"
    link: str

    @property
    def described(self) -> dict[str, Any]:
        return {**super().described, RAW_LINK: self.link}


def read_form(fields: Mapping[str, str]) -> ImportForm:
    """Of the fields of an upload: ``data``, a JSON object, and what stands beside it.

    Raises:
        InvalidRequest: there is no ``data``, or something in it is not as expected; names the field.
    """
    if "data" not in fields and "datasetId" not in fields:
        raise InvalidRequest("the form has no field data: send a JSON object with datasetId in it", "data")
    try:
        data = _OBJECT.validate_json(fields.get("data", "{}"))
        return ImportForm.model_validate({**fields, **data})
    except ValidationError as error:
        param, message = describe_validation(error.errors(), "data")
        raise InvalidRequest(f"the form field data is not as expected: {message}", param) from None


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
