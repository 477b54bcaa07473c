"""How a delimited text is written: its delimiter, and whether backslashes escape, told by its first records."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.rows import is_blank
from retrieval.errors import InvalidRequest

if TYPE_CHECKING:
    from _csv import Reader

DELIMITERS = (",", "\t", ";", "|")

KNOWN_HEADERS = (("q", "a"), ("index", "content"), ("#line", "#reason"))
"""Names that a header begins with which leave no doubt about the delimiter."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """``escape`` is a backslash where backslashes escape quotes and delimiters, else ``None``."""

    delimiter: str
    escape: str | None = None

    def read(self, lines: Iterable[str], strict: bool = False) -> "Reader":
        """Records of lines, one after the other; csv.Error where a strict reader finds one broken."""
        if self.escape is not None:
            lines = map(self._doubled, lines)
        return csv.reader(lines, delimiter=self.delimiter, escapechar=self.escape, strict=strict)

    def _doubled(self, line: str) -> str:
        """With backslashes doubled that escape nothing: the reader would leave them out."""
        if "\\" not in line:
            return line
        escaping = rf'\\(["\\{re.escape(self.delimiter)}])|\\'
        return re.sub(escaping, lambda found: found[0] if found[1] else r"\\", line)


def detect_dialect(lines: Sequence[str], delimiter: str | None = None, is_all: bool = True) -> Dialect:
    """The dialect that reads ``lines``, the beginning of a table, most evenly; a comma if none does.

    Without names in the header that settle it, records of equal width count most: the pattern score
    of van den Burg, Nazábal and Sutton, "Wrangling messy CSV files by detecting row and type
    patterns", 2019. Backslashes escape if quotes are broken without that, and none is with it; what
    doubles its quotes is never read so.

    Args:
        is_all: whether the table ends with ``lines``; else their last record may be cut.

    Raises:
        InvalidRequest: ``delimiter`` is not one character, or one that cannot be.
    """
    candidates = DELIMITERS if delimiter is None else (_one_character(delimiter),)
    named = next((item for item in candidates if _is_known(lines, item)), None)
    dialects = [_with_escape(lines, item, is_all) for item in ((named,) if named else candidates)]
    return max(dialects, key=lambda dialect: _evenness(lines, dialect, is_all))


def _with_escape(lines: Sequence[str], delimiter: str, is_all: bool) -> Dialect:
    plain, escaped = Dialect(delimiter), Dialect(delimiter, "\\")
    if delimiter == "\\" or not any('\\"' in line for line in lines):
        return plain
    is_escaped = _is_broken(lines, plain, is_all) and not _is_broken(lines, escaped, is_all)
    return escaped if is_escaped else plain


def _is_broken(lines: Sequence[str], dialect: Dialect, is_all: bool) -> bool:
    """Whether a strict reader refuses a record, but for one that is cut."""
    try:
        for _ in dialect.read(lines, strict=True):
            pass
    except csv.Error as error:
        return is_all or "end of data" not in str(error)
    return False


def _one_character(delimiter: str) -> str:
    found = {"tab": "\t", "\\t": "\t"}.get(delimiter.lower(), delimiter)
    if len(found) != 1 or found in '"\r\n':
        raise InvalidRequest(
            f"{delimiter!r} cannot be a delimiter: it is one character, or tab, but no quote or line end",
            "delimiter",
        )
    return found


def _is_known(lines: Sequence[str], delimiter: str) -> bool:
    records = _sampled(lines, Dialect(delimiter))
    header = next((cells for cells in records if not is_blank(cells)), [])
    return tuple(cell.strip().lower() for cell in header[:2]) in KNOWN_HEADERS


def _evenness(lines: Sequence[str], dialect: Dialect, is_all: bool) -> float:
    """Higher where records are more, wider, and of fewer widths; 0 if all have one cell."""
    records = [len(cells) for cells in _sampled(lines, dialect)]
    widths = Counter(filter(None, records if is_all else records[:-1]))
    return sum(count * (width - 1) / width for width, count in widths.items()) / max(1, len(widths))


def _sampled(lines: Sequence[str], dialect: Dialect) -> Iterator[list[str]]:
    """Records up to one with a cell beyond csv's limit, which is told when it is read in earnest."""
    with suppress(csv.Error):
        yield from dialect.read(lines)
