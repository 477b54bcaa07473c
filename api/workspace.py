"""What the command line works on: the data directory itself, or the server that holds it."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from api.settings import Settings
from api.wiring import SERVER_FILE, open_documents, open_library
from ingest.export import export_csv
from ingest.imports import import_file
from ingest.jobs import ImportReport, ImportSettings, Job
from ingest.labelled import list_records
from ingest.progress import ReportProgress
from ingest.rejects import rejects_path
from ingest.runner import JobRunner
from retrieval.calibration import Calibrations, Threshold
from retrieval.completion import CompletionChoice, open_completion
from retrieval.embedding import Embedder, Progress
from retrieval.errors import DirectoryInUse
from retrieval.heldout import HeldOut, search_itself
from retrieval.indexes import status_on_disk
from retrieval.labels import Listed
from retrieval.library import INDEX_FOLDER, Library
from retrieval.types import Dataset, IndexStatus, RecordDraft, SearchRequest, SearchResult, VerifyReport
from retrieval.vectors.index import OnStep

WAIT_S = 0.2
"""Between two looks whether another process has let go of the directory."""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of records that were given: ``added`` are new, ``unchanged`` were there."""

    added: int
    unchanged: int


class Workspace(Protocol):
    """Datasets, wherever they are open."""

    def list_datasets(self) -> list[Dataset]: ...

    def dataset_named(self, name: str) -> Dataset:
        """Raises DatasetNotFound."""
        ...

    def create_dataset(self, name: str) -> Dataset: ...

    def delete_dataset(self, dataset_id: str) -> None: ...

    def import_file(
        self,
        dataset: Dataset,
        path: Path,
        settings: ImportSettings,
        vectors: Path | None,
        on_progress: ReportProgress | None,
    ) -> ImportReport: ...

    def cancel_job(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        ...

    def save_rejects(self, report: ImportReport, path: Path) -> None:
        """The rejected rows of an import, as a CSV. Raises OSError."""
        ...

    def export(self, dataset_id: str, path: Path) -> None:
        """All records as a CSV. Raises OSError."""
        ...

    def add_records(self, dataset_id: str, collection: str, drafts: Sequence[RecordDraft]) -> Added:
        """What the collection of that name, made if missing, does not have yet; searchable when this returns."""
        ...

    def read_record(self, record_id: str) -> dict[str, Any]:
        """As the wire has it, with the texts that it is found by. Raises RecordNotFound."""
        ...

    def search(self, request: SearchRequest) -> SearchResult: ...

    def search_reply(self, request: SearchRequest) -> dict[str, Any]:
        """As the wire has it, with the explanation."""
        ...

    def list_records(self, dataset_id: str) -> Iterator[Listed]: ...

    def search_itself(self, dataset_id: str, top_k: int) -> HeldOut: ...

    def set_threshold(self, threshold: Threshold) -> None:
        """Make it the dataset's default."""
        ...

    def verify(self, on_step: OnStep) -> VerifyReport: ...

    def rebuild(self, dataset_id: str, on_step: OnStep) -> IndexStatus: ...

    def move(self, dataset_id: str, model: str | None, on_step: OnStep) -> str:
        """To another embedding model, or without one back to the former; the name of that model."""
        ...


@dataclass(frozen=True, slots=True)
class LocalLibrary:
    """A library in this process."""

    library: Library
    completion: CompletionChoice

    def list_datasets(self) -> list[Dataset]:
        return self.library.store.list_datasets()

    def dataset_named(self, name: str) -> Dataset:
        return self.library.dataset_named(name)

    def create_dataset(self, name: str) -> Dataset:
        return self.library.create_dataset(name)

    def delete_dataset(self, dataset_id: str) -> None:
        self.library.delete_dataset(dataset_id)
        with closing(JobRunner(self.library)) as runner:
            runner.forget(dataset_id)

    def import_file(
        self,
        dataset: Dataset,
        path: Path,
        settings: ImportSettings,
        vectors: Path | None,
        on_progress: ReportProgress | None,
    ) -> ImportReport:
        completion = open_completion(self.completion) if settings.reading.is_qa else None
        return import_file(self.library, dataset, path, settings, vectors, on_progress, completion=completion)

    def cancel_job(self, job_id: str) -> Job:
        """None runs: this process has the directory."""
        with closing(JobRunner(self.library)) as runner:
            return runner.cancel(job_id)

    def save_rejects(self, report: ImportReport, path: Path) -> None:
        shutil.copyfile(rejects_path(self.library, report.job), path)

    def export(self, dataset_id: str, path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(export_csv(self.library.store, dataset_id))

    def add_records(self, dataset_id: str, collection: str, drafts: Sequence[RecordDraft]) -> Added:
        result = self.library.add_records(self.library.ensure_collection(dataset_id, collection), drafts)
        return Added(len(result.added), result.unchanged)

    def read_record(self, record_id: str) -> dict[str, Any]:
        from api.schemas.records import record_detail

        return record_detail(self.library.store, record_id)

    def search(self, request: SearchRequest) -> SearchResult:
        return self.library.search(request)

    def search_reply(self, request: SearchRequest) -> dict[str, Any]:
        from api.schemas.search import search_reply

        return search_reply(self.library.search(request))

    def list_records(self, dataset_id: str) -> Iterator[Listed]:
        return list_records(self.library.store, dataset_id)

    def search_itself(self, dataset_id: str, top_k: int) -> HeldOut:
        return search_itself(self.library, dataset_id, top_k)

    def set_threshold(self, threshold: Threshold) -> None:
        Calibrations(self.library.store).put(threshold)

    def verify(self, on_step: OnStep) -> VerifyReport:
        return self.library.verify(on_step)

    def rebuild(self, dataset_id: str, on_step: OnStep) -> IndexStatus:
        return self.library.rebuild(dataset_id, on_step)

    def move(self, dataset_id: str, model: str | None, on_step: OnStep) -> str:
        if model is None:
            return self.library.roll_back_model(dataset_id, on_step).model.name
        return self.library.change_model(dataset_id, model, on_step).model.name


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """A dataset, how much is in it, and where its index stands."""

    dataset: Dataset
    records: int
    index: IndexStatus


def list_statuses(settings: Settings) -> list[DatasetStatus]:
    """Of all datasets: from the server that has them loaded, else from the files, whoever holds them."""
    from api.remote import connect

    if (settings.data_dir / SERVER_FILE).exists():
        with suppress(DirectoryInUse), connect(settings.data_dir, DirectoryInUse()) as server:
            return [DatasetStatus(*server.status_of(dataset)) for dataset in server.list_datasets()]
    with open_documents(settings) as store:
        return [
            DatasetStatus(
                dataset,
                store.count_records(dataset.id),
                status_on_disk(
                    settings.data_dir / INDEX_FOLDER, dataset.index_name, store.count_passages(dataset.id)
                ),
            )
            for dataset in store.list_datasets()
        ]


@contextmanager
def open_workspace(
    settings: Settings,
    progress: Progress | None = None,
    say_wait: Callable[[str], None] | None = None,
    model: Callable[[], Embedder] | None = None,
) -> Iterator[Workspace]:
    """The library in the data directory, or, if a server has it, that server.

    Args:
        say_wait: called once if another process has the directory that is no server, which is then
            waited for.
        model: gives the embedder, if it shall not be opened anew; called if no server has the directory.

    Raises:
        DirectoryInUse: such a process has it, and nobody waits.
    """
    with ExitStack() as stack:
        workspace = _try_to_open(settings, progress, stack, model, may_fail=say_wait is None)
        if workspace is None and say_wait:
            say_wait(f"waiting for another quotebase process that has {settings.data_dir} open")
        while workspace is None:
            time.sleep(WAIT_S)
            workspace = _try_to_open(settings, progress, stack, model, may_fail=False)
        yield workspace


def _try_to_open(
    settings: Settings,
    progress: Progress | None,
    stack: ExitStack,
    model: Callable[[], Embedder] | None,
    *,
    may_fail: bool,
) -> Workspace | None:
    """``None`` if another process has the directory, and that may not be an error."""
    if (settings.data_dir / SERVER_FILE).exists():
        from api.remote import connect

        # Without looking at the model, which is the server's to run.
        with suppress(DirectoryInUse):
            return stack.enter_context(connect(settings.data_dir, DirectoryInUse()))
    try:
        return LocalLibrary(stack.enter_context(open_library(settings, progress, model)), settings.completion)
    except DirectoryInUse as in_use:
        from api.remote import connect

        try:
            return stack.enter_context(connect(settings.data_dir, in_use))
        except DirectoryInUse:
            if may_fail:
                raise
            return None
