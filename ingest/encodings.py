"""What encoding a text is in: proven where it can be, else the likeliest that reads plausibly."""

import codecs
from io import BytesIO
from typing import BinaryIO, NamedTuple

from ingest.codepages import decode_cut, detect_codepage, reading
from retrieval.errors import InvalidRequest, UnreadableFile

BLOCK = 1 << 20

SAMPLE = 1 << 16
"""Bytes of lines with something beyond ASCII that the encoding is told by."""


class Wanted(NamedTuple):
    """What a text is to be, for messages: what to do where it is none, or has a byte that is no text."""

    instead: str
    mend: str


TABLE = Wanted(
    "no table: save it as CSV, JSONL or XLSX",
    "name the encoding with --encoding, or pass --errors replace to have U+FFFD in its place",
)
JSONL = TABLE._replace(mend="or pass --errors replace to have U+FFFD in its place")
DOCUMENT = TABLE._replace(instead="no text: save it as text, or name it by what it is")

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    "\ufeff".encode("gb18030"): "gb18030",
}

_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1a\x1b"))


def check_codec(encoding: str) -> str:
    """Raises InvalidRequest if Python has no text encoding of this name."""
    try:
        "".encode(encoding)
        if codecs.lookup(encoding).incrementaldecoder is not None:
            return encoding
    except (LookupError, UnicodeError, ValueError):
        pass
    raise InvalidRequest(f"{encoding!r} is no encoding: utf-8, gb18030 and cp1252 are some", "encoding")


def detect_encoding(source: BinaryIO, name: str, replace: bool = False, wanted: Wanted = TABLE) -> str:
    """The Python codec that ``source`` is in; leaves it at its beginning.

    Files are looked through until SAMPLE bytes of lines beyond ASCII are found. Good UTF-8 is
    UTF-8; the others are told by chardet, and must decode the sample and make plausible words.

    Args:
        replace: whether undecodable bytes are no reason to refuse.

    Raises:
        UnreadableFile: it is no text, UTF-8 with damage, or no encoding fits; the byte is named.
    """
    start = source.read(BLOCK)
    source.seek(0)
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    wide = _detect_utf16(start) if b"\0" in start else None
    if wide:
        return wide
    sample = _sample(source)
    source.seek(0)
    good, bad = _count_utf8(sample)
    if _is_binary(start, is_utf8=not bad):
        raise UnreadableFile(f"{name} is a binary file, {wanted.instead}")
    if not bad:
        return "utf-8"
    is_damaged = good >= bad
    legacy = None if is_damaged else detect_codepage(sample)
    if legacy or replace:
        return legacy or "utf-8"
    line, byte = _first_damage(source)
    what = "is UTF-8, but" if is_damaged else "is in no encoding that can be told:"
    raise UnreadableFile(f"{name} {what} line {line} has the byte 0x{byte:02x}; mend the line, {wanted.mend}")


def decode_text(raw: bytes, name: str, encoding: str | None = None, replace: bool = False) -> tuple[str, int]:
    """The whole text of a document, without its byte order mark; what it is in is detected if not given.

    Args:
        replace: whether U+FFFD is put in for what cannot be decoded; how many are the second value.

    Raises:
        UnreadableFile: it cannot be decoded; the message names byte and line.
        InvalidRequest: there is no such encoding.
    """
    codec = check_codec(encoding) if encoding else detect_encoding(BytesIO(raw), name, replace, DOCUMENT)
    try:
        text = raw.decode(codec, "replace" if replace else "strict")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(codec, "ignore")
        raise undecodable(name, codec, error, 1 + count_line_ends(before), DOCUMENT) from error
    own = raw.decode(codec, "ignore") if "\ufffd" in text else text
    return text.removeprefix("\ufeff"), text.count("\ufffd") - own.count("\ufffd")


def undecodable(
    name: str, encoding: str, error: UnicodeDecodeError, line: int, wanted: Wanted
) -> UnreadableFile:
    byte = f"0x{error.object[error.start]:02x}"
    shown = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8"}.get(encoding, encoding)
    return UnreadableFile(
        f"{name} is {shown}, but line {line} has the byte {byte} where {shown} has no such byte: mend the line, {wanted.mend}"
    )


def count_line_ends(text: str) -> int:
    """Those of CR, LF and CRLF."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _first_damage(source: BinaryIO) -> tuple[int, int]:
    """The line of the first byte that is no UTF-8, and that byte; there has to be one."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, is_last = 1, False
    while not is_last:
        block = source.read(BLOCK)
        is_last = not block
        try:
            line += count_line_ends(decoder.decode(block, is_last))
        except UnicodeDecodeError as error:
            good = error.object[: error.start].decode()
            return line + count_line_ends(good), error.object[error.start]
    raise AssertionError("all of it is UTF-8")


def _sample(source: BinaryIO) -> bytes:
    """Lines with bytes beyond ASCII, SAMPLE bytes or somewhat more; the last may be cut."""
    kept = bytearray()
    rest = b""
    while len(kept) < SAMPLE and (block := source.read(BLOCK)):
        if block.isascii() and rest.isascii():
            rest = b""
            continue
        whole = rest + block
        end = max(whole.rfind(b"\n"), whole.rfind(b"\r")) + 1
        if not end:  # one line, and so long
            rest = whole
            break
        rest = whole[end:]
        kept += b"\n".join(line for line in whole[:end].splitlines() if not line.isascii()) + b"\n"
    if len(kept) < SAMPLE and not rest.isascii():
        kept += rest
    return bytes(kept[: 2 * SAMPLE])


def _count_utf8(sample: bytes) -> tuple[float, int]:
    """How much speaks for UTF-8 and how much is none. Two good bytes may be an accident, three are hardly."""
    try:
        decode_cut(sample, "utf-8")
        return 0, 0
    except UnicodeDecodeError:
        ignored, replaced = decode_cut(sample, "utf-8", "ignore"), decode_cut(sample, "utf-8", "replace")
        bad = replaced.count("\ufffd") - ignored.count("\ufffd")
        good = sum(1.0 if letter >= "\u0800" else 1 / 3 for letter in ignored if letter > "\x7f")
        return good, bad


def _is_binary(start: bytes, is_utf8: bool) -> bool:
    """By control characters, which good UTF-8 may have more of."""
    controls = len(start) - len(start.translate(None, _CONTROLS))
    return controls > len(start) * (0.25 if is_utf8 else 0.02)


def _detect_utf16(start: bytes) -> str | None:
    """UTF-16 without a mark, by its ASCII characters; single NULs in text of bytes are none."""
    is_rare = 10 * start.count(0) < len(start) and not _count_utf8(start)[1]
    if len(start) % 2 or is_rare:
        return None
    readings = {encoding: reading(start[:SAMPLE], encoding) or "" for encoding in ("utf-16-le", "utf-16-be")}
    ends = {encoding: count_line_ends(text) for encoding, text in readings.items()}
    best = max(ends, key=lambda encoding: ends[encoding])
    return best if ends[best] else None
