"""What a report says about the code that made it."""

import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from retrieval.provenance import code_version

RELEASE = version("quotebase")


def git(folder: Path, *arguments: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, "-C", folder, *arguments], check=True, capture_output=True)


def test_outside_of_a_checkout_it_is_the_release(tmp_path: Path) -> None:
    assert code_version(tmp_path) == RELEASE


def test_a_folder_of_somebody_elses_checkout_is_none(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "site-packages").mkdir()
    assert code_version(tmp_path / "site-packages") == RELEASE


def test_a_checkout_without_commits_has_no_revision(tmp_path: Path) -> None:
    git(tmp_path, "init")
    assert code_version(tmp_path) == RELEASE


def test_the_commit_of_a_checkout_and_whether_files_differ(tmp_path: Path) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "first")
    clean = code_version(tmp_path)
    (tmp_path / "file").touch()
    assert re.fullmatch(rf"{re.escape(RELEASE)}, [0-9a-f]{{12}}", clean)
    assert code_version(tmp_path) == f"{clean}+"
