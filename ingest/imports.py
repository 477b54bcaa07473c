"""Carrying an import out: while one batch is embedded, the next is read and the one before is stored.

    items → batches → plans → embeddings → store, index and job

Each batch is durable before it is noted as done.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ingest.batches import Batch, BatchSize, drafts_of, read_batches, read_ready_batches
from ingest.inputs import Input, open_input
from ingest.jobs import ImportReport, ImportSettings, Job, Jobs
from ingest.pairs import KeptPairs, pairs_path
from ingest.progress import Progress, ReportProgress
from ingest.queueing import queue_import
from ingest.refusals import Refusals
from ingest.rejects import Rejects, rejects_path
from ingest.sources import Item, Source
from ingest.staging import Staged
from retrieval.additions import Plan, Prepared, Replacement, join
from retrieval.completion import Completion
from retrieval.errors import InvalidRequest, QuotebaseError
from retrieval.library import Library
from retrieval.types import AddResult, Collection, Dataset, Embeddings, Passage, RecordDraft, StoredEmbeddings


class Cancelled(Exception):
    """Somebody does not want the import any more."""


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
        self._progress = Progress(Jobs(library.store), job, on_progress)
        self._cancelled = cancelled
        self._sleep = sleep
        self._completion = completion
        self._size = BatchSize()

    def run(self) -> ImportReport:
        progress = self._progress
        try:
            self._import(progress.job)
        except QuotebaseError as error:
            progress.end("failed", error.message, error.code)
            job = progress.job
            if job.position and job.settings.mode != "replace":
                done = f"{job.position} rows of {job.settings.file} are done and safe"
                error.args = (f"{error}. {done}; start the same import again to go on",)
            raise
        except Cancelled:
            progress.end("cancelled")
        except Exception as error:
            progress.end("failed", f"{type(error).__name__}: {error}", QuotebaseError.code)
            raise
        except BaseException:
            progress.end("cancelled")
            raise
        else:
            progress.end("done")
        return progress.job.report

    def _import(self, job: Job) -> None:
        settings = job.settings
        dataset = self._library.bound_dataset(job.dataset_id)
        vectors = Path(job.vectors_path) if settings.vectors else None
        pairs = self._make_pairs(job)
        with open_input(Path(job.path), settings, vectors, dataset.model.dim, pairs) as opened:
            collection = self._library.ensure_collection(dataset.id, settings.collection)
            self._progress.begin(collection, opened.source.format)
            path, kept = rejects_path(self._library, job.id), self._progress.job.rejects_bytes
            with closing(Rejects(path, opened.source.format.header, kept)) as rejects:
                if settings.mode == "replace":
                    self._replace(dataset, collection, opened.source, rejects)
                else:
                    self._add(dataset, collection, opened, rejects)

    def _make_pairs(self, job: Job) -> KeptPairs | None:
        reading = job.settings.reading
        if not reading.is_qa:
            return None
        if self._completion is None:
            raise InvalidRequest("q/a pairs are made by a completion backend, and there is none here")
        path = pairs_path(self._library, job.id)
        return KeptPairs(path, self._completion, reading.qa_prompt, is_new=job.position == 0)

    # Append and upsert

    def _add(self, dataset: Dataset, collection: Collection, opened: Input, rejects: Rejects) -> None:
        source, vectors, library = opened.source, opened.vectors, self._library
        by_key = self._progress.job.settings.mode == "upsert"
        done = sum(item.texts for item in islice(source.items, self._progress.job.position))

        def plan(drafts: Sequence[RecordDraft]) -> Plan:
            return library.cut(library.plan(collection, drafts, by_key), dataset)

        def take_ready(drafts: Sequence[RecordDraft], embeddings: Embeddings) -> Prepared:
            return library.take_ready(collection, drafts, embeddings)

        def commit(prepared: Prepared, items: Sequence[Item]) -> None:
            self._progress.count(items, library.commit(collection, prepared), source, rejects)

        if vectors:
            vectors.take(done)
            batches = read_ready_batches(source.items, vectors, take_ready)
        else:
            batches = read_batches(source.items, plan, self._size)
        self._overlap(dataset, batches, commit, {})
        self._progress.count((), AddResult(), source, rejects)

    # Replace

    def _replace(self, dataset: Dataset, collection: Collection, source: Source, rejects: Rejects) -> None:
        """Everything is embedded first, and kept; then the collection changes in one step."""
        store = self._library.store

        def passages_of(record_ids: Sequence[str]) -> Mapping[str, Sequence[Passage]]:
            self._stop_if_cancelled()
            return store.passages_of(record_ids)

        replacement = Replacement(store.known_records(collection.id), passages_of)
        staged = Staged(store, self._progress.job.id, dataset.model)
        parts: list[Prepared] = []

        def commit(prepared: Prepared, items: Sequence[Item]) -> None:
            parts.append(prepared)
            staged.keep(prepared)
            self._progress.count(items, AddResult(embedded=prepared.texts_read), source, rejects)

        def plan(drafts: Sequence[RecordDraft]) -> Plan:
            return replacement.find_alike(self._library.cut(replacement.plan(drafts), dataset))

        self._overlap(dataset, read_batches(source.items, plan, self._size), commit, staged.rows)
        result = self._library.commit(collection, join(parts, replacement.gone))
        self._progress.count((), replace(result, embedded=0), source, rejects)
        staged.clear()

    # Read ahead, embed, store behind

    def _overlap(
        self,
        dataset: Dataset,
        batches: Iterator[Batch],
        commit: Callable[[Prepared, Sequence[Item]], None],
        known: Mapping[str, StoredEmbeddings],
    ) -> None:
        refusals = Refusals(self._library, dataset, known, self._stop_if_cancelled, self._sleep)
        with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as storing:
            ahead: Future[Batch | None] = reading.submit(next, batches, None)
            behind: Future[None] | None = None
            try:
                while (batch := ahead.result()) is not None:
                    self._stop_if_cancelled()
                    ahead = reading.submit(next, batches, None)
                    prepared = batch.ready or self._embed(batch, refusals)
                    items = batch.without(refusals.rows)
                    if behind:
                        behind.result()
                    given = len(drafts_of(items))
                    behind = storing.submit(commit, replace(prepared, given=given), items)
            finally:
                if behind:
                    behind.result()

    def _embed(self, batch: Batch, refusals: Refusals) -> Prepared:
        started = time.monotonic()
        prepared = refusals.embed(batch.plan)
        self._size.note(len(batch.items), time.monotonic() - started)
        return prepared

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled
