"""A MongoDB for the tests: a server of our own on loopback, and databases that come and go."""

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymongo

START_TIMEOUT_S = 30
ATTEMPTS = 5

MAIN = """
import os, sys, threading

def end_with_parent():
    sys.stdin.read()
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
from nx_27017.nx_27017 import main
main()
"""
"""The server. Its input ends when the tests do, even if they are killed."""


@contextmanager
def mongodb_server(folder: Path) -> Iterator[str]:
    """The URI of a server that keeps its databases in ``folder`` and ends with the block."""
    server, uri = _start(folder)
    try:
        yield uri
    finally:
        _stop(server)


@contextmanager
def own_database(uri: str) -> Iterator[str]:
    """The same server's URI with a fresh database in it, which is dropped in the end."""
    name = f"quotebase_test_{secrets.token_hex(6)}"
    try:
        yield _with_database(uri, name)
    finally:
        with pymongo.MongoClient[dict[str, Any]](uri) as client:
            client.drop_database(name)


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    for _ in range(ATTEMPTS):
        port = _free_port()
        uri = f"mongodb://127.0.0.1:{port}/"
        server = _launch(folder, port)
        if _is_up(server, uri):
            return server, uri
        _stop(server)
    raise RuntimeError(f"no MongoDB server could be started: see {folder / 'output.txt'}")


def _launch(folder: Path, port: int) -> subprocess.Popen[bytes]:
    files = ["--data-dir", "databases", "--log-file", "log.txt", "--pid-file", "pid.txt"]
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, "--host", "127.0.0.1", "--port", str(port), *files],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )


def _is_up(server: subprocess.Popen[bytes], uri: str) -> bool:
    """Whether it answers; False as soon as it has ended, as it does when another has its port."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        with pymongo.MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=500) as client:
            try:
                client.admin.command("ping")
            except pymongo.errors.PyMongoError:
                time.sleep(0.05)
            else:
                return server.poll() is None
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    with server:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _with_database(uri: str, name: str) -> str:
    """``uri`` with that database, and with credentials still looked up where they were before."""
    parts = urlsplit(uri)
    query = parts.query
    if "@" in parts.netloc and "authsource=" not in query.lower():
        query = "&".join(filter(None, [query, f"authSource={parts.path.strip('/') or 'admin'}"]))
    return parts._replace(path=f"/{name}", query=query).geturl()
