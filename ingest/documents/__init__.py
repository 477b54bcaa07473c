"""Documents to text: Markdown and plain text as they are, HTML, PDF and Word documents as Markdown.

One module a kind: :mod:`.html`, :mod:`.pdf`, :mod:`.word`, each imported when its first file comes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingest.blocks import title_of
from ingest.encodings import decode_text
from retrieval.errors import UnreadableFile

MAX_BYTES = 64 << 20
"""The largest file, and the largest text of a PDF, in characters."""

_TITLE_SAMPLE = 1 << 16
_LINE_BREAK = re.compile(r"\r\n?")


@dataclass(frozen=True, slots=True)
class Document:
    """A text in Markdown, with LF at line ends. ``title`` is its own, or its first heading, or ``""``.

    ``replaced`` counts the U+FFFD put in for what could not be decoded.
    """

    title: str
    text: str
    replaced: int = 0


def read_document(path: Path, name: str, encoding: str | None = None, replace: bool = False) -> Document:
    """Read a document of one of ``DOCUMENT_SUFFIXES``.

    Args:
        name: what to call the file in messages; its suffix says what it is.
        encoding: of a text or HTML file; ``None`` to find out. PDF and Word documents have their own.
        replace: whether U+FFFD is put in where bytes of such a file cannot be decoded.

    Raises:
        UnreadableFile: there is no such file, it is of no such kind, damaged, encrypted or too large,
            or it has no text.
        InvalidRequest: there is no such encoding.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in _READERS:
        raise UnreadableFile(
            f"{name} is no document that can be read: give one of {', '.join(DOCUMENT_SUFFIXES)}"
        )
    try:
        with path.open("rb") as source:
            raw = source.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be read: {error.strerror or error}") from error
    check_size(name, len(raw), MAX_BYTES)
    return _READERS[suffix](raw, name, encoding, replace)


def check_size(name: str, size: int, most: int) -> None:
    if size > most:
        raise UnreadableFile(f"{name} is larger than {most >> 20} MB: split it into several files")


def _read_text(raw: bytes, name: str, encoding: str | None, replace: bool) -> Document:
    text, replaced = decode_text(raw, name, encoding, replace)
    return as_document(with_line_feeds(text), replaced=replaced)


def with_line_feeds(text: str) -> str:
    """CRLF and CR as LF."""
    return _LINE_BREAK.sub("\n", text)


def as_document(text: str, title: str = "", replaced: int = 0) -> Document:
    return Document(title or title_of(text[:_TITLE_SAMPLE]), text, replaced)


def _read_html(raw: bytes, name: str, encoding: str | None, replace: bool) -> Document:
    from ingest.documents.html import read_html

    return read_html(raw, name, encoding, replace)


def _read_pdf(raw: bytes, name: str, _encoding: str | None, _replace: bool) -> Document:
    from ingest.documents.pdf import read_pdf

    return read_pdf(raw, name)


def _read_docx(raw: bytes, name: str, _encoding: str | None, _replace: bool) -> Document:
    from ingest.documents.word import read_docx

    return read_docx(raw, name)


_READERS: dict[str, Callable[[bytes, str, str | None, bool], Document]] = {
    ".md": _read_text,
    ".mdx": _read_text,
    ".markdown": _read_text,
    ".txt": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".pdf": _read_pdf,
    ".docx": _read_docx,
}

DOCUMENT_SUFFIXES = tuple(_READERS)
