"""Bytes to lines of text, block by block, strictly: what cannot be decoded is named, never guessed."""

import codecs
from collections.abc import Iterator
from io import StringIO
from typing import BinaryIO

from ingest.encodings import BLOCK, TABLE, Wanted, count_line_ends, undecodable
from ingest.rows import Tally
from retrieval.errors import UnreadableFile

MAX_CELL = 1 << 27
"""Characters of the longest line, and of the longest cell."""


def read_lines(
    source: BinaryIO, name: str, encoding: str, tally: Tally, replace: bool, wanted: Wanted = TABLE
) -> Iterator[str]:
    """Lines with their ends, CR, LF or CRLF; a byte order mark is left out.

    Raises:
        UnreadableFile: bytes cannot be decoded (unless ``replace``), after the lines before theirs;
            or a line is longer than MAX_CELL.
    """
    held: list[str] = []
    number = 0
    for text in _decode(source, name, encoding, tally, replace, wanted):
        if held and held[-1].endswith("\r") and not text.startswith("\n"):
            number += 1
            yield "".join(held)
            held.clear()
        lines = StringIO(text, newline="").readlines()
        if held and (len(lines) > 1 or text.endswith("\n")):
            lines[0] = "".join((*held, lines[0]))
            held.clear()
        if not lines[-1].endswith("\n"):
            held.append(lines.pop())
        number += len(lines)
        yield from lines
        if sum(map(len, held)) > MAX_CELL:
            raise UnreadableFile(
                f"{name}, line {number + 1} is longer than {MAX_CELL:,} characters: a table has line ends"
            )
    if held:
        yield "".join(held)


def _decode(
    source: BinaryIO, name: str, encoding: str, tally: Tally, replace: bool, wanted: Wanted
) -> Iterator[str]:
    """Blocks of text, none of them empty."""
    decoder = codecs.getincrementaldecoder(encoding)("replace" if replace else "strict")
    line, last, is_first, is_last = 1, "", True, False
    while not is_last:
        block = _read(source, name)
        is_last = not block
        state = decoder.getstate()
        try:
            text = decoder.decode(block, is_last)
        except UnicodeDecodeError as error:
            good = _resumed(encoding, state).decode(
                block[: max(0, error.start + len(block) - len(error.object))]
            )
            yield from filter(None, [good.removeprefix("\ufeff") if is_first else good])
            line += count_line_ends(last + good) - count_line_ends(last)
            raise undecodable(name, encoding, error, line, wanted) from error
        if replace and "\ufffd" in text:
            kept = _resumed(encoding, state).decode(block, is_last)
            tally.replaced += text.count("\ufffd") - kept.count("\ufffd")
        if is_first and text:
            text, is_first = text.removeprefix("\ufeff"), False
        if text:
            line += count_line_ends(last + text) - count_line_ends(last)
            last = text[-1]
            yield text


def _read(source: BinaryIO, name: str) -> bytes:
    try:
        return source.read(BLOCK)
    except OSError as error:
        raise UnreadableFile(f"{name} cannot be read: {error.strerror or error}") from error


def _resumed(encoding: str, state: tuple[bytes, int]) -> codecs.IncrementalDecoder:
    """A decoder that leaves out what cannot be decoded, after what led to ``state``."""
    decoder = codecs.getincrementaldecoder(encoding)("ignore")
    decoder.setstate(state)
    return decoder
