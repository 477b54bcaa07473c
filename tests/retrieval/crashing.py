"""Crashes without ending the process: a copy of the data directory, made in the midst of a step.

The machine does not notice; afterwards it goes on from the copy, which is what a killed process would
have left at that moment.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from retrieval.embedding import Embedder
from retrieval.library import Library, lock_directory
from retrieval.store.sqlite import SqliteStore
from retrieval.vectors import snapshot
from retrieval.vectors.codes import Codes
from retrieval.vectors.index import FoldPolicy

BEFORE_COMMIT = "before the commit"
"""Written and not committed: what is to be deleted has left the index and is in the store."""
BEFORE_WRITING = "before the transaction"
AFTER_COMMIT = "after the commit"
"""What was added is in the store and not yet in the index."""
BEFORE_CODES = "before the codes"
AMID_CODES = "amid the codes"
BEFORE_COLUMNS = "before the columns"
BEFORE_MANIFEST = "before the manifest"
AMID_MANIFEST = "amid the manifest"
AFTER_MANIFEST = "after the manifest"
"""What the old one named is still there."""

STORE_MOMENTS = (BEFORE_WRITING, BEFORE_COMMIT, AFTER_COMMIT)
SNAPSHOT_MOMENTS = (
    BEFORE_CODES,
    AMID_CODES,
    BEFORE_COLUMNS,
    BEFORE_MANIFEST,
    AMID_MANIFEST,
    AFTER_MANIFEST,
)


class Crash:
    """Told when to come, it makes the copy once."""

    def __init__(self) -> None:
        self.commits = 0
        """Of changes of records and collections, by all stores."""
        self.has_come = False
        self.commits_at_crash = 0
        self._moment = ""
        self._skipped = 0
        self._from = self._to = Path()
        self._thread: int | None = None
        self._copying = threading.Lock()

    def arm(self, moment: str, skipped: int, source: Path, target: Path, from_any_thread: bool) -> None:
        """Come when the moment does, after ``skipped`` of its kind.

        Args:
            from_any_thread: for steps in which this thread waits for others.
        """
        self.has_come = False
        self._moment, self._skipped = moment, skipped
        self._from, self._to = source, target
        self._thread = None if from_any_thread else threading.get_ident()

    def disarm(self) -> None:
        self._moment = ""

    def note(self, moment: str) -> None:
        """The moment is now."""
        with self._copying:
            if moment != self._moment or self._thread not in (None, threading.get_ident()):
                return
            if self._skipped:
                self._skipped -= 1
                return
            copy_as_it_is(self._from, self._to)
            self._moment = ""
            self.has_come = True
            self.commits_at_crash = self.commits


class CrashingStore(SqliteStore):
    """Notes the moments around each change of records and collections."""

    def __init__(self, path: Path, crash: Crash) -> None:
        self.crash = crash
        super().__init__(path)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        self.crash.note(BEFORE_WRITING)
        with super()._transaction() as db:
            yield db
            self.crash.note(BEFORE_COMMIT)
        self.crash.commits += 1
        self.crash.note(AFTER_COMMIT)


def open_crashing(
    data_dir: Path, embedder: Embedder, crash: Crash, index_memory: int | None, folds: FoldPolicy
) -> Library:
    """:meth:`Library.open` with a store that notes its moments."""
    lock = lock_directory(data_dir)
    try:
        store = CrashingStore(data_dir / "quotebase.sqlite", crash)
        return Library(data_dir, store, embedder, lock, index_memory, folds)
    except BaseException:
        lock.release()
        raise


def note_snapshots(patch: pytest.MonkeyPatch, crash: Crash) -> None:
    """Until the patch is undone, snapshots note their moments."""
    write, replace, remove_others = Codes.write, snapshot._replace, snapshot._remove_others

    def noting_write(codes: Codes, path: Path) -> None:
        crash.note(BEFORE_CODES)
        write(codes, path)
        with _cut(path):
            crash.note(AMID_CODES)
        crash.note(BEFORE_COLUMNS)

    def noting_replace(path: Path, text: str) -> None:
        crash.note(BEFORE_MANIFEST)
        beside = path.with_suffix(".part")
        beside.write_text(text[: len(text) // 2])
        crash.note(AMID_MANIFEST)
        replace(path, text)

    def noting_remove_others(folder: Path, names: Any) -> None:
        crash.note(AFTER_MANIFEST)
        remove_others(folder, names)

    patch.setattr(Codes, "write", noting_write)
    patch.setattr(snapshot, "_replace", noting_replace)
    patch.setattr(snapshot, "_remove_others", noting_remove_others)


@contextmanager
def _cut(path: Path) -> Iterator[None]:
    """The file has only its first half for a moment."""
    whole = path.read_bytes()
    os.truncate(path, len(whole) // 2)
    try:
        yield
    finally:
        path.write_bytes(whole)


def copy_as_it_is(source: Path, target: Path) -> None:
    """Copy a directory in which others write: what vanishes meanwhile is not in the copy."""
    target.mkdir(parents=True)
    for path in _entries(source):
        if path.is_dir():
            copy_as_it_is(path, target / path.name)
        else:
            with suppress(FileNotFoundError):
                shutil.copyfile(path, target / path.name)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def damage(path: Path, how: Callable[[bytes], bytes | None]) -> None:
    """Put what a function makes of the bytes in the place of the file; ``None`` for nothing."""
    after = how(path.read_bytes())
    # A new file: the old one may be mapped.
    path.unlink()
    if after is not None:
        path.write_bytes(after)
