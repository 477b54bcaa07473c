"""Links to files: an http(s) address is fetched within limits, and from public addresses only."""

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from urllib.parse import unquote

import httpcore2
import httpx2

from retrieval.errors import InvalidRequest, UnreadableFile

HEADERS: Mapping[bytes | str, bytes | str] = {
    "User-Agent": "quotebase",
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
}

REDIRECTS = (301, 302, 303, 307, 308)

MAX_SHOWN = 200
"""Characters of a link that go into a message."""

MAX_NAME_BYTES = 200
"""Of a file's name without the suffix that is added to it."""

_OFFICE = "application/vnd.openxmlformats-officedocument"

SUFFIXES = {
    "text/html": (".html", ".htm"),
    "application/xhtml+xml": (".html", ".htm"),
    "text/plain": (".txt", ".md", ".markdown", ".csv", ".tsv", ".jsonl", ".ndjson", ".html", ".htm"),
    "text/markdown": (".md", ".markdown"),
    "text/x-markdown": (".md", ".markdown"),
    "text/csv": (".csv",),
    "text/tab-separated-values": (".tsv",),
    "application/jsonl": (".jsonl", ".ndjson"),
    "application/x-ndjson": (".jsonl", ".ndjson"),
    "application/pdf": (".pdf",),
    _OFFICE + ".wordprocessingml.document": (".docx",),
    _OFFICE + ".spreadsheetml.sheet": (".xlsx",),
}
"""What files of a content type may be called; the first is what they get if their name ends otherwise."""

SAYS_NOTHING = (
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/zip",
    "application/vnd.ms-excel",
)
"""Content types that servers give to files of any kind: there the name decides."""

KNOWN_SUFFIXES = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

EMBEDDED_IPV4 = {
    ipaddress.IPv6Network("::ffff:0:0/96"): 0,
    ipaddress.IPv6Network("64:ff9b::/96"): 0,
    ipaddress.IPv6Network("2002::/16"): 80,
}
"""IPv6 networks that lead to IPv4 addresses (mapped, NAT64, 6to4), and the bits after the address."""

CLOUD_SERVICES = (ipaddress.IPv4Address("168.63.129.16"),)
"""Global in form, but inside every machine of a cloud (Azure's agent) they are private."""


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """What a link may cost. ``max_bytes`` counts decompressed ones, ``timeout_s`` is for the whole fetch."""

    max_bytes: int = 50 << 20
    timeout_s: float = 30.0
    max_redirects: int = 5
    allow_private: bool = False
    """Whether addresses of this machine and its networks may be fetched too."""


@dataclass(frozen=True, slots=True)
class FetchedLink:
    """A fetched file: where it came from in the end, what it is called, where it is now.

    Both ``name`` and ``path`` have a suffix that fits the content type; ``name`` is one component,
    and nothing more than a name.
    """

    url: str
    name: str
    path: Path
    charset: str | None
    """The encoding that the server says a text has."""


class Network:
    """Names and connections as the system gives them."""

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host, at least one; how long it takes at most is the system's setting.

        Raises:
            OSError: there are none.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return tuple(dict.fromkeys(str(address[0]) for *_, address in found))

    def connect(self, address: str, port: int, timeout_s: float) -> httpcore2.NetworkStream:
        return httpcore2.SyncBackend().connect_tcp(address, port, timeout_s)


DEFAULT_LIMITS = LinkLimits()

SYSTEM = Network()


def fetch_link(
    url: str, folder: Path, limits: LinkLimits = DEFAULT_LIMITS, network: Network = SYSTEM
) -> FetchedLink:
    """Fetch what an http(s) link leads to into a new file in ``folder``.

    A host is resolved once, all its addresses are checked, and the connection is made to one of
    them. Redirects are followed under the same rules. Proxies of the environment are not used.

    Raises:
        InvalidRequest: it is no http(s) link, it has a user name in it, or it leads to an address
            that is not public.
        UnreadableFile: it cannot be reached or is not there, takes too long, is too large, or is of
            a kind that cannot be imported. No file is left behind.
    """
    deadline = _Deadline(limits.timeout_s)
    link = _checked(url)
    for _ in range(limits.max_redirects + 1):
        with _opened(link, deadline, limits, network) as reply:
            if reply.status_code not in REDIRECTS or "location" not in reply.headers:
                return _save(reply, link, folder, limits)
            link = _checked(reply.headers["location"], link)
    raise UnreadableFile(
        f"{_shown(url)} is redirected more than {limits.max_redirects} times: give the link it leads to"
    )


def is_public(address: str) -> bool:
    """Whether an IP address is one that everybody reaches, and not this machine or a network around it."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.is_site_local:
            return False
        ip = _embedded(ip) or ip
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip in CLOUD_SERVICES)


def _embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    for network, bits_after in EMBEDDED_IPV4.items():
        if ip in network:
            return ipaddress.IPv4Address(int(ip) >> bits_after & 0xFFFFFFFF)
    return None


# Links


def _checked(url: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """The link, without its fragment. ``base`` is the one that was redirected to it."""
    try:
        link = (base.join(url) if base else httpx2.URL(url)).copy_with(fragment=None)
    except (httpx2.InvalidURL, ValueError) as error:
        raise InvalidRequest(f"{_shown(url)!r} is no link: {error}") from error
    if link.userinfo:
        raise InvalidRequest(
            f"the link to {link.host} has a user name or password in it: give one that opens without, or upload the file"
        )
    port = 80 if link.port is None else link.port
    if link.scheme not in ("http", "https") or not link.host or not 0 < port < 1 << 16:
        raise InvalidRequest(
            f"{_shown(url)!r} is no link to fetch: give one like https://example.com/file.html"
        )
    return link


def _shown(url: object) -> str:
    return str(url)[:MAX_SHOWN]


# Connections


class _Deadline:
    def __init__(self, timeout_s: float) -> None:
        self._end = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """More than 0. Raises TimeoutException."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore2.TimeoutException
        return left


class _TimedStream(httpcore2.NetworkStream):
    """A connection whose every step has no more than the time that is left: no server can drip past it."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left_s())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left_s())
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _CheckedBackend(httpcore2.NetworkBackend):
    """Connects to addresses that were checked, and to no others: a name is not resolved a second time."""

    def __init__(self, link: httpx2.URL, deadline: _Deadline, allow_private: bool, network: Network) -> None:
        self._link = link
        self._deadline = deadline
        self._allow_private = allow_private
        self._network = network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        addresses = self._addresses(host, port)
        for place, address in enumerate(addresses, start=1):
            # An address that nothing answers at leaves time for the others.
            share_s = self._deadline.left_s() / (len(addresses) - place + 1)
            try:
                return _TimedStream(self._network.connect(address, port, share_s), self._deadline)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if place == len(addresses):
                    raise
        raise httpcore2.ConnectError("it has no address")

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = self._network.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host} is not known") from error
        if not self._allow_private and not all(map(is_public, addresses)):
            raise InvalidRequest(
                f"{_shown(self._link)} leads to an address that is not public: upload the file, "
                "or set QUOTEBASE_PRIVATE_LINKS to fetch such links"
            )
        return addresses


@contextmanager
def _opened(
    link: httpx2.URL, deadline: _Deadline, limits: LinkLimits, network: Network
) -> Iterator[httpx2.Response]:
    """The reply, its body still to come; errors of the connection come out as ours."""
    target = httpcore2.URL(scheme=link.raw_scheme, host=link.raw_host, port=link.port, target=link.raw_path)
    backend = _CheckedBackend(link, deadline, limits.allow_private, network)
    headers = {"Host": link.netloc, **HEADERS}
    try:
        with (
            httpcore2.ConnectionPool(network_backend=backend) as pool,
            pool.stream("GET", target, headers=headers) as reply,
        ):
            yield httpx2.Response(reply.status, headers=reply.headers, content=reply.iter_stream())
    except httpcore2.TimeoutException as error:
        raise UnreadableFile(
            f"{_shown(link)} did not come within {limits.timeout_s:g} s: try again later, or upload the file"
        ) from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpx2.DecodingError) as error:
        raise UnreadableFile(
            f"{_shown(link)} cannot be fetched: {error}; check the link, or upload the file"
        ) from error


# Files


def file_name(headers: httpx2.Headers, link: httpx2.URL) -> str:
    """What to call the file of a reply: as the server says, else as the link does, else after the host.

    It is no path, has no characters that are not printed, and has a suffix that fits the content type.

    Raises:
        UnreadableFile: files of its type cannot be imported.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    name = _safe(_disposition(headers)) or _safe(PurePosixPath(link.path).name) or _safe(link.host)
    suffix = PurePosixPath(name).suffix.lower()
    fitting = KNOWN_SUFFIXES if kind in SAYS_NOTHING else SUFFIXES.get(kind, ())
    if suffix in fitting:
        return name
    if kind not in SUFFIXES:
        raise UnreadableFile(
            f"{_shown(link)} is of the content type {kind[:MAX_SHOWN] or 'unknown'} and called {name}: give a link "
            "to a web page, text, table, PDF, Word or Excel file"
        )
    return name + SUFFIXES[kind][0]


def _disposition(headers: httpx2.Headers) -> str:
    message = Message()
    message["Content-Disposition"] = headers.get("content-disposition", "")
    parameters = message.get_params([], header="Content-Disposition")
    values = [value for parameter, value in parameters if parameter.lower() == "filename"]
    # filename*= comes as a tuple, and is the one to take where both are given.
    values.sort(key=lambda value: isinstance(value, str))
    return unquote(collapse_rfc2231_value(values[0])) if values else ""


def _safe(name: str) -> str:
    """The last component of a name, without what is special in a file system; may be empty."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(char for char in last if char.isprintable() and char not in '<>:"|?*').strip(" .")
    suffix = PurePosixPath(kept).suffix
    if suffix.lower() not in KNOWN_SUFFIXES:
        suffix = ""
    return kept.removesuffix(suffix).encode()[:MAX_NAME_BYTES].decode(errors="ignore") + suffix


def _save(reply: httpx2.Response, link: httpx2.URL, folder: Path, limits: LinkLimits) -> FetchedLink:
    if reply.status_code != 200:
        raise UnreadableFile(
            f"{_shown(link)} answers with status {reply.status_code}: give a link that opens without signing in"
        )
    encoding = reply.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise UnreadableFile(
            f"{_shown(link)} is compressed with {encoding[:MAX_SHOWN]}, not gzip: upload the file instead"
        )
    name = file_name(reply.headers, link)
    suffix = PurePosixPath(name).suffix.lower()
    with NamedTemporaryFile(dir=folder, prefix="link-", suffix=suffix, delete=False) as file:
        path = Path(file.name)
        try:
            file.writelines(_limited(reply, link, limits.max_bytes))
            file.flush()
        except BaseException:
            path.unlink()
            raise
    return FetchedLink(str(link), name, path, reply.charset_encoding)


def _limited(reply: httpx2.Response, link: httpx2.URL, max_bytes: int) -> Iterator[bytes]:
    size = 0
    said = int(reply.headers.get("content-length", 0))
    for piece in reply.iter_bytes():
        size += len(piece)
        if max(size, said) > max_bytes:
            raise UnreadableFile(
                f"{_shown(link)} has more than {max_bytes / (1 << 20):g} MiB: import it in smaller files"
            )
        yield piece
