"""An OpenAI-compatible server on loopback that answers what a test tells it to, and remembers what it was asked.

Replies are functions of the request; they are used up in order, then the server is well-behaved:
embeddings are HashEmbedder's (not of unit length), every chat gets the answer "ok".
"""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.doubles import HashEmbedder

LENGTH = 3.0
"""Of the vectors that the well-behaved server gives, so that whoever needs unit rows has to make them."""

PIECE_PAUSE_S = 0.01


@dataclass(frozen=True)
class Recorded:
    """A request as it came in; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: Any


class Handler(BaseHTTPRequestHandler):
    """One connection. The server it belongs to says what to reply."""

    protocol_version = "HTTP/1.1"
    server: "OpenAIServer"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.next_reply(Recorded(self.path, headers, body))(self, body)

    def send_json(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.send_text(json.dumps(value, ensure_ascii=False), "application/json", status, headers)

    def send_text(
        self, text: str, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": content_type, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin_events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_event(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")

    def send_delta(self, model: str, delta: Mapping[str, Any], finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        self.send_event(json.dumps(_chunk(model, [choice]), ensure_ascii=False))

    def end_events(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


Reply = Callable[[Handler, Any], None]


class OpenAIServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.requests: list[Recorded] = []
        self._replies: deque[Reply] = deque()
        self._recording = threading.Lock()

    def script(self, *replies: Reply) -> None:
        """What to answer to the next requests."""
        self._replies.extend(replies)

    def script_anew(self) -> None:
        """Be well-behaved from now on."""
        with self._recording:
            self._replies.clear()

    def next_reply(self, request: Recorded) -> Reply:
        with self._recording:
            self.requests.append(request)
            if self._replies:
                return self._replies.popleft()
        return well_behaved_embeddings if request.path == "/v1/embeddings" else answer("ok")

    def asked(self, path: str) -> list[Recorded]:
        """The requests to /v1/<path>."""
        return [request for request in self.requests if request.path == f"/v1/{path}"]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


@contextmanager
def openai_server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on loopback that refuses every connection, and that nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# Replies to anything


def refusal(
    status: int, message: str = "not now", retry_after_s: int | None = None, retry_after_ms: int | None = None
) -> Reply:
    """An error in OpenAI's form."""
    headers = {
        **({} if retry_after_s is None else {"Retry-After": str(retry_after_s)}),
        **({} if retry_after_ms is None else {"retry-after-ms": str(retry_after_ms)}),
    }
    error = {"message": message, "type": "error", "param": None, "code": None}
    return lambda handler, _: handler.send_json({"error": error}, status, headers)


def text(content: str, content_type: str = "application/json", status: int = 200) -> Reply:
    """Any body at all, such as broken JSON or a proxy's page."""
    return lambda handler, _: handler.send_text(content, content_type, status)


# Replies to /embeddings


def vectors(*rows: Sequence[float | None]) -> Reply:
    """These embeddings, whatever was asked; NaN is written as Python does."""
    return lambda handler, body: handler.send_json(_embeddings(body["model"], rows))


def well_behaved_embeddings(handler: Handler, body: Any) -> None:
    """HashEmbedder's, in reverse order: what says the place of each is its index."""
    rows = (HashEmbedder().embed_queries(body["input"]) * LENGTH).tolist()
    reply = _embeddings(body["model"], rows)
    handler.send_json({**reply, "data": reply["data"][::-1]})


def _embeddings(model: str, rows: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
    return {
        "object": "list",
        "model": model,
        "data": data,
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }


# Replies to /chat/completions, always streamed


def answer(*pieces: str, usage: tuple[int, int] | None = None, pause_s: float = 0.0) -> Reply:
    """An answer in these pieces, silent before each; with ``usage`` (prompt, completion) if it was asked for."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for piece in pieces:
            time.sleep(pause_s)
            handler.send_delta(body["model"], {"content": piece})
        handler.send_delta(body["model"], {}, "stop")
        _send_usage(handler, body, usage)
        handler.send_event("[DONE]")
        handler.end_events()

    return reply


def tool_calls(*calls: Mapping[str, Any], usage: tuple[int, int] | None = None) -> Reply:
    """A delta for each piece of a tool call."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for call in calls:
            handler.send_delta(body["model"], {"tool_calls": [call]})
        handler.send_delta(body["model"], {}, "tool_calls")
        _send_usage(handler, body, usage)
        handler.send_event("[DONE]")
        handler.end_events()

    return reply


def cut_off(*pieces: str) -> Reply:
    """The connection closes after these pieces, in the middle of the body."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for piece in pieces:
            handler.send_delta(body["model"], {"content": piece})
        handler.close_connection = True

    return reply


def unfinished(*pieces: str) -> Reply:
    """The body ends in good order after these pieces, but no chunk says that the answer has."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for piece in pieces:
            handler.send_delta(body["model"], {"content": piece})
        handler.end_events()

    return reply


def then_event(data: str, *pieces: str) -> Reply:
    """These pieces, then an event with any data at all."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for piece in pieces:
            handler.send_delta(body["model"], {"content": piece})
        handler.send_event(data)
        handler.end_events()

    return reply


def stalled(*pieces: str, until: threading.Event) -> Reply:
    """These pieces, then nothing at all until the event."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        for piece in pieces:
            handler.send_delta(body["model"], {"content": piece})
        until.wait()
        handler.close_connection = True

    return reply


def endless(piece: str, hung_up: threading.Event) -> Reply:
    """The same piece over and over, until the client hangs up, which sets ``hung_up``."""

    def reply(handler: Handler, body: Any) -> None:
        handler.begin_events()
        try:
            while True:
                handler.send_delta(body["model"], {"content": piece})
                time.sleep(PIECE_PAUSE_S)
        except OSError:
            hung_up.set()
            handler.close_connection = True

    return reply


def _send_usage(handler: Handler, body: Any, usage: tuple[int, int] | None) -> None:
    if usage and body.get("stream_options", {}).get("include_usage"):
        prompt, completion = usage
        counts = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        handler.send_event(json.dumps({**_chunk(body["model"], []), "usage": counts}))


def _chunk(model: str, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices,
    }
