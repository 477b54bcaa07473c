"""Many readers or one writer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """Searches share it; a change has it alone. A waiting writer goes before new readers."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._readers = 0
        self._waiting_writers = 0
        self._is_writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._state:
            self._state.wait_for(lambda: not (self._is_writing or self._waiting_writers))
            self._readers += 1
        try:
            yield
        finally:
            with self._state:
                self._readers -= 1
                self._state.notify_all()

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
