"""The files of a full-text index: whether they are as tantivy wrote them, which leaves their checksums unread, and
a file of our own beside them that says how far the index is.

As a document in the index that note would count in the statistics of terms.
"""

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

STATE = "state.json"

SUFFIXES = ("fast", "fieldnorm", "idx", "pos", "store", "term")

CHUNK = 1 << 20
"""Bytes of a file that are read at a time."""


@dataclass(frozen=True, slots=True)
class State:
    """How far an index is: all changes up to ``watermark`` are in; ``added`` passages came in so far.

    ``commit`` is the number of the commit that this is said of, 0 before the first.
    """

    watermark: int = 0
    added: int = 0
    commit: int = 0
    format: str = ""


def commit_number(folder: Path) -> int:
    """Of the last commit, 0 before the first. Raises ValueError, OSError."""
    meta = json.loads((folder / "meta.json").read_bytes())
    return int(meta["opstamp"])


def read_state(folder: Path) -> State:
    """What :func:`write_state` wrote last. Raises ValueError, OSError."""
    try:
        text, _, crc = (folder / STATE).read_text(encoding="utf-8").rpartition("\n")
    except FileNotFoundError:
        return State()
    if crc != _crc(text):
        raise ValueError(f"{STATE} is damaged")
    return State(**json.loads(text))


def write_state(folder: Path, state: State) -> None:
    """Down to the disk, all or nothing."""
    text = json.dumps(asdict(state))
    beside = folder / f"{STATE}.new"
    with beside.open("w", encoding="utf-8") as stream:
        stream.write(f"{text}\n{_crc(text)}")
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(folder / STATE)


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def check_files(folder: Path) -> str | None:
    """What is wrong with the files of an index, ``None`` if nothing is or there are none."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        present = {file.name for file in folder.iterdir()}
        missing = sorted(name for name in _needed(meta) if name not in present)
        damaged = [
            file.name for file in sorted(folder.iterdir()) if _counts(file, meta) and not _is_whole(file)
        ]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its list of files cannot be read ({error})"
    if missing:
        return f"{missing[0]} is missing"
    return f"{damaged[0]} is damaged" if damaged else None


def _needed(meta: dict[str, Any]) -> Iterator[str]:
    """Every segment has these files; the marks on removed passages are opened with it."""
    for segment in meta["segments"]:
        name = segment["segment_id"].replace("-", "")
        yield from (f"{name}.{suffix}" for suffix in SUFFIXES)


def _counts(file: Path, meta: dict[str, Any]) -> bool:
    """Whether the index is made of it; what a crash has left, cut off, is not."""
    name = file.name.split(".")
    for segment in meta["segments"]:
        if segment["segment_id"].replace("-", "") == name[0]:
            # The marks on removed passages have a number: <segment>.<number>.del
            return name[-1] != "del" or name[1] == str((segment["deletes"] or {}).get("opstamp"))
    return False


def _is_whole(file: Path) -> bool:
    """It ends with a footer, which is JSON with the CRC-32 of all before it; its length; a magic number."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        stream.seek(max(0, size - 8))
        length = int.from_bytes(stream.read(4), "little")
        left = size - 8 - length
        if left < 0:
            return False
        stream.seek(left)
        footer = stream.read(length)
        stream.seek(0)
        crc = 0
        while chunk := stream.read(min(CHUNK, left)):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
    return b'"crc":%d}' % crc in footer
