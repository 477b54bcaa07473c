"""Other systems, each in a virtual environment of its own that is made when it is first measured.

Nothing here is a dependency of the project; what is run is a script beside this file.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpus import Say

VERSIONS = {"chroma": "chromadb==1.5.9"}


def run_peer(name: str, arguments: Sequence[str], cache_dir: Path, say: Say) -> dict[str, Any]:
    """What the peer's script answers, run with one OpenMP thread."""
    python = _environment(name, cache_dir, say)
    script = Path(__file__).parent / f"{name}.py"
    done = subprocess.run(
        [python, script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "ANONYMIZED_TELEMETRY": "False"},
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _environment(name: str, cache_dir: Path, say: Say) -> Path:
    folder = cache_dir / "benchmarks" / "peers" / VERSIONS[name]
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        say(f"installing {VERSIONS[name]} into {folder}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", VERSIONS[name]], check=True)
        (folder / "installed").touch()
    return python
