"""Putting the parts together: settings to a library, a completion backend and what serves them."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from api.apps import Apps
from api.chat.chats import Chats
from api.keys import Keys
from api.limiting import RateLimit
from api.limits import UPLOAD_LIMIT
from api.readiness import Readiness
from api.settings import Settings
from ingest.jobs import Jobs
from ingest.runner import JobRunner
from retrieval.completion.backends import Backends, open_backends
from retrieval.embedding import Embedder, Progress, open_embedder, open_later
from retrieval.library import Library
from retrieval.rebuilds import Rebuilds
from retrieval.rerank import open_reranker
from retrieval.store import Store, open_store

if TYPE_CHECKING:
    from api.metrics import Metrics

SERVER_FILE = "server.json"
"""In the data directory: where a running server is found, and a token for it."""

UPLOADS_FOLDER = "uploads"
"""In the data directory: a folder for each job that came by an upload and is not over."""


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes work with."""

    library: Library
    backends: Backends
    apps: Apps
    chats: Chats
    keys: Keys
    runner: JobRunner
    metrics: "Metrics"
    readiness: Readiness
    rebuilds: Rebuilds
    allows_private_links: bool = False
    rate_limit: RateLimit | None = None
    upload_limit: int = UPLOAD_LIMIT
    """Bytes that the body of an upload may have."""
    local_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Accepted as an admin key while this process runs; the command line reads it from the data directory."""


@contextmanager
def open_library(
    settings: Settings,
    progress: Progress | None = None,
    model: Callable[[], Embedder] | None = None,
    backends: Backends | None = None,
) -> Iterator[Library]:
    """The library in the data directory, closed at the end. Raises DirectoryInUse and what opening raises."""
    embedder = model() if model else open_embedder(settings.embedder, settings.cache_dir, progress)
    with Library.open(
        settings.data_dir,
        embedder,
        settings.mongodb,
        settings.index_memory,
        reranker=open_reranker(settings.rerank),
        completion=(backends or open_backends(settings.backends)).default,
        models=[open_later(choice, settings.cache_dir, progress) for choice in settings.further_embedders],
    ) as library:
        yield library


@contextmanager
def open_service(settings: Settings, progress: Progress | None = None) -> Iterator[Service]:
    """Everything a server needs, closed at the end."""
    backends = open_backends(settings.backends)
    with open_library(settings, progress, backends=backends) as library:
        service = service_of(
            library,
            backends,
            settings.private_links,
            settings.rate_limit,
            settings.upload_limit,
            settings.metrics_open,
        )
        with closing(service.rebuilds), closing(service.runner), service.keys.uses.saving():
            _remove_leftovers(library)
            service.runner.resume()
            service.rebuilds.resume()
            yield service


def _remove_leftovers(library: Library) -> None:
    """Uploads that no job needs: a process ended before they were a job, or after the job was over."""
    needed = {Path(job.path).parent for job in Jobs(library.store).list() if not job.is_over}
    for folder in (library.data_dir / UPLOADS_FOLDER).absolute().glob("*"):
        if folder not in needed:
            shutil.rmtree(folder, ignore_errors=True)


def service_of(
    library: Library,
    backends: Backends,
    allows_private_links: bool = False,
    rate_limit: str | None = None,
    upload_limit: int = UPLOAD_LIMIT,
    metrics_open: bool = False,
) -> Service:
    """The service over an open library. Close its runner and its rebuilds before the library."""
    # It brings an HTTP server of its own, which commands that serve nothing need not load.
    from api.metrics import Metrics

    runner = JobRunner(library, backends.default)
    return Service(
        library,
        backends,
        Apps(library.store),
        Chats(library.store),
        Keys(library.store),
        runner,
        Metrics(library, runner, metrics_open),
        Readiness(library),
        Rebuilds(library),
        allows_private_links,
        RateLimit(rate_limit) if rate_limit else None,
        upload_limit,
    )


@contextmanager
def open_documents(settings: Settings) -> Iterator[Store]:
    """The store alone, for apps and keys: it may be open in a server at the same time."""
    store = open_store(settings.data_dir, settings.mongodb)
    try:
        yield store
    finally:
        store.close()
