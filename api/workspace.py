"""What the command line works on: the data directory itself, or the server that holds it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from api.settings import Settings
from api.wiring import open_library
from ingest.jobs import ImportReport, ReportProgress, import_file
from retrieval.embedding import Progress
from retrieval.errors import DirectoryInUse
from retrieval.library import Library
from retrieval.types import Dataset, SearchRequest, SearchResult


class Workspace(Protocol):
    """Datasets, wherever they are open."""

    def list_datasets(self) -> list[Dataset]: ...

    def dataset_named(self, name: str) -> Dataset:
        """Raises DatasetNotFound."""
        ...

    def create_dataset(self, name: str) -> Dataset: ...

    def delete_dataset(self, dataset_id: str) -> None: ...

    def import_file(
        self, dataset: Dataset, path: Path, collection_name: str | None, on_progress: ReportProgress | None
    ) -> ImportReport: ...

    def search(self, request: SearchRequest) -> SearchResult: ...


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
        self, dataset: Dataset, path: Path, collection_name: str | None, on_progress: ReportProgress | None
    ) -> ImportReport:
        return import_file(
            self.library, dataset, path, collection_name=collection_name, on_progress=on_progress
        )

    def search(self, request: SearchRequest) -> SearchResult:
        return self.library.search(request)


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
