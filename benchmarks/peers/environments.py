"""A virtual environment for each peer, made when it is first measured, and jobs that run in it."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.corpus import Say
from retrieval.errors import QuotebaseError

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

QUIET = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "true",
}
"""No peer reports that it runs, and none asks for a model that it has not been given."""


MOST_S = 7200
"""Of one job."""


class PeerFailed(QuotebaseError):
    """A peer could not be installed, or its job ended with an error; the message is its last words."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A module of this package, the name that tables give it, and the packages whose versions they show."""

    module: str
    name: str
    packages: tuple[str, ...] = ()

    @property
    def fairness(self) -> str:
        """How it is measured: what its module begins with."""
        return ast.get_docstring(ast.parse((HERE / f"{self.module}.py").read_text(encoding="utf-8"))) or ""

    @property
    def lock(self) -> Path:
        """Its packages, exactly; the project itself, which has none, runs where this runs."""
        return HERE / "locks" / f"{self.module}.txt"

    @property
    def versions(self) -> str:
        """Of the packages that make the peer, as they are locked."""
        lines = self.lock.read_text(encoding="utf-8").splitlines() if self.packages else []
        return ", ".join(line for name in self.packages for line in lines if line.startswith(f"{name}=="))


def run_job(peer: Peer, job: Mapping[str, Any], cache_dir: Path, say: Say) -> dict[str, Any]:
    """What the peer's module answers to the job, in a process of its own.

    Raises:
        PeerFailed: it could not be installed, or did not answer.
    """
    python = _python(peer, cache_dir, say)
    try:
        done = subprocess.run(
            [python, "-m", f"benchmarks.peers.{peer.module}"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
            cwd=job["place"],
            env={**os.environ, **QUIET, "PYTHONPATH": str(ROOT)},
            timeout=MOST_S,
        )
    except subprocess.TimeoutExpired:
        raise PeerFailed(f"it was not done after {MOST_S} s") from None
    lines = done.stdout.splitlines()
    if not lines or (done.returncode and not job.get("is_killed")):
        raise PeerFailed(_last_words(done.stderr))
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _python(peer: Peer, cache_dir: Path, say: Say) -> Path:
    return environment_python(peer.lock, cache_dir, say) if peer.packages else Path(sys.executable)


def environment_python(lock: Path, cache_dir: Path, say: Say) -> Path:
    """The Python of a virtual environment with exactly the packages of a lock file, made if there is none.

    Raises:
        PeerFailed: they could not be installed.
    """
    digest = sha256(lock.read_bytes()).hexdigest()[:12]
    folder = cache_dir / "benchmarks" / "peers" / f"{lock.stem}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        say(f"installing {lock.stem} into {folder}")
        _must([sys.executable, "-m", "venv", "--clear", str(folder)])
        _must([str(python), "-m", "pip", "install", "-q", "--no-deps", "-r", str(lock)])
        (folder / "installed").touch()
    return python


def _must(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerFailed(_last_words(done.stderr))


def _last_words(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
