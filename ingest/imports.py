"""Carrying an import out: while one batch is embedded, the next is read and the one before is stored.

    items → batches → plans → embeddings → store, index and job

Each batch is durable before it is noted as done. What a model refuses is tried again, then taken
apart row by row, so that one row costs itself and not its batch.
"""

import base64
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from ingest.jobs import MOST_PROBLEMS, ImportReport, ImportSettings, Job, Jobs, State, digest_of, job_id
from ingest.mapping import RowProblem
from ingest.pairs import KeptPairs
from ingest.rejects import Rejects
from ingest.sources import Item, Reading, Source, open_source
from ingest.vectors import VectorFile, of_passages
from retrieval.additions import Plan, Planned, Prepared, Replacement, join
from retrieval.batched import batched
from retrieval.completion import Completion
from retrieval.errors import (
    EmbedderUnavailable,
    InvalidRequest,
    MissingColumn,
    QuotebaseError,
    UnreadableFile,
)
from retrieval.library import Library
from retrieval.types import (
    AddResult,
    Collection,
    Dataset,
    Embeddings,
    RecordDraft,
    StoredEmbeddings,
    now,
)

BATCH_RECORDS = 512
"""Records of one commit: some seconds of embedding, which is what a kill can cost."""

BATCH_VECTORS = 4096
"""The same where nothing has to be embedded."""

NOTED_S = 1.0
"""How often a job is noted while nothing changes but the count of what is known."""

WAITS_S = (1.0, 2.0, 4.0)
"""Before a batch is tried again that the model refused."""

STAGED = "staged"
"""The kind of the documents that keep embeddings until a collection is replaced."""

STAGED_TEXTS = 1024
"""Most texts in one of them: a document of MongoDB has 16 MB."""

_QUEUING = threading.Lock()
"""Between looking for a job and keeping it."""

REJECTS_FOLDER = "rejects"
"""In the data directory: the rejected rows of each job."""

PAIRS_FOLDER = "pairs"
"""In the data directory: what a model made of the documents of each job."""

ReportProgress = Callable[[ImportReport], None]
"""Called after each batch with the report so far."""


class Cancelled(Exception):
    """Somebody does not want the import any more."""


@dataclass(frozen=True, slots=True)
class _Batch:
    items: tuple[Item, ...]
    plan: Plan
    ready: Prepared | None = None
    """With embeddings that were ready-made."""

    def without(self, refused: Mapping[bytes, RowProblem]) -> tuple[Item, ...]:
        """The items, with problems instead of the drafts of these contents."""
        return tuple(
            replace(item, outcome=replace(refused[item.outcome.content_hash], line=item.line))
            if isinstance(item.outcome, RecordDraft) and item.outcome.content_hash in refused
            else item
            for item in self.items
        )


def run_job(
    library: Library,
    job: Job,
    on_progress: ReportProgress | None = None,
    cancelled: threading.Event | None = None,
    sleep: Callable[[float], object] | None = None,
    completion: Completion | None = None,
) -> ImportReport:
    """Do what is left of a job; it ends in one of the states that it can end in.

    Args:
        cancelled: set it to end the job after the batch in hand.
        sleep: waits for so many seconds; by default no longer than until ``cancelled``.
        completion: the backend that q/a pairs are made by, if the job wants any.

    Raises:
        UnreadableFile, MissingColumn, InvalidRequest, ModelMismatch, EmbedderUnavailable,
        StoreUnavailable: the job has failed, with what was done before; started again it goes on.
        Exception: the same, out of ``on_progress`` or what nobody thought of.
        KeyboardInterrupt: it is cancelled, and can be started again.
    """
    stop = cancelled or threading.Event()
    return _Run(library, job, on_progress, stop, sleep or stop.wait, completion).run()


def queue_import(
    library: Library,
    dataset: Dataset,
    path: Path,
    settings: ImportSettings,
    vectors: Path | None = None,
    key: str = "",
    *,
    is_upload: bool = False,
) -> Job:
    """The job of an import: one that there is already if it is not over, or if it has the caller's key.

    A job that has failed or was cancelled is queued again and goes on, if files and settings are the
    same; one that is done begins anew.

    Args:
        key: the caller's own name for this import; given again it does nothing again.
        is_upload: whether the files go when the job ends.

    Raises:
        UnreadableFile: there is no such file.
    """
    jobs = Jobs(library.store)
    paths = [one for one in (path, vectors) if one]
    try:
        digest = digest_of(*paths)
    except OSError as error:
        name = settings.vectors if vectors and error.filename == str(vectors) else settings.file
        raise UnreadableFile(f"{name} cannot be read: {error.strerror or error}") from error
    moment, id_ = now(), job_id(dataset, settings, digest, key)
    job = Job(
        id_,
        dataset.id,
        settings,
        str(path.absolute()),
        str(vectors.absolute()) if vectors else "",
        digest,
        ImportReport(settings.file, dataset.name, settings.collection, job=id_),
        moment,
        moment,
        is_upload,
    )
    with _QUEUING:
        found = jobs.find(id_)
        if found and ((is_upload and not found.is_over) or (found.state == "done" and key)):
            return found
        if found and found.state != "done" and (found.digest, found.settings) == (digest, settings):
            job = replace(
                job,
                report=replace(found.report, state="queued", error=""),
                created_at=found.created_at,
                position=found.position,
                rejects_bytes=found.rejects_bytes,
            )
        return jobs.save(job)


def import_file(
    library: Library,
    dataset: Dataset,
    path: Path,
    settings: ImportSettings | None = None,
    vectors: Path | None = None,
    on_progress: ReportProgress | None = None,
    cancelled: threading.Event | None = None,
    completion: Completion | None = None,
) -> ImportReport:
    """Import a file into a collection, here and now.

    Args:
        settings: by default all is found out from the file, and the collection is named like it.
        vectors: a .npy file of ready-made embeddings, one for each text of each row (see
            :mod:`ingest.vectors`); the model then reads nothing.

    Raises:
        See :func:`run_job`.
    """
    chosen = settings or ImportSettings(str(path), path.name)
    if vectors and not chosen.vectors:
        chosen = replace(chosen, vectors=vectors.name)
    job = queue_import(library, dataset, path, chosen, vectors)
    return run_job(library, job, on_progress, cancelled, completion=completion)


def check_file(path: Path, name: str, reading: Reading, vectors: Path | None = None) -> None:
    """Raises what an import would raise before the first row, but for vectors of another width.

    Args:
        name: what to call the file in messages; its suffix says what it is.
    """
    with open_source(path, name, reading) as source:
        if vectors:
            texts = sum(item.texts for item in source.items)
            VectorFile(vectors, vectors.name, texts, None)
        else:
            next(source.items, None)


class _Run:
    def __init__(
        self,
        library: Library,
        job: Job,
        on_progress: ReportProgress | None,
        cancelled: threading.Event,
        sleep: Callable[[float], object],
        completion: Completion | None,
    ) -> None:
        self._library = library
        self._jobs = Jobs(library.store)
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._sleep = sleep
        self._completion = completion
        self._staged: _Staged | None = None
        self._refused: dict[bytes, RowProblem] = {}
        self._job = job
        self._started = time.perf_counter() - job.report.seconds
        self._noted = 0.0

    def run(self) -> ImportReport:
        try:
            self._import()
        except QuotebaseError as error:
            self._end("failed", error.message, error.code)
            if self._job.position and self._job.settings.mode != "replace":
                done = f"{self._job.position} rows of {self._job.settings.file} are done and safe"
                error.args = (f"{error}. {done}; start the same import again to go on",)
            raise
        except Cancelled:
            self._end("cancelled")
        except Exception as error:
            self._end("failed", f"{type(error).__name__}: {error}", QuotebaseError.code)
            raise
        except BaseException:
            self._end("cancelled")
            raise
        else:
            self._end("done")
        return self._job.report

    def _end(self, state: State, error: str = "", code: str = "") -> None:
        self._job = replace(self._job, error_code=code)
        self._note(state=state, error=error)

    def _note(self, **changes: object) -> None:
        """Keep the report, with changes, in the store."""
        seconds = time.perf_counter() - self._started
        report = replace(self._job.report, seconds=seconds, **changes)  # type: ignore[arg-type]
        self._job = self._jobs.save(replace(self._job, report=report))
        self._noted = time.perf_counter()
        if self._on_progress:
            self._on_progress(report)

    # The whole

    def _import(self) -> None:
        job, settings = self._job, self._job.settings
        dataset = self._library.store.get_dataset(job.dataset_id)
        self._library.bound_dataset(dataset.id)
        with ExitStack() as stack:
            vectors = self._open_vectors(dataset.model.dim) if settings.vectors else None
            source = stack.enter_context(
                open_source(Path(job.path), settings.file, settings.reading, self._make_pairs())
            )
            if settings.mode == "upsert" and not source.format.has_key:
                header = ", ".join(map(repr, source.format.header)) or "none"
                raise MissingColumn(
                    f"upsert needs a column of keys: name it by --key (the header has {header})"
                )
            collection = self._library.ensure_collection(dataset.id, settings.collection)
            self._begin(collection, source)
            rejects = Rejects(self._rejects_path, source.format.header, self._job.rejects_bytes)
            stack.enter_context(closing(rejects))
            if settings.mode == "replace":
                self._replace(collection, source, rejects)
            else:
                self._add(collection, source, rejects, vectors)

    @property
    def _rejects_path(self) -> Path:
        return rejects_path(self._library, self._job.id)

    def _make_pairs(self) -> KeptPairs | None:
        reading = self._job.settings.reading
        if not reading.is_qa:
            return None
        if self._completion is None:
            raise InvalidRequest("q/a pairs are made by a completion backend, and there is none here")
        path = self._library.data_dir / PAIRS_FOLDER / f"{self._job.id}.jsonl"
        is_new = self._job.position == 0
        return KeptPairs(path, self._completion, reading.qa_prompt, is_new=is_new)

    def _open_vectors(self, dim: int) -> VectorFile:
        """Checked against all rows of the table before any is imported."""
        job, settings = self._job, self._job.settings
        with open_source(Path(job.path), settings.file, settings.reading) as source:
            texts = sum(item.texts for item in source.items)
        return VectorFile(Path(job.vectors_path), settings.vectors, texts, dim)

    def _begin(self, collection: Collection, source: Source) -> None:
        """From the beginning, unless the rows that are done are where they were put."""
        goes_on = self._goes_on(collection)
        if not goes_on or self._job.settings.mode == "replace":
            report = self._job.report
            fresh = ImportReport(
                report.file,
                report.dataset,
                collection.name,
                collection.id,
                self._job.id,
                embedded=report.embedded if goes_on else 0,
            )
            self._job = replace(self._job, report=fresh, position=0, rejects_bytes=0)
            self._started = time.perf_counter()
        read_as = source.format
        self._note(
            state="running",
            kind=read_as.kind,
            encoding=read_as.encoding,
            delimiter=read_as.delimiter,
            ignored=read_as.ignored,
            error="",
        )

    def _goes_on(self, collection: Collection) -> bool:
        """Whether the collection and the files are those of the attempt before."""
        job = self._job
        if collection.id != job.report.collection_id:
            return False
        return (
            job.is_upload or digest_of(*map(Path, filter(None, (job.path, job.vectors_path)))) == job.digest
        )

    # Append and upsert

    def _add(
        self, collection: Collection, source: Source, rejects: Rejects, vectors: VectorFile | None
    ) -> None:
        skipped = 0
        for item in islice(source.items, self._job.position):
            skipped += item.texts
        if vectors:
            vectors.take(skipped)
        by_key = self._job.settings.mode == "upsert"

        def plan(drafts: Sequence[RecordDraft]) -> Plan:
            return self._library.plan(collection, drafts, by_key)

        def commit(prepared: Prepared, items: Sequence[Item]) -> None:
            self._count(items, self._library.commit(collection, prepared), source, rejects)

        self._overlap(source, commit, plan, collection, vectors)
        self._count((), AddResult(), source, rejects)

    def _count(self, items: Sequence[Item], result: AddResult, source: Source, rejects: Rejects) -> None:
        report = self._job.report
        problems = [item.outcome for item in items if isinstance(item.outcome, RowProblem)]
        if problems:
            rejects.write(items)
        report = replace(
            report,
            read=report.read + len(items),
            added=report.added + len(result.added),
            updated=report.updated + len(result.updated),
            unchanged=report.unchanged + result.unchanged,
            rejected=report.rejected + len(problems),
            removed=report.removed + result.removed,
            embedded=report.embedded + result.embedded,
            problems=(*report.problems, *problems)[:MOST_PROBLEMS],
            blank=source.blank(),
            replaced=source.replaced(),
            share=source.share_read(),
        )
        self._job = replace(
            self._job, report=report, position=self._job.position + len(items), rejects_bytes=rejects.size
        )
        is_news = result.added or result.updated or result.embedded
        if is_news or time.perf_counter() - self._noted > NOTED_S:
            self._note()

    # Replace

    def _replace(self, collection: Collection, source: Source, rejects: Rejects) -> None:
        """Everything is embedded first, and kept; then the collection changes in one step."""
        replacement = Replacement(self._library.store.known_records(collection.id))
        self._staged = staged = _Staged(self._library, self._job.id)
        parts: list[Prepared] = []

        def commit(prepared: Prepared, items: Sequence[Item]) -> None:
            parts.append(prepared)
            staged.keep(prepared)
            self._count(items, AddResult(embedded=prepared.texts_read), source, rejects)

        self._overlap(source, commit, replacement.plan, collection, None)
        result = self._library.commit(collection, join(parts, replacement.gone))
        self._count((), replace(result, embedded=0), source, rejects)
        staged.clear()

    # Read ahead, embed, store behind

    def _overlap(
        self,
        source: Source,
        commit: Callable[[Prepared, Sequence[Item]], None],
        plan: Callable[[Sequence[RecordDraft]], Plan],
        collection: Collection,
        vectors: VectorFile | None,
    ) -> None:
        batches = self._batches(source.items, plan, collection, vectors)
        with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as storing:
            ahead: Future[_Batch | None] = reading.submit(next, batches, None)
            behind: Future[None] | None = None
            try:
                while (batch := ahead.result()) is not None:
                    self._stop_if_cancelled()
                    ahead = reading.submit(next, batches, None)
                    prepared = self._embed(batch)
                    items = batch.without(self._refused)
                    drafts = sum(isinstance(item.outcome, RecordDraft) for item in items)
                    if behind:
                        behind.result()
                    behind = storing.submit(commit, replace(prepared, given=drafts), items)
            finally:
                if behind:
                    behind.result()

    def _batches(
        self,
        items: Iterator[Item],
        plan: Callable[[Sequence[RecordDraft]], Plan],
        collection: Collection,
        vectors: VectorFile | None,
    ) -> Iterator[_Batch]:
        size = BATCH_VECTORS if vectors else BATCH_RECORDS
        while batch := tuple(islice(items, size)):
            drafts = [item.outcome for item in batch if isinstance(item.outcome, RecordDraft)]
            if vectors:
                ready = self._library.take_ready(collection, drafts, _taken(batch, vectors))
                yield _Batch(batch, Plan(len(drafts), ()), ready)
            else:
                yield _Batch(batch, plan(drafts))

    # What a model refuses

    def _embed(self, batch: _Batch) -> Prepared:
        """With embeddings, but without the drafts that the model refuses."""
        if batch.ready:
            return batch.ready
        for wait_s in (0.0, *WAITS_S):
            if wait_s:
                self._sleep(wait_s)
            self._stop_if_cancelled()
            with suppress(EmbedderUnavailable):
                return self._embed_plan(batch.plan)
        parts = [part for planned in batch.plan.planned if (part := self._embed_row(planned))]
        return join(parts, batch.plan.gone)

    def _embed_row(self, planned: Planned) -> Prepared | None:
        """``None`` if it is the row that the model refuses.

        Raises:
            EmbedderUnavailable: it is not the row.
        """
        self._stop_if_cancelled()
        for _ in range(2):
            try:
                return self._embed_plan(Plan(1, (planned,)))
            except EmbedderUnavailable as error:
                self._probe(error)
                reason = f"the model refuses it: {error}"
        self._refused[planned.draft.content_hash] = RowProblem(0, "", reason)
        return None

    def _embed_plan(self, plan: Plan) -> Prepared:
        return self._library.embed(plan, self._staged.rows if self._staged else None)

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def _probe(self, refusal: EmbedderUnavailable) -> None:
        """Raises the refusal if the model does not even take a plain text."""
        try:
            self._library.embedder.embed_passages(["quotebase"])
        except EmbedderUnavailable:
            raise refusal from None


class _Staged:
    """Embeddings of an import that is to replace a collection: durable, so that no text is read twice."""

    def __init__(self, library: Library, job_id: str) -> None:
        self._store = library.store
        self._group = job_id
        self.rows: dict[str, StoredEmbeddings] = {}
        self._ids = []
        for document in self._store.list_documents(STAGED, job_id):
            self._ids.append(document.id)
            texts = document.body["texts"]
            rows = np.frombuffer(base64.b64decode(str(document.body["rows"])), dtype=np.float16)
            if isinstance(texts, list) and texts:
                self.rows.update(zip(texts, rows.reshape(len(texts), -1), strict=True))

    def keep(self, prepared: Prepared) -> None:
        rows = {
            passage.text: row
            for item in prepared.embedded
            for passage, row in zip(item.passages, item.embeddings, strict=True)
            if passage.text not in self.rows
        }
        for texts in batched(rows, STAGED_TEXTS):
            id_ = f"{self._group}/{len(self._ids)}"
            encoded = base64.b64encode(np.stack([rows[text] for text in texts]).tobytes()).decode()
            self._store.put_document(STAGED, id_, {"texts": list(texts), "rows": encoded}, self._group)
            self._ids.append(id_)

    def clear(self) -> None:
        for id_ in self._ids:
            self._store.delete_document(STAGED, id_)


def _taken(batch: Sequence[Item], vectors: VectorFile) -> Embeddings:
    """The embeddings of the drafts; those of rows that are rejected are passed over."""
    rows: list[Embeddings] = []
    for item in batch:
        taken = vectors.take(item.texts)
        if isinstance(item.outcome, RecordDraft):
            rows.append(of_passages(item.outcome, taken))
    return np.concatenate(rows) if rows else vectors.take(0)


def rejects_path(library: Library, job_id: str) -> Path:
    """Where the rejected rows of a job are, if it has any."""
    return library.data_dir / REJECTS_FOLDER / f"{job_id}.csv"
