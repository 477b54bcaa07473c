"""The connections to one SQLite file: one for each thread, closed with the store or when the thread has ended."""

import sqlite3
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from weakref import WeakSet

from retrieval.errors import InvalidRequest, StoreUnavailable
from retrieval.store.sqlite_pages import contains

BUSY_TIMEOUT_S = 60.0
"""How long a write waits for another process's."""


class Connections(AbstractContextManager[sqlite3.Connection]):
    """``with`` them a thread has its own, which is not closed meanwhile, and SQLite's errors become ours.

    One object for all, and no generator: every search enters it several times.

    Args:
        path: the file; it is made if it is not there, with the folders that it is in.

    Raises:
        StoreUnavailable: the file cannot be used, or this was closed.
        InvalidRequest: a text is not valid Unicode.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = threading.local()
        self._all: WeakSet[_OwnConnection] = WeakSet()
        self._state = threading.Condition()
        self._users = 0
        self._is_closed = False
        try:
            # Here and not for each connection: a folder that is gone must not come back as an empty one.
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def __enter__(self) -> sqlite3.Connection:
        with self._state:
            if self._is_closed:
                raise StoreUnavailable(f"the database {self._path} was closed: open the library again")
            self._users += 1
        try:
            own: _OwnConnection | None = getattr(self._own, "connection", None)
            return (own or self._opened()).db
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def _opened(self) -> "_OwnConnection":
        own = _OwnConnection(self._path)
        with self._state:
            self._all.add(own)
        self._own.connection = own
        return own

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._state:
            self._users -= 1
            if self._is_closed:
                self._state.notify_all()
        if isinstance(error, sqlite3.Error | OSError):
            raise self._unusable(error) from error
        if isinstance(error, UnicodeEncodeError):
            raise InvalidRequest(f"a text is not valid Unicode ({error.reason}): give it in UTF-8") from error

    def _unusable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"the database {self._path} cannot be used ({error}): check that the disk has space, that the "
            "file may be written, and that it is a quotebase database"
        )

    def close(self) -> None:
        """As soon as nobody uses any of them; whoever wants to from now on is refused."""
        with self._state:
            self._is_closed = True
            self._state.wait_for(lambda: self._users == 0)
            for own in self._all:
                own.db.close()


class _OwnConnection:
    """A thread's; threads come and go with imports.

    With the file mapped (``mmap_size``) a search in 100,000 passages takes 690 µs in place of 725, but each thread that
    searches counts the pages as its own again: a server of 40 threads would be said to take gigabytes.
    """

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.create_function("contains", 2, contains, deterministic=True)

    def __del__(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
