"""A wire between a MongoStore and its server that can be cut at a certain write."""

import socket
import socketserver
import struct
import threading
from typing import Any, Literal
from urllib.parse import urlsplit

import bson

WRITES = frozenset({"insert", "update", "delete", "findAndModify"})
OP_MSG = 2013
MORE_TO_COME = 2

When = Literal["before", "after"]


class CuttingProxy:
    """Passes MongoDB's messages on, until it is told otherwise.

    ``uri`` leads through it to the database of the URI given. ``writes`` counts the writes seen.
    """

    def __init__(self, uri: str) -> None:
        self._server_address = _address(uri)
        self._listener = _Listener(self)
        self.uri = _through(uri, self._listener.server_address[1])
        self.writes = 0
        self._cut: tuple[int, When, bool] | None = None
        self._is_down = False
        self._lock = threading.Lock()
        threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def cut(self, write: int, when: When, *, for_good: bool = True) -> None:
        """Break the line at the n-th write from now, before the server has it or before its reply is here.

        Until :meth:`mend`, or that once only.
        """
        self.writes, self._cut = 0, (write, when, for_good)

    def mend(self) -> None:
        self._cut, self._is_down = None, False

    def close(self) -> None:
        self._is_down = True
        self._listener.shutdown()
        self._listener.server_close()

    def serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server_address) as server:
            while (message := _receive(client)) and not self._is_down:
                when = self._when_to_cut(message)
                if when == "before":
                    return
                server.sendall(message)
                if not _pass_replies(server, client if when is None else None):
                    return

    def _when_to_cut(self, message: bytes) -> When | None:
        """None for a message that passes."""
        if not _is_write(message):
            return None
        with self._lock:
            self.writes += 1
            if self._cut is None or self.writes != self._cut[0]:
                return None
            _, when, self._is_down = self._cut
            return when


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, proxy: CuttingProxy) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._proxy = proxy

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            self._proxy.serve(request)
        except OSError:
            request.close()


def _pass_replies(server: socket.socket, client: socket.socket | None) -> bool:
    """All replies to one message; False when the line is to end."""
    while reply := _receive(server):
        if client is None:
            return False
        client.sendall(reply)
        if not (_opcode(reply) == OP_MSG and _flags(reply) & MORE_TO_COME):
            return True
    return False


def _receive(source: socket.socket) -> bytes:
    """The next whole message, or nothing when the line has ended."""
    head = _read(source, 4)
    if len(head) < 4:
        return b""
    return head + _read(source, struct.unpack("<i", head)[0] - 4)


def _read(source: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count and (part := source.recv(count - len(parts))):
        parts += part
    return bytes(parts)


def _opcode(message: bytes) -> int:
    return int(struct.unpack_from("<i", message, 12)[0])


def _flags(message: bytes) -> int:
    return int(struct.unpack_from("<I", message, 16)[0])


def _is_write(message: bytes) -> bool:
    if _opcode(message) != OP_MSG:
        return False
    # The first section of a command is its body, whose first key is the command's name.
    (size,) = struct.unpack_from("<i", message, 21)
    return next(iter(bson.decode(message[21 : 21 + size]))) in WRITES


def _address(uri: str) -> tuple[str, int]:
    parts = urlsplit(uri)
    return parts.hostname or "127.0.0.1", parts.port or 27017


def _through(uri: str, port: int) -> str:
    """Without the driver's own retries, and quick to see that the line is down."""
    parts = urlsplit(uri)
    credentials, at, _ = parts.netloc.rpartition("@")
    options = "directConnection=true&retryWrites=false&serverSelectionTimeoutMS=60"
    query = "&".join(filter(None, [parts.query, options]))
    return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{port}", query=query).geturl()
