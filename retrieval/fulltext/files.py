"""Whether the files of a full-text index are as tantivy wrote them: it leaves their checksums unread."""

import json
import zlib
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
"""Bytes of a file that are read at a time."""


def check_files(folder: Path) -> str | None:
    """What is wrong with the files of an index, ``None`` if nothing is or there are none."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        damaged = [
            file.name for file in sorted(folder.iterdir()) if _counts(file, meta) and not _is_whole(file)
        ]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its list of files cannot be read ({error})"
    return f"{damaged[0]} is damaged" if damaged else None


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
