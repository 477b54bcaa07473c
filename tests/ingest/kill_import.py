"""An import that is killed: ``python -m tests.ingest.kill_import DATA_DIR FILE MODE LOG``.

The log has a line for each batch of texts before the model reads it, and one for each report:

    {"reads": ["question 7\\nanswer 7", "also 7"]}
    {"report": {"state": "running", "read": 400, …}}
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import ingest.batches
from ingest.imports import import_file
from ingest.jobs import ImportReport, ImportSettings, Mode
from retrieval.library import Library
from tests.ingest.importing import NotingEmbedder

DATASET = "killed"
COLLECTION = "all"

BATCH_RECORDS = 100


class Log:
    """Lines that outlive the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def reads(self, texts: Sequence[str]) -> None:
        self._write(reads=list(texts))

    def report(self, report: ImportReport) -> None:
        self._write(report=asdict(report))

    def _write(self, **fields: object) -> None:
        os.write(self._file, json.dumps(fields).encode() + b"\n")


def main(data_dir: Path, path: Path, mode: Mode, log: Log) -> None:
    ingest.batches.BATCH_RECORDS, ingest.batches.QUICK_S = BATCH_RECORDS, 0.0
    with Library.open(data_dir, NotingEmbedder(log.reads)) as library:
        dataset = library.store.find_dataset(DATASET) or library.create_dataset(DATASET)
        settings = ImportSettings(path.name, COLLECTION, mode)
        import_file(library, dataset, path, settings, on_progress=log.report)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Log(Path(sys.argv[4])))  # type: ignore[arg-type]
