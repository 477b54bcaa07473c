"""What the tests of imports share: tables, and an embedding endpoint that can be held up."""

import threading
import time
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from openpyxl import Workbook

from tests.openai_server import Handler, OpenAIServer, well_behaved_embeddings

PATIENCE_S = 60.0

HELD_REPLIES = 1000
"""More than any test asks for."""


def questions(count: int) -> list[str]:
    return [f"question {number}" for number in range(count)]


def table(count: int) -> str:
    """So many rows of ``questions``, as CSV."""
    return "q,a\n" + "".join(f"{question},answer\n" for question in questions(count))


def workbook(*rows: Sequence[object], **sheets: Sequence[Sequence[object]]) -> bytes:
    """An XLSX file: rows of its first sheet, and further sheets by name."""
    book = Workbook()
    first = book.active
    assert first is not None
    for row in rows:
        first.append(row)
    for title, others in sheets.items():
        sheet = book.create_sheet(title)
        for row in others:
            sheet.append(row)
    content = BytesIO()
    book.save(content)
    return content.getvalue()


class Gate:
    """Before an endpoint: holds back each request for embeddings that has a text, while it is shut.

    ``pause_s`` makes all requests slow.
    """

    pause_s = 0.0

    def __init__(self, endpoint: OpenAIServer) -> None:
        self._text = ""
        self._opened = threading.Event()
        self._reached = threading.Event()
        endpoint.script(*[self._reply] * HELD_REPLIES)

    def _reply(self, handler: Handler, body: Any) -> None:
        if self._text in body["input"]:
            self._reached.set()
            self._opened.wait(PATIENCE_S)
        time.sleep(self.pause_s)
        well_behaved_embeddings(handler, body)

    def shut(self, text: str) -> None:
        self._text = text
        self._opened.clear()
        self._reached.clear()

    def wait(self) -> None:
        """Until a request is held back."""
        assert self._reached.wait(PATIENCE_S)

    def open(self) -> None:
        self._opened.set()


def embedded_texts(endpoint: OpenAIServer) -> list[str]:
    """All that it was asked to embed."""
    return [text for request in endpoint.asked("embeddings") for text in request.body["input"]]
