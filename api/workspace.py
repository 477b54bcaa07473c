"""What the command line works on: the data directory itself, or the server that holds it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from api.settings import Settings
from api.wiring import open_documents, open_library
from ingest.jobs import ImportReport, ReportProgress, import_file
from retrieval.embedding import Progress
from retrieval.errors import DirectoryInUse
from retrieval.indexes import status_on_disk
from retrieval.library import INDEX_FOLDER, Library
from retrieval.types import Dataset, IndexStatus, SearchRequest, SearchResult, VerifyReport
from retrieval.vectors.index import OnStep


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
        collection_name: str | None,
        vectors: Path | None,
        on_progress: ReportProgress | None,
    ) -> ImportReport: ...

    def search(self, request: SearchRequest) -> SearchResult: ...

    def verify(self, on_step: OnStep) -> VerifyReport: ...

    def rebuild(self, dataset_id: str, on_step: OnStep) -> IndexStatus: ...


@dataclass(frozen=True, slots=True)
class LocalLibrary:
    """A library in this process."""

    library: Library

    def list_datasets(self) -> list[Dataset]:
        return self.library.store.list_datasets()

    def dataset_named(self, name: str) -> Dataset:
        return self.library.dataset_named(name)

    def create_dataset(self, name: str) -> Dataset:
        return self.library.create_dataset(name)

    def delete_dataset(self, dataset_id: str) -> None:
        self.library.delete_dataset(dataset_id)

    def import_file(
        self,
        dataset: Dataset,
        path: Path,
        collection_name: str | None,
        vectors: Path | None,
        on_progress: ReportProgress | None,
    ) -> ImportReport:
        return import_file(
            self.library,
            dataset,
            path,
            collection_name=collection_name,
            vectors=vectors,
            on_progress=on_progress,
        )

    def search(self, request: SearchRequest) -> SearchResult:
        return self.library.search(request)

    def verify(self, on_step: OnStep) -> VerifyReport:
        return self.library.verify(on_step)

    def rebuild(self, dataset_id: str, on_step: OnStep) -> IndexStatus:
        return self.library.rebuild(dataset_id, on_step)


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """A dataset, how much is in it, and where its index stands."""

    dataset: Dataset
    records: int
    index: IndexStatus


def list_statuses(settings: Settings) -> list[DatasetStatus]:
    """Of all datasets: from the server that has them loaded, else from the files, whoever holds them."""
    from api.remote import SERVER_FILE, connect

    if (settings.data_dir / SERVER_FILE).exists():
        with suppress(DirectoryInUse), connect(settings.data_dir, DirectoryInUse()) as server:
            return [DatasetStatus(*server.status_of(dataset)) for dataset in server.list_datasets()]
    with open_documents(settings) as store:
        return [
            DatasetStatus(
                dataset,
                store.count_records(dataset.id),
                status_on_disk(
                    settings.data_dir / INDEX_FOLDER, dataset.id, store.count_passages(dataset.id)
                ),
            )
            for dataset in store.list_datasets()
        ]


@contextmanager
def open_workspace(settings: Settings, progress: Progress | None = None) -> Iterator[Workspace]:
    """The library in the data directory, or, if a server has it, that server.

    Raises:
        DirectoryInUse: another process has it that is no server.
    """
    with ExitStack() as stack:
        try:
            workspace: Workspace = LocalLibrary(stack.enter_context(open_library(settings, progress)))
        except DirectoryInUse as in_use:
            from api.remote import connect

            workspace = stack.enter_context(connect(settings.data_dir, in_use))
        yield workspace
