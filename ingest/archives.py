"""Zip archives that office files are, looked through before anything of them is unpacked into memory."""

from typing import IO
from xml.parsers import expat
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from retrieval.errors import UnreadableFile

MAX_PARTS = 10_000

MAX_BYTES = 1 << 30
"""All parts, unpacked."""

MAX_RATIO = 200
"""What a part may unpack to, by its packed bytes."""

ALWAYS_FINE = 1 << 26
"""Bytes that a part may unpack to at any rate."""

_BLOCK = 1 << 16


def check_archive(archive: ZipFile, name: str) -> int:
    """Refuse what would grow when it is read: by its declared sizes, and by entities in its XML.

    ``zipfile`` unpacks no more of a part than it declares, so that a part that lies is damaged.

    Args:
        name: what to call the file in messages.

    Returns:
        The bytes that its XML parts unpack to.

    Raises:
        UnreadableFile: it is protected, or has too much in it; names the part.
        BadZipFile, and what else reading damaged archives raises.
    """
    parts = archive.infolist()
    if len(parts) > MAX_PARTS:
        raise UnreadableFile(
            f"{name} has {len(parts):,} parts, more than {MAX_PARTS:,}: it is no office file"
        )
    for part in parts:
        _check_part(part, name)
    if (size := sum(part.file_size for part in parts)) > MAX_BYTES:
        largest = max(parts, key=lambda part: part.file_size)
        raise UnreadableFile(
            f"{name} unpacks to {size:,} bytes, more than {MAX_BYTES:,}, most of them in {largest.filename}: "
            "split it into several files"
        )
    return sum(part.file_size for part in parts if _is_xml(archive, part, name))


def _check_part(part: ZipInfo, name: str) -> None:
    if part.flag_bits & 1:
        raise UnreadableFile(f"{name} is protected with a password: save it without one")
    if part.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        # Other methods unpack whole blocks at once, whatever their size.
        raise UnreadableFile(f"{name} has {part.filename} packed in an unusual way: save it again")
    if part.file_size > max(ALWAYS_FINE, MAX_RATIO * part.compress_size):
        raise UnreadableFile(
            f"{name} unpacks to {part.file_size:,} bytes in {part.filename}, over {MAX_RATIO} times what it takes: "
            "save it again, a table as CSV"
        )


class _Element(Exception):
    """XML has come to its first element, behind which nothing can be declared."""


class _Doctype(Exception):
    """XML declares something."""


def _is_xml(archive: ZipFile, part: ZipInfo, name: str) -> bool:
    with archive.open(part) as content:
        try:
            _read_prologue(content)
        except _Element:
            return True
        except _Doctype:
            raise UnreadableFile(
                f"{name} has a document type declaration in {part.filename}, which office files have not "
                "and which could make it grow without end: save it again"
            ) from None
        except expat.ExpatError:
            return False
    return False


def _read_prologue(content: IO[bytes]) -> None:
    def stop_at_element(*_: object) -> None:
        raise _Element

    def stop_at_doctype(*_: object) -> None:
        raise _Doctype

    parser = expat.ParserCreate()
    parser.StartElementHandler = stop_at_element
    parser.StartDoctypeDeclHandler = stop_at_doctype
    while block := content.read(_BLOCK):
        parser.Parse(block, False)
