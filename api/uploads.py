"""Multipart uploads, written into a folder as they come: one copy on the disk, none in memory.

Starlette's parser would spool each file elsewhere first. A file name is only ever a name here, nothing
is written by it, and ``filename*=UTF-8''…`` counts, which RFC 7578 forbids and clients send all the same.
"""

import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_to_bytes

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from retrieval.errors import InvalidRequest

FIELD_LIMIT = 1 << 20
"""Bytes of a field that is no file."""

MAX_PARTS = 100

MAX_NAME = 200
"""Characters of a file name."""

_EXTENDED = re.compile(rb"""filename\*\s*=\s*"?utf-8'[^']*'([^;"\s]*)""", re.IGNORECASE)
_INVISIBLE = ("Cc", "Cs", "Zl", "Zp")
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""What makes a name read as another, such as ``gpj.exe`` backwards."""


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of an upload. ``name`` is the last part of what the client calls it, or empty."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Upload:
    """What came of a form, by the names of its fields."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, SentFile] = field(default_factory=dict)


@contextmanager
def new_folder(uploads: Path) -> Iterator[Path]:
    """A folder of its own for an upload, gone with all in it if this fails."""
    uploads.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=uploads))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder)
        raise


async def receive_upload(request: Request, folder: Path, files: tuple[str, ...]) -> Upload:
    """Write the files of a form into a folder while they come.

    Args:
        files: the fields that are files, which is also what they are called in the folder. Other
            fields are texts; other files are passed over, but ``data`` is a text also if it comes as one.

    Raises:
        InvalidRequest: a file came twice, a text is too long or no UTF-8, or the client hung up.
        HTTPException: 400, the body is no form.
        PayloadTooLarge: see :class:`api.limits.BodyLimit`.
    """
    form = _Form(folder, files)
    parser = _parser(request.headers.get("Content-Type", ""), form)
    try:
        async for block in request.stream():
            # In a thread: a slow disk, and a gigabyte to look through, would hold up every other request.
            await run_in_threadpool(parser.write, block)
    except ClientDisconnect as error:
        raise InvalidRequest("the upload broke off: send it again") from error
    except FormParserError as error:
        raise _malformed(str(error)) from error
    finally:
        form.close()
    if not form.is_whole:
        raise _malformed("it ends before its last boundary")
    return form.upload


def plain_name(sent: str) -> str:
    """The last part of a client's path, without what cannot be seen, at most ``MAX_NAME`` characters."""
    parts = [_visible(part) for part in re.split(r"[/\\]", sent)]
    name = next((part for part in reversed(parts) if part.strip(".")), "")
    suffix = Path(name).suffix
    if len(name) <= MAX_NAME or len(suffix) >= MAX_NAME:
        return name[:MAX_NAME]
    return name[: MAX_NAME - len(suffix)] + suffix


def _visible(text: str) -> str:
    return "".join(
        char for char in text if char not in _TURNING and unicodedata.category(char) not in _INVISIBLE
    ).strip()


def _parser(content_type: str, form: "_Form") -> MultipartParser:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise InvalidRequest(
            "the upload is no form: send it as multipart/form-data with the file in the field file", "file"
        )
    if not options.get(b"boundary"):
        raise _malformed("its Content-Type has no boundary")
    try:
        return MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": form.begin_part,
                "on_header_field": form.add_header_name,
                "on_header_value": form.add_header_value,
                "on_header_end": form.end_header,
                "on_headers_finished": form.open_part,
                "on_part_data": form.add_data,
                "on_part_end": form.end_part,
                "on_end": form.end,
            },
        )
    except FormParserError as error:
        raise _malformed(str(error)) from error


def _malformed(why: str) -> HTTPException:
    return HTTPException(400, f"the upload is no whole multipart form ({why}): send it again")


class _Form:
    """What the parser tells of a form, part by part."""

    def __init__(self, folder: Path, files: tuple[str, ...]) -> None:
        self.upload = Upload()
        self.is_whole = False
        self._folder = folder
        self._files = files
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._header_name, self._header_value = b"", b""
        self._part: _Text | _File | None = None

    def begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidRequest(f"the form has over {MAX_PARTS} fields: send the file and its settings only")
        self._headers = {}

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def open_part(self) -> None:
        """Choose by its headers where the data of a part goes: into a file, a text, or nowhere."""
        disposition = with_plain_filename(self._headers.get(b"content-disposition", b""))
        _, options = parse_options_header(disposition)
        name = _decoded(options.get(b"name", b""))
        if name in self.upload.files:
            raise InvalidRequest(f"the form has two files under {name}: send one", name)
        if name in self._files:
            # Its path is one of ours, whatever the client calls it.
            path = self._folder / name
            self.upload.files[name] = SentFile(plain_name(_decoded(options.get(b"filename", b""))), path)
            self._part = _File(path)
        elif b"filename" not in options or name == "data":
            self._part = _Text(name, self.upload.fields)

    def add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part:
            self._part.write(data[start:end])

    def end_part(self) -> None:
        if self._part:
            self._part.end()
        self._part = None

    def end(self) -> None:
        self.is_whole = True

    def close(self) -> None:
        """Also where a part has no end."""
        if isinstance(self._part, _File):
            self._part.end()


class _File:
    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def end(self) -> None:
        self._file.close()


class _Text:
    def __init__(self, name: str, fields: dict[str, str]) -> None:
        self._name = name
        self._fields = fields
        self._text = bytearray()

    def write(self, data: bytes) -> None:
        self._text += data
        if len(self._text) > FIELD_LIMIT:
            raise InvalidRequest(f"the form field {self._name} is over {FIELD_LIMIT >> 20} MB", self._name)

    def end(self) -> None:
        try:
            self._fields[self._name] = self._text.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(
                f"the form field {self._name} is not in UTF-8 ({error})", self._name
            ) from None


def with_plain_filename(disposition: bytes) -> bytes:
    """The header with ``filename="…"`` in its end where it has ``filename*``: the last one counts."""
    extended = _EXTENDED.search(disposition)
    if extended is None:
        return disposition
    name = unquote_to_bytes(extended[1]).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return disposition + b'; filename="' + name + b'"'


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")
