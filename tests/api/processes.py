"""The command line as users run it: in processes of their own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.settings import PREFIX

QUOTEBASE = Path(sys.executable).with_name("quotebase")

START_TIMEOUT_S = 180.0
"""The first start unpacks the bundled model."""
STOP_TIMEOUT_S = 30.0
RUN_TIMEOUT_S = 120.0

FIRST_KEY = "admin key (shown once, keep it): "
LISTENS = "quotebase listens on "


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str


def environment(data_dir: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Ours without its settings, but for where the bundled model is unpacked; ``settings`` without the prefix."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) or name == "QUOTEBASE_CACHE_DIR"
    }
    given = {PREFIX + name: value for name, value in settings.items()}
    return {**kept, "QUOTEBASE_DATA_DIR": str(data_dir), **given}


def start(arguments: Sequence[str | Path], data_dir: Path, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [QUOTEBASE, *arguments],
        env=environment(data_dir, settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        # A shell lets what it starts in the background ignore it, and so would the test's own children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(*arguments: str | Path, data_dir: Path, **settings: str) -> Ran:
    """A command to its end."""
    return finish(start(arguments, data_dir, **settings))


def finish(process: subprocess.Popen[str]) -> Ran:
    """Wait for a command's end, which has to come."""
    try:
        out, err = process.communicate(timeout=RUN_TIMEOUT_S)
    finally:
        process.kill()
    return Ran(process.returncode, out, err)


@dataclass(frozen=True)
class Server:
    """A running ``quotebase serve``. ``admin_key`` is empty where no first key was made."""

    process: subprocess.Popen[str]
    url: str
    admin_key: str
    data_dir: Path
    log: Path

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def serving(data_dir: Path, **settings: str) -> Iterator[Server]:
    """A server on a free port, which has said its address."""
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir.parent / f"{data_dir.name}.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            [QUOTEBASE, "serve", "--port", "0"],
            env=environment(data_dir, settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        said = _lines_until(process, LISTENS, log)
        first = next((line.removeprefix(FIRST_KEY) for line in said if line.startswith(FIRST_KEY)), "")
        yield Server(process, said[-1].removeprefix(LISTENS), first, data_dir, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _lines_until(process: subprocess.Popen[str], beginning: str, log: Path) -> list[str]:
    """What it prints, up to the line that begins so."""
    assert process.stdout
    too_late = threading.Timer(START_TIMEOUT_S, process.kill)
    too_late.start()
    lines: list[str] = []
    while not lines or not lines[-1].startswith(beginning):
        line = process.stdout.readline()
        assert line, f"the server did not start: {log.read_text()}"
        lines.append(line.rstrip("\n"))
    too_late.cancel()
    return lines
