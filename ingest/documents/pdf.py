"""PDF files to text, page after page."""

import logging
from io import BytesIO

from pypdf import PdfReader
from pypdf.errors import DependencyError, PyPdfError

from ingest.documents import MAX_BYTES, Document, as_document, check_size, with_line_feeds
from ingest.documents.damage import BROKEN
from retrieval.errors import UnreadableFile

logging.getLogger("pypdf").setLevel(logging.ERROR)  # what it mends by itself is no news


def read_pdf(raw: bytes, name: str) -> Document:
    """The text that its pages have; scans have none."""
    try:
        reader = PdfReader(BytesIO(raw))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableFile(f"{name} is encrypted: save it without a password")
        text = _text_of_pages(reader, name)
        title = reader.metadata.title if reader.metadata else None
    except DependencyError as error:
        raise UnreadableFile(f"{name} is encrypted: save it without encryption") from error
    except (PyPdfError, *BROKEN) as error:
        raise UnreadableFile(
            f"{name} cannot be read as a PDF ({error}): save or print it as a new one"
        ) from error
    if not text.strip():
        raise UnreadableFile(f"{name} has pages but no text, as scans do: run text recognition (OCR) on it")
    return as_document(text, " ".join((title or "").split()))


def _text_of_pages(reader: PdfReader, name: str) -> str:
    pages: list[str] = []
    size = 0
    for page in reader.pages:
        # Broken font tables give halves of surrogate pairs.
        text = page.extract_text().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        size += len(text)
        check_size(name, size, MAX_BYTES)
        pages.append(with_line_feeds(text).strip("\n"))
    return "\n\n".join(page for page in pages if page.strip())
