"""A server in a process of its own, as users run it."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chat_backend import MODEL

START_S = 120

PROGRAM = ("-c", "from api.cli import main; main()")
"""The command line, for whatever Python runs this."""


def environment_of(data_dir: Path, cache_dir: Path) -> dict[str, str]:
    """This one, for a data directory."""
    return {
        **os.environ,
        "QUOTEBASE_DATA_DIR": str(data_dir),
        "QUOTEBASE_CACHE_DIR": str(cache_dir),
        "QUOTEBASE_LOG_LEVEL": "warning",
    }


def command(environment: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command to its end, whatever that is."""
    return subprocess.run(
        [sys.executable, *PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=False
    )


@contextmanager
def serving(environment: Mapping[str, str], program: Sequence[str] = PROGRAM) -> Iterator[tuple[str, str]]:
    """Its address and an admin key; stopped at the end."""
    created = command(environment, "keys", "create", "--admin")
    created.check_returncode()
    with starting((*program, "serve", "--port", "0"), environment) as url:
        yield url, created.stdout.split()[0]


@dataclass(frozen=True, slots=True)
class Chat:
    """Addresses of a server and of the language model behind it; keys of its administrator and of its app."""

    server: str
    backend: str
    key: str
    app_key: str


@contextmanager
def chatting(data_dir: Path, cache_dir: Path, deltas: int, pause_s: float) -> Iterator[Chat]:
    """A server with an app on the dataset bulk, before a model that says what time it is; stopped at the end."""
    clock = ("-m", "benchmarks.chat_backend", str(deltas), str(pause_s))
    with starting(clock, os.environ) as backend:
        environment = {
            **environment_of(data_dir, cache_dir),
            "QUOTEBASE_COMPLETION_BASE_URL": backend,
            "QUOTEBASE_COMPLETION_MODEL": MODEL,
        }
        command(environment, "apps", "create", "bulk", "--dataset", "bulk").check_returncode()
        created = command(environment, "keys", "create", "--app", "bulk")
        created.check_returncode()
        with serving(environment) as (server, key):
            yield Chat(server, backend, key, created.stdout.split()[0])


@contextmanager
def starting(program: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """The address of any server that says where it ``listens on``; stopped at the end."""
    process = subprocess.Popen(
        [sys.executable, *program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield _address(process)
    finally:
        process.terminate()
        process.wait()


def _address(process: "subprocess.Popen[str]") -> str:
    """Where the server says it listens."""
    assert process.stdout is not None
    deadline = threading.Timer(START_S, process.kill)
    deadline.start()
    try:
        for line in process.stdout:
            if found := re.search(r"listens on (\S+)", line):
                return found[1]
    finally:
        deadline.cancel()
    raise RuntimeError("the server did not start")
