"""A sealed part on disk: immutable files, and a manifest that names them.

    <folder>/<name>.codes   the codes and their graph, as FAISS writes them; mapped when loaded
    <folder>/<name>.npz     ids, collection keys, marks on the removed and nodes, as columns
    <folder>/manifest.json  format, model, counts, watermark, and of each file its length and CRC-32

Files are written beside those in use and synced; the manifest is replaced last, by renaming, so that
it always names whole files. Files that it does not name are left-overs and are removed.
"""

import json
import logging
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.types import ModelBinding, new_id
from retrieval.vectors.asked import ASKED_FILE
from retrieval.vectors.codes import Codes
from retrieval.vectors.part import Part

logger = logging.getLogger(__name__)

FORMAT = 3

MANIFEST = "manifest.json"

DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, zipfile.BadZipFile, zlib.error)
"""What reading broken files ends in, depending on which byte it is."""

COLUMNS = ("ids", "collection_keys", "is_removed", "nodes", "embedding_sum")

CHUNK = 1 << 24


class Damaged(ValueError):
    """The files are not what the manifest says, or are of another model or store."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a snapshot without reading it."""

    count: int
    """Passages that can be found."""
    removed: int
    has_graph: bool
    watermark: int
    nbytes: int
    """On disk."""


def save_snapshot(part: Part, watermark: int, model: ModelBinding, folder: Path) -> None:
    """Make the part what is loaded from the folder next time. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    name = new_id()
    codes, columns = folder / f"{name}.codes", folder / f"{name}.npz"
    try:
        part.codes.write(codes)
    except RuntimeError as error:
        raise OSError(f"{codes} cannot be written: {error}") from error
    with columns.open("wb") as stream:
        np.savez(
            stream,
            ids=part.ids,
            collection_keys=part.collection_keys(),
            is_removed=part.is_removed,
            nodes=part.nodes,
            embedding_sum=part.embedding_sum,
        )
        stream.flush()
        os.fsync(stream.fileno())
    files = {path.name: {"bytes": path.stat().st_size, "crc32": _crc(path)} for path in (codes, columns)}
    manifest = {
        **_binding(model),
        "count": len(part),
        "removed": part.removed,
        "has_graph": part.codes.has_graph,
        "watermark": watermark,
        "highest_passage_id": int(part.ids[-1]) if len(part.ids) else 0,
        "written_at": int(time.time()),
        "files": files,
    }
    _replace(folder / MANIFEST, json.dumps({**manifest, "crc32": _crc_of(manifest)}, indent=2))
    _remove_others(folder, files)


def load_snapshot(
    folder: Path, model: ModelBinding, last_sequence: int, is_mapped: bool = True
) -> tuple[Part, int] | None:
    """The part and its watermark, or ``None`` if there is none that fits; one that does not is named.

    Args:
        last_sequence: the store's; a snapshot from beyond it belongs to another store.
        is_mapped: the codes stay in the file, and cannot be added to.
    """
    try:
        return _load(folder, model, last_sequence, is_mapped)
    except FileNotFoundError as error:
        if Path(error.filename or "").name == MANIFEST:
            return None
        logger.warning("the index snapshot %s lacks a file (%s): rebuilding it from the store", folder, error)
    except DAMAGE as error:
        logger.warning(
            "the index snapshot %s is not usable (%s): rebuilding it from the store", folder, error
        )
    return None


def read_manifest(folder: Path) -> Manifest | None:
    """What the folder says it holds, or ``None`` if it says nothing that can be read."""
    try:
        raw = _read_manifest(folder)
        nbytes = sum(file["bytes"] for file in raw["files"].values())
        return Manifest(raw["count"], raw["removed"], raw["has_graph"], raw["watermark"], nbytes)
    except DAMAGE:
        return None


def check_snapshot(folder: Path) -> str | None:
    """What is wrong with the files, ``None`` if nothing is or there are none."""
    try:
        _checked_files(folder, _read_manifest(folder))
    except FileNotFoundError as error:
        return None if Path(error.filename or "").name == MANIFEST else str(error)
    except DAMAGE as error:
        return str(error) or type(error).__name__
    return None


def remove_snapshot(folder: Path) -> None:
    """Nothing is loaded from the folder any more."""
    with suppress(OSError):
        (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _load(folder: Path, model: ModelBinding, last_sequence: int, is_mapped: bool) -> tuple[Part, int]:
    manifest = _read_manifest(folder)
    for field, value in _binding(model).items():
        if manifest[field] != value:
            raise Damaged(f"its {field} is {manifest[field]!r}, not {value!r}")
    watermark = int(manifest["watermark"])
    if not 0 <= watermark <= last_sequence:
        raise Damaged("it is from another store")
    codes_path, columns_path = _checked_files(folder, manifest)
    with np.load(columns_path) as columns:
        part = Part.of_rows(Codes.read(codes_path, is_mapped), **{name: columns[name] for name in COLUMNS})
    if (len(part), part.removed, part.codes.dim) != (manifest["count"], manifest["removed"], model.dim):
        raise Damaged("its files are not those of the manifest")
    return part, watermark


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Raises FileNotFoundError if there is none, Damaged if it is not as it was written."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    if not isinstance(manifest, dict) or manifest.pop("crc32", None) != _crc_of(manifest):
        raise Damaged("its manifest is damaged")
    return manifest


def _crc_of(manifest: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def _checked_files(folder: Path, manifest: dict[str, Any]) -> tuple[Path, Path]:
    """Paths of the codes and the columns. Raises Damaged if they are not as they were written."""
    paths = sorted(folder / Path(name).name for name in manifest["files"])
    if [path.suffix for path in paths] != [".codes", ".npz"]:
        raise Damaged("the manifest names other files")
    for path in paths:
        written = manifest["files"][path.name]
        if path.stat().st_size != written["bytes"] or _crc(path) != written["crc32"]:
            raise Damaged(f"{path.name} is damaged")
    return paths[0], paths[1]


def _binding(model: ModelBinding) -> dict[str, object]:
    return {"format": FORMAT, "model": model.name, "fingerprint": model.fingerprint, "dim": model.dim}


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def _replace(path: Path, text: str) -> None:
    beside = path.with_suffix(".part")
    with beside.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
    if os.name == "posix":
        # The new name is on the disk when its folder is.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove_others(folder: Path, names: Iterable[str]) -> None:
    keep = {MANIFEST, ASKED_FILE, *names}
    for path in folder.iterdir():
        if path.name not in keep:
            # Where a mapped file cannot be removed, the next snapshot removes it.
            with suppress(OSError):
                path.unlink()
