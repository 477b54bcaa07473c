"""What every client is asked to do, and what it says of the reply in its own words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.api.processes import Server

MODEL = "film"
"""Accepted from all, and decided by the app."""


@dataclass(frozen=True)
class Asking:
    """Whom to ask, with which key."""

    server: Server
    key: str

    @property
    def base_url(self) -> str:
        """What OpenAI's clients want."""
        return f"{self.server.url}/v1"


@dataclass(frozen=True)
class Call:
    """A tool call with its arguments read."""

    id: str
    name: str
    arguments: Any


@dataclass(frozen=True)
class Reply:
    """A reply as a client shows it.

    Args:
        usage: tokens of the prompt and of the answer.
        citations: ``None`` where the client shows no fields that it does not know.
        message: the client's own message, to send back.
    """

    text: str
    finish_reason: str
    usage: tuple[int, int]
    citations: Sequence[Any] | None
    calls: tuple[Call, ...]
    message: Any


class Failed(Exception):
    """The client's own exception: its class, its message, and the text that came before it."""

    def __init__(self, kind: str, message: str, said: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.said = said


class Client(Protocol):
    """A client of OpenAI's chat API, which asks for ``citations`` and, in streams, for the usage.

    Its own retries are off, as tests count what the backend is asked.
    """

    def ask(
        self, asking: Asking, messages: Sequence[Any], *, stream: bool, tools: Sequence[Any] = ()
    ) -> Reply:
        """Messages as OpenAI's API has them, or the client's own. Raises Failed."""
        ...

    def tool_message(self, call: Call, result: str) -> Any:
        """What a tool said, as a message."""
        ...
