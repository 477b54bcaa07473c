"""An index on disk: one file, written beside its place and renamed.

A .npz archive, which carries a CRC of every member, with the passages as columns and a manifest:
format, model fingerprint, dimension, count, watermark. A damaged or foreign file is not loaded; the
index is then made from the store.
"""

import io
import json
import logging
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from retrieval.types import Changes, ModelBinding, PassageBlock
from retrieval.vectors import VectorIndex

DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, zipfile.BadZipFile, zlib.error)
"""What reading a broken .npz archive ends in, depending on which byte it is."""

logger = logging.getLogger(__name__)

FORMAT = 1


def save_snapshot(index: VectorIndex, model: ModelBinding, path: Path) -> None:
    """Replace the file at ``path`` by what is in the index."""
    contents = index.contents()
    block = contents.added
    manifest = _manifest(model, len(block), contents.watermark)
    beside = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside.open("wb") as stream:
        np.savez(
            stream,
            manifest=np.frombuffer(json.dumps(manifest).encode(), dtype=np.uint8),
            ids=block.ids,
            collection_keys=block.collection_keys,
            embeddings=block.embeddings,
        )
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)


def load_snapshot(path: Path, model: ModelBinding, last_sequence: int) -> Changes | None:
    """The snapshot as changes to an empty index, or ``None`` if there is none that fits.

    Args:
        last_sequence: the store's; a snapshot from beyond it belongs to another store.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes())) as archive:
            manifest = json.loads(archive["manifest"].tobytes())
            block = PassageBlock(archive["ids"], archive["collection_keys"], archive["embeddings"])
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        logger.warning("the index snapshot %s is damaged (%s): rebuilding it from the store", path, error)
        return None
    watermark = manifest.get("watermark", -1)
    if manifest != _manifest(model, len(block), watermark) or not 0 <= watermark <= last_sequence:
        logger.warning(
            "the index snapshot %s is of another model or store: rebuilding it from the store", path
        )
        return None
    return Changes(block, np.empty(0, dtype=np.int64), watermark, is_last=False)


def _manifest(model: ModelBinding, count: int, watermark: int) -> dict[str, object]:
    return {
        "format": FORMAT,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "dim": model.dim,
        "count": count,
        "watermark": watermark,
    }
