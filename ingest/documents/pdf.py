"""PDF files to text, page after page."""

import logging
import time
from io import BytesIO

from pypdf import PdfReader
from pypdf.errors import DependencyError, PyPdfError

from ingest.documents import MAX_BYTES, Document, as_document, check_size, with_line_feeds
from ingest.documents.damage import BROKEN
from retrieval.errors import UnreadableFile

TIME_LIMIT_S = 120.0
"""Of processor time: a server that is busy with other things takes longer, and that is no fault of the file."""

logging.getLogger("pypdf").setLevel(logging.ERROR)  # what it mends by itself is no news


def read_pdf(raw: bytes, name: str) -> Document:
    """The text that its pages have; scans have none."""
    began = time.thread_time()
    try:
        reader = PdfReader(BytesIO(raw))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableFile(f"{name} is encrypted: save it without a password")
        text = _text_of_pages(reader, name, began + TIME_LIMIT_S)
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


def _text_of_pages(reader: PdfReader, name: str, deadline: float) -> str:
    pages: list[str] = []
    size = 0
    for page in reader.pages:
        if time.thread_time() > deadline:
            raise UnreadableFile(
                f"{name} takes over {TIME_LIMIT_S:.0f} s to read, {len(pages)} of its {len(reader.pages)} pages by "
                "now: split it into several files"
            )
        # Broken font tables give halves of surrogate pairs.
        text = page.extract_text().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        size += len(text)
        check_size(name, size, MAX_BYTES)
        pages.append(with_line_feeds(text).strip("\n"))
    return "\n\n".join(page for page in pages if page.strip())
