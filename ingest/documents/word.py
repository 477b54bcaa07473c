"""Word documents to Markdown, by way of HTML."""

from io import BytesIO
from xml.parsers.expat import ExpatError
from zipfile import ZipFile

import mammoth

from ingest.archives import check_archive
from ingest.documents import Document, check_size
from ingest.documents.damage import BROKEN
from ingest.documents.html import from_html
from retrieval.errors import UnreadableFile

MAX_XML_BYTES = 16 << 20
"""All XML in a Word document, unpacked: its tree takes some forty times as much memory."""

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")


def read_docx(raw: bytes, name: str) -> Document:
    """Headings, lists, tables and text of a .docx file."""
    if raw.startswith(_OLE):
        raise UnreadableFile(
            f"{name} is an old Word document or encrypted: save it as .docx without a password"
        )
    try:
        with ZipFile(BytesIO(raw)) as parts:
            size = check_archive(parts, name)
        check_size(name, size, MAX_XML_BYTES)
        html = mammoth.convert_to_html(
            BytesIO(raw),
            style_map="p[style-name='Title'] => h1:fresh",
            include_embedded_style_map=False,
            convert_image=lambda image: [],
        ).value
    except (ExpatError, *BROKEN) as error:
        raise UnreadableFile(
            f"{name} cannot be read as a Word document ({error}): open it in a word processor and save it as .docx"
        ) from error
    return from_html(html, name)
