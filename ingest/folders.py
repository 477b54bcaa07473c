"""Files to import: those that were named, and those in folders that were."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ingest.documents import DOCUMENT_SUFFIXES
from ingest.tables import JSONL_SUFFIXES, WORKBOOK_SUFFIXES
from retrieval.errors import InvalidRequest

TEXT_TABLES = (".csv", ".tsv", ".psv", ".tab")

SUFFIXES = (*DOCUMENT_SUFFIXES, *JSONL_SUFFIXES, *WORKBOOK_SUFFIXES, *TEXT_TABLES)
"""Of the files that are taken from a folder."""


def find_files(named: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each file once, with the name of its collection: its own, and in a folder its path from there.

    Hidden files and folders, links to folders, and files of other kinds are passed over in folders.

    Raises:
        InvalidRequest: there is no such file, or a folder has none to import.
    """
    found: dict[Path, str] = {}
    for path in named:
        if path.is_dir():
            within = {file: file.relative_to(path).as_posix() for file in _within(path)}
            if not within:
                raise InvalidRequest(f"the folder {path} has no file to import: {', '.join(SUFFIXES)}")
            found |= {file: name for file, name in within.items() if file not in found}
        elif path.is_file():
            found.setdefault(path, path.name)
        else:
            raise InvalidRequest(f"there is no file {path}")
    return list(found.items())


def _within(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if not path.is_symlink():
                yield from _within(path)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield path
