"""Which files are taken, and what their collections are called."""

import os
from pathlib import Path

import pytest

from ingest.folders import SUFFIXES, find_files
from retrieval.errors import InvalidRequest


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("q,a\n")


def test_files_are_taken_as_they_are_named(tmp_path: Path) -> None:
    make(tmp_path, "b.csv", "a.anything", ".hidden", "sub/c.csv")
    named = [tmp_path / name for name in ("b.csv", "sub/c.csv", "a.anything", ".hidden", "b.csv")]
    assert find_files(named) == [(path, path.name) for path in named[:-1]]


def test_what_is_taken_from_a_folder(tmp_path: Path) -> None:
    wanted = [f"{place}{suffix}" for place, suffix in enumerate(SUFFIXES)]
    make(tmp_path, *wanted, "deep/er/A.CSV", "z.CsV")
    make(tmp_path, "no.py", "no", "no.csv.gz", "~no.doc", ".no.csv", ".no/no.csv", "deep/.no.md", "csv/no")
    found = find_files([tmp_path])
    assert sorted(name for _, name in found) == sorted([*wanted, "deep/er/A.CSV", "z.CsV"])
    assert all(path == tmp_path / name for path, name in found)


def test_files_of_a_folder_are_in_order(tmp_path: Path) -> None:
    make(tmp_path, "c.csv", "b/2.csv", "b/1.csv", "a.csv")
    assert [name for _, name in find_files([tmp_path])] == ["a.csv", "b/1.csv", "b/2.csv", "c.csv"]


@pytest.mark.parametrize("is_file_first", [True, False])
def test_a_file_of_a_folder_that_is_named_too_is_taken_once(tmp_path: Path, is_file_first: bool) -> None:
    make(tmp_path, "faq.csv", "other.csv")
    named = [tmp_path / "faq.csv", tmp_path]
    found = find_files(named if is_file_first else named[::-1])
    assert sorted(found) == [(tmp_path / "faq.csv", "faq.csv"), (tmp_path / "other.csv", "other.csv")]


def test_folders_that_are_linked_are_not_gone_into(tmp_path: Path) -> None:
    """A link may lead back to where it is."""
    make(tmp_path, "here/faq.csv", "elsewhere/no.csv")
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here")
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "linked.csv").symlink_to(tmp_path / "elsewhere" / "no.csv")
    (tmp_path / "here" / "dead.csv").symlink_to(tmp_path / "nowhere")
    assert [name for _, name in find_files([tmp_path / "here"])] == ["faq.csv", "linked.csv"]
    (tmp_path / "named").symlink_to(tmp_path / "here")
    assert [name for _, name in find_files([tmp_path / "named"])] == ["faq.csv", "linked.csv"]


def test_what_is_no_file_is_not_taken(tmp_path: Path) -> None:
    make(tmp_path, "faq.csv")
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    assert [name for _, name in find_files([tmp_path])] == ["faq.csv"]


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=f"there is no file {tmp_path / 'gone.csv'}"):
        find_files([tmp_path / "gone.csv"])
    make(tmp_path, "sub/no.py")
    with pytest.raises(InvalidRequest, match=rf"the folder {tmp_path} has no file to import: .*\.csv"):
        find_files([tmp_path])
