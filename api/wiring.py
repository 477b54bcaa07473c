"""Putting the parts together: settings to a library, a completion backend and what serves them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from api.apps import Apps
from api.keys import Keys
from api.settings import Settings
from retrieval.completion import Completion, open_completion
from retrieval.embedding import Progress, open_embedder
from retrieval.library import Library
from retrieval.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes work with."""

    library: Library
    completion: Completion
    apps: Apps
    keys: Keys
    local_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Accepted as an admin key while this process runs; the command line reads it from the data directory."""


@contextmanager
def open_library(settings: Settings, progress: Progress | None = None) -> Iterator[Library]:
    """The library in the data directory, closed at the end. Raises DirectoryInUse and what opening raises."""
    embedder = open_embedder(settings.embedder, settings.cache_dir, progress)
    with Library.open(settings.data_dir, embedder, settings.mongodb, settings.index_memory) as library:
        yield library


@contextmanager
def open_service(settings: Settings, progress: Progress | None = None) -> Iterator[Service]:
    """Everything a server needs, closed at the end."""
    with open_library(settings, progress) as library:
        yield service_of(library, open_completion(settings.completion))


def service_of(library: Library, completion: Completion) -> Service:
    """The service over an open library."""
    return Service(library, completion, Apps(library.store), Keys(library.store))


@contextmanager
def open_documents(settings: Settings) -> Iterator[Store]:
    """The store alone, for apps and keys: it may be open in a server at the same time."""
    store = open_store(settings.data_dir, settings.mongodb)
    try:
        yield store
    finally:
        store.close()
