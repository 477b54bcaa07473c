"""Many readers or one writer."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class ReadWriteLock:
    """Searches share it; a change has it alone. A waiting writer goes before new readers."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._readers = 0
        self._waiting_writers = 0
        self._is_writing = False

    def reading(self) -> AbstractContextManager[None]:
        return _Reading(self)

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._state:
            self._waiting_writers += 1
            try:
                self._state.wait_for(lambda: not (self._is_writing or self._readers))
                self._is_writing = True
            finally:
                self._waiting_writers -= 1
                self._state.notify_all()
        try:
            yield
        finally:
            with self._state:
                self._is_writing = False
                self._state.notify_all()


class _Reading(AbstractContextManager[None]):
    """Not a generator, as every search enters it."""

    def __init__(self, lock: ReadWriteLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        lock = self._lock
        with lock._state:
            while lock._is_writing or lock._waiting_writers:
                lock._state.wait()
            lock._readers += 1

    def __exit__(self, *_: object) -> None:
        lock = self._lock
        with lock._state:
            lock._readers -= 1
            if lock._waiting_writers:
                lock._state.notify_all()
