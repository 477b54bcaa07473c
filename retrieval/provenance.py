"""Where a measurement comes from: the code that made it."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from shutil import which

ROOT = Path(__file__).parent.parent


def code_version(root: Path = ROOT) -> str:
    """The package's version; in a checkout also its commit, with a plus if files differ from it."""
    release, git = version("quotebase"), which("git")
    if git is None or not (root / ".git").exists():
        return release
    try:
        commit = _output(git, root, "rev-parse", "--short=12", "HEAD")
        changes = _output(git, root, "status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return release
    return f"{release}, {commit}{'+' if changes else ''}"


def _output(git: str, root: Path, *arguments: str) -> str:
    command = [git, "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
