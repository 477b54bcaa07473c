"""Rejected rows as a CSV that can be mended and imported again: their cells, with line and reason before them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from ingest.mapping import NOTES, RowProblem
from ingest.sources import Item
from retrieval.library import Library

REJECTS_FOLDER = "rejects"
"""In the data directory: the rejected rows of each job."""


class Rejects:
    """Appends to a file; what came after ``keep`` bytes of it, from an attempt that was cut off, goes.

    Args:
        header: of the file that is imported. Without one the rows are written as they were.
    """

    def __init__(self, path: Path, header: Sequence[str], keep: int = 0) -> None:
        self._has_header = bool(header)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("a+", encoding="utf-8", newline="")
        kept = self._file.truncate(min(keep, self.size))
        if not kept and self._has_header:
            csv.writer(self._file).writerow([*NOTES, *header])

    def write(self, items: Iterable[Item]) -> None:
        """Those of the items that are problems."""
        writer = csv.writer(self._file)
        for item in items:
            if isinstance(item.outcome, RowProblem):
                notes = (item.line, _said(item.outcome)) if self._has_header else ()
                writer.writerow([*notes, *item.cells])
        self._file.flush()

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.seek(0, 2)

    def close(self) -> None:
        self._file.close()


def rejects_path(library: Library, job_id: str) -> Path:
    """Where the rejected rows of a job are, if it has any."""
    return library.data_dir / REJECTS_FOLDER / f"{job_id}.csv"


def _said(problem: RowProblem) -> str:
    return f"{problem.column}: {problem.reason}" if problem.column else problem.reason
