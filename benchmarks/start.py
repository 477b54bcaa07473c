"""Opening a library in a process of its own: how long it takes and how much memory, as one JSON object.

python -m benchmarks.start DATA_DIR DATASET QUERIES.npy MODEL.json
"""

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.known_embedder import KnownEmbedder
from benchmarks.timing import time_once
from retrieval.library import Library
from retrieval.types import Dataset, ModelBinding
from retrieval.vectors.index import VectorIndex


def resident_bytes() -> int | None:
    """Of this process, mapped files included; ``None`` where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    data_dir, name, queries, model = sys.argv[1:]
    embedder = KnownEmbedder(ModelBinding(**json.loads(model)), {})
    vectors = np.load(queries)
    before = resident_bytes()

    def open_library() -> tuple[Library, Dataset, VectorIndex]:
        library = Library.open(Path(data_dir), embedder)
        dataset = library.dataset_named(name)
        index = library.load_index(dataset.id)
        index.search(vectors[:1], 10)
        return library, dataset, index

    (library, dataset, index), seconds = time_once(open_library)
    with library:
        for query in vectors:
            index.search(query[np.newaxis], 10)
        after = resident_bytes()
        status = library.index_status(dataset.id)
    resident = None if before is None or after is None else after - before
    print(
        json.dumps(
            {
                "start_s": seconds,
                "passages": status.passages,
                "index_bytes": status.memory_bytes,
                "disk_bytes": status.disk_bytes,
                "resident_bytes": resident,
            }
        )
    )


if __name__ == "__main__":
    main()
