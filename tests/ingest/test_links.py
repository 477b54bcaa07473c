"""Links to files: what is fetched from a real server on loopback, and what is refused before or while it is."""

import gzip
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import which

import httpcore2
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.links import (
    MAX_NAME_BYTES,
    SUFFIXES,
    SYSTEM,
    FetchedLink,
    LinkLimits,
    Network,
    fetch_link,
    file_name,
    is_public,
)
from retrieval.errors import InvalidRequest, QuotebaseError, UnreadableFile
from tests.openai_server import closed_port

HERE = LinkLimits(allow_private=True)

PAGE = "<h1>灯</h1>".encode()

PUBLIC = "8.8.8.8"
"""Nothing is sent there: what a test says is at this address is on loopback."""


class Handler(BaseHTTPRequestHandler):
    """Answers with what the server has at a path."""

    protocol_version = "HTTP/1.1"
    server: "Web"

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))
        try:
            self.server.pages[self.path](self)
        except OSError:
            self.server.hung_up.set()
            self.close_connection = True

    def send(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


Page = Callable[[Handler], None]


class Web(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str]] = []
        self.hung_up = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


@contextmanager
def serving(server: Web) -> Iterator[Web]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(Web()) as server:
        yield server


def page(body: bytes = PAGE, content_type: str = "text/html", status: int = 200, **headers: str) -> Page:
    """Header names are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(body, {"Content-Type": content_type, **named}, status)


def redirect(location: str, status: int = 302) -> Page:
    return lambda handler: handler.send(b"", {"Location": location}, status)


def dripping(before: bytes) -> Page:
    def drip(handler: Handler) -> None:
        handler.wfile.write(before)
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.02)

    return drip


class Names(Network):
    """An internet of a few names, all of them served on one port of loopback."""

    def __init__(self, port: int, **addresses: list[list[str]]) -> None:
        self.port = port
        self.addresses = addresses
        self.connected: list[str] = []

    def resolve(self, host: str, port: int) -> list[str]:
        """Each time the next answer for a name; the first part of it is the key."""
        return self.addresses[host.split(".")[0]].pop(0)

    def connect(self, address: str, port: int, timeout_s: float) -> httpcore2.NetworkStream:
        self.connected.append(address)
        return super().connect("127.0.0.1", self.port, timeout_s)


def refusal_of(
    kind: type[QuotebaseError],
    url: str,
    folder: Path,
    limits: LinkLimits = HERE,
    network: Network = SYSTEM,
) -> str:
    """What is said; nothing is left in the folder."""
    with pytest.raises(kind) as raised:
        fetch_link(url, folder, limits, network)
    assert type(raised.value) is kind
    assert list(folder.iterdir()) == []
    return raised.value.message


# Fetching


def test_a_page(web: Web, tmp_path: Path) -> None:
    web.pages["/lamps/oil?x=1"] = page(content_type="text/html; charset=gb2312")

    fetched = fetch_link(f"{web.url}/lamps/oil?x=1#top", tmp_path, HERE)

    assert fetched == FetchedLink(f"{web.url}/lamps/oil?x=1", "oil.html", fetched.path, "gb2312")
    assert fetched.path.parent == tmp_path
    assert fetched.path.suffix == ".html"
    assert fetched.path.read_bytes() == PAGE
    assert web.asked == [(f"127.0.0.1:{web.port}", "/lamps/oil?x=1")]


def test_links_of_one_name_do_not_share_a_file(web: Web, tmp_path: Path) -> None:
    web.pages["/a.txt"] = page(b"a", "text/plain")
    first, second = (fetch_link(f"{web.url}/a.txt", tmp_path, HERE) for _ in range(2))
    assert (first.name, second.name) == ("a.txt", "a.txt")
    assert first.path != second.path


def test_a_compressed_page(web: Web, tmp_path: Path) -> None:
    web.pages["/"] = page(gzip.compress(PAGE), Content_Encoding="gzip")
    assert fetch_link(web.url, tmp_path, HERE).path.read_bytes() == PAGE


def test_a_body_in_chunks(web: Web, tmp_path: Path) -> None:
    def chunked(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    web.pages["/"] = chunked
    fetched = fetch_link(web.url, tmp_path, HERE)
    assert (fetched.name, fetched.path.read_bytes()) == ("127.0.0.1.txt", b"abcde")


def test_an_empty_file(web: Web, tmp_path: Path) -> None:
    web.pages["/a.txt"] = page(b"", "text/plain")
    assert fetch_link(f"{web.url}/a.txt", tmp_path, HERE).path.read_bytes() == b""


def test_proxies_of_the_environment_are_not_used(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.pages["/"] = page()
    with closed_port() as port:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert fetch_link(web.url, tmp_path, HERE).path.read_bytes() == PAGE


def test_a_host_beyond_ascii(web: Web, tmp_path: Path) -> None:
    web.pages["/%E7%81%AF.txt"] = page(b"x", "text/plain")
    network = Names(web.port, **{"xn--znx": [[PUBLIC]]})
    fetched = fetch_link("http://灯.example/灯.txt", tmp_path, network=network)
    assert fetched.name == "灯.txt"
    assert web.asked == [("xn--znx.example", "/%E7%81%AF.txt")]


def test_a_host_that_is_an_ipv6_address(web: Web, tmp_path: Path) -> None:
    web.pages["/a.txt"] = page(b"x", "text/plain")
    address = "2606:4700::1111"
    network = Names(web.port, **{address: [[address]]})
    fetch_link(f"http://[{address}]/a.txt", tmp_path, network=network)
    assert web.asked == [(f"[{address}]", "/a.txt")]
    assert network.connected == [address]


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(web: Web, tmp_path: Path, status: int) -> None:
    web.pages["/a/b"] = redirect("../c.html?d#e", status)
    web.pages["/c.html?d"] = page()
    fetched = fetch_link(f"{web.url}/a/b", tmp_path, HERE)
    assert (fetched.url, fetched.name) == (f"{web.url}/c.html?d", "c.html")


@pytest.mark.parametrize("most", [0, 1, 2])
def test_so_many_redirects_and_no_more(web: Web, tmp_path: Path, most: int) -> None:
    for number in range(most):
        web.pages[f"/{number}"] = redirect(f"/{number + 1}")
    web.pages[f"/{most}"] = page()
    limits = LinkLimits(max_redirects=most, allow_private=True)
    assert fetch_link(f"{web.url}/0", tmp_path, limits).url == f"{web.url}/{most}"


@pytest.mark.parametrize("most", [0, 1, 5])
def test_one_redirect_too_many(web: Web, tmp_path: Path, most: int) -> None:
    web.pages["/"] = redirect("/")
    limits = LinkLimits(max_redirects=most, allow_private=True)
    assert refusal_of(UnreadableFile, f"{web.url}/", tmp_path, limits) == (
        f"{web.url}/ is redirected more than {most} times: give the link it leads to"
    )
    assert len(web.asked) == most + 1


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://lamps.example/a.txt", "http://user:word@lamps.example/", "http://[x]/"],
)
def test_a_redirect_to_something_that_is_refused(web: Web, tmp_path: Path, location: str) -> None:
    web.pages["/"] = redirect(location)
    said = refusal_of(InvalidRequest, web.url, tmp_path)
    assert "word@" not in said


def test_a_redirect_to_nowhere(web: Web, tmp_path: Path) -> None:
    web.pages["/"] = page(status=302)
    assert "answers with status 302" in refusal_of(UnreadableFile, web.url, tmp_path)


# Links that are refused


@pytest.mark.parametrize(
    "url",
    [
        "",
        "lamps.example/a.html",
        "//lamps.example/a.html",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "ftp://lamps.example/a.txt",
        "gopher://lamps.example/",
        "data:text/html,x",
        "http://",
        "http:///a",
        "http:lamps.example",
        "http://[x]/",
        "http://[::1",
        "http://1.2.3.256/",
        "http://lamps.example:0/",
        "http://lamps.example:65536/",
        "http://lamps.example:-1/",
        "http://lamps.example:http/",
        "http://lamps.example/\r\nHost: other.example",
        "http://\ud800.example/",
        "http://lamps.example/" + "a" * 70_000,
    ],
)
def test_no_link(url: str, tmp_path: Path) -> None:
    assert len(refusal_of(InvalidRequest, url, tmp_path)) < 500


@pytest.mark.parametrize(
    "url",
    [
        "http://user@lamps.example/",
        "http://user:word@lamps.example/",
        "http://:word@lamps.example/",
        "http://lamps.example\\@127.0.0.1/",
    ],
)
def test_a_link_with_a_password(url: str, tmp_path: Path) -> None:
    said = refusal_of(InvalidRequest, url, tmp_path)
    assert "has a user name or password in it" in said
    assert "word@" not in said


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",  # noqa: S104
        "255.255.255.255",
        "224.0.0.1",
        "127。0。0。1",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
    ],
)
def test_an_address_that_is_not_public(web: Web, tmp_path: Path, host: str) -> None:
    said = refusal_of(InvalidRequest, f"http://{host}:{web.port}/", tmp_path, LinkLimits())
    assert said.endswith(
        f":{web.port}/ leads to an address that is not public: upload the file, or set QUOTEBASE_PRIVATE_LINKS to fetch such links"
    )
    assert web.asked == []


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "127.0.0.1.",
        "0",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "%31%32%37.1",
    ],
)
def test_other_ways_to_write_an_address(web: Web, tmp_path: Path, host: str) -> None:
    """Whether they are one is for the system's resolver to say; they are refused like one, or not known."""
    with pytest.raises(InvalidRequest, match=r"not public: upload|is not known|Invalid IPv4 address"):
        fetch_link(f"http://{host}:{web.port}/", tmp_path)
    assert web.asked == []


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_as_public_as_itself(address: object) -> None:
    number = int(address)  # type: ignore[call-overload]
    inside = f"{number >> 16:x}:{number & 0xFFFF:x}"
    for outside in (f"::ffff:{inside}", f"64:ff9b::{inside}", f"2002:{inside}::1"):
        assert is_public(outside) == is_public(str(address))


# Names and addresses


def test_the_address_that_was_checked_is_the_one_connected_to(web: Web, tmp_path: Path) -> None:
    web.pages["/a.html"] = page()
    network = Names(web.port, lamps=[[PUBLIC], ["127.0.0.1"]])
    fetched = fetch_link("http://lamps.example/a.html", tmp_path, network=network)
    assert fetched.url == "http://lamps.example/a.html"
    assert web.asked == [("lamps.example", "/a.html")]
    assert network.connected == [PUBLIC]
    assert network.addresses["lamps"] == [["127.0.0.1"]]


@pytest.mark.parametrize("addresses", [["10.0.0.1"], [PUBLIC, "10.0.0.1"], ["::1", PUBLIC]])
def test_one_address_that_is_not_public_is_enough(web: Web, tmp_path: Path, addresses: list[str]) -> None:
    network = Names(web.port, lamps=[addresses])
    said = refusal_of(InvalidRequest, "http://lamps.example/a", tmp_path, LinkLimits(), network)
    assert said == (
        "http://lamps.example/a leads to an address that is not public: upload the file, or set QUOTEBASE_PRIVATE_LINKS to fetch such links"
    )
    assert network.connected == []


@pytest.mark.parametrize(
    ("location", "second"),
    [
        ("http://inside.example/secret", ["192.168.0.1"]),
        ("//inside.example/secret", ["::ffff:10.0.0.1"]),
        ("https://inside.example/secret", ["169.254.169.254"]),
    ],
)
def test_a_redirect_to_an_address_that_is_not_public(
    web: Web, tmp_path: Path, location: str, second: list[str]
) -> None:
    web.pages["/a"] = redirect(location)
    network = Names(web.port, lamps=[[PUBLIC]], inside=[second])
    said = refusal_of(InvalidRequest, "http://lamps.example/a", tmp_path, LinkLimits(), network)
    assert "inside.example/secret leads to an address that is not public" in said
    assert network.connected == [PUBLIC]


def test_a_name_is_resolved_and_checked_again_for_a_redirect(web: Web, tmp_path: Path) -> None:
    web.pages["/a"] = redirect("/b")
    network = Names(web.port, lamps=[[PUBLIC], ["127.0.0.1"]])
    refusal_of(InvalidRequest, "http://lamps.example/a", tmp_path, LinkLimits(), network)
    assert web.asked == [("lamps.example", "/a")]


class PartlyDown(Names):
    """Only the last address of a name answers; remembers how long the others were given."""

    def __init__(self, port: int, addresses: list[str]) -> None:
        super().__init__(port, lamps=[addresses])
        self.last = addresses[-1]
        self.given_s: list[float] = []

    def connect(self, address: str, port: int, timeout_s: float) -> httpcore2.NetworkStream:
        self.given_s.append(timeout_s)
        if address != self.last:
            raise httpcore2.ConnectTimeout
        return super().connect(address, port, timeout_s)


def test_addresses_that_do_not_answer_leave_time_for_others(web: Web, tmp_path: Path) -> None:
    web.pages["/"] = page()
    network = PartlyDown(web.port, ["8.8.8.8", "8.8.4.4", "1.1.1.1"])
    fetch_link("http://lamps.example/", tmp_path, LinkLimits(timeout_s=30), network)
    assert network.given_s == pytest.approx([10, 15, 30], abs=1)


def test_a_name_that_is_not_known(tmp_path: Path) -> None:
    class Unknown(Network):
        def resolve(self, host: str, port: int) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

    assert refusal_of(UnreadableFile, "http://lamps.example/", tmp_path, HERE, Unknown()) == (
        "http://lamps.example/ cannot be fetched: lamps.example is not known; check the link, or upload the file"
    )


def test_a_name_that_cannot_be_one(tmp_path: Path) -> None:
    said = refusal_of(UnreadableFile, f"http://{'a' * 64}.example/", tmp_path)
    assert "is not known; check the link" in said


@pytest.fixture
def secure_web(web: Web, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Web:
    """With a certificate for lamps.example that is trusted."""
    if which("openssl") is None:
        pytest.skip("openssl is not there to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=lamps.example", "-addext", "subjectAltName=DNS:lamps.example"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return web


def test_a_certificate_of_the_name(secure_web: Web, tmp_path: Path) -> None:
    secure_web.pages["/a.html"] = page()
    network = Names(secure_web.port, lamps=[[PUBLIC]])
    fetched = fetch_link("https://lamps.example/a.html", tmp_path, network=network)
    assert fetched.path.read_bytes() == PAGE
    assert secure_web.asked == [("lamps.example", "/a.html")]


def test_a_certificate_of_another_name(secure_web: Web, tmp_path: Path) -> None:
    network = Names(secure_web.port, other=[[PUBLIC]])
    said = refusal_of(UnreadableFile, "https://other.example/a.html", tmp_path, LinkLimits(), network)
    assert "certificate verify failed" in said
    assert secure_web.asked == []


def test_a_secure_server_that_drips(secure_web: Web, tmp_path: Path) -> None:
    secure_web.pages["/"] = dripping(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    network = Names(secure_web.port, lamps=[[PUBLIC]])
    limits = LinkLimits(timeout_s=1)
    said = refusal_of(UnreadableFile, "https://lamps.example/", tmp_path, limits, network)
    assert "did not come within 1 s" in said


# Limits

KIB = LinkLimits(max_bytes=1024, allow_private=True)


@pytest.mark.parametrize("size", [1023, 1024])
@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_file_that_is_just_small_enough(web: Web, tmp_path: Path, size: int, is_compressed: bool) -> None:
    body = b"x" * size
    web.pages["/"] = page(gzip.compress(body), Content_Encoding="gzip") if is_compressed else page(body)
    assert fetch_link(web.url, tmp_path, KIB).path.read_bytes() == body


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_file_that_is_just_too_large(web: Web, tmp_path: Path, is_compressed: bool) -> None:
    body = b"x" * 1025
    web.pages["/"] = page(gzip.compress(body), Content_Encoding="gzip") if is_compressed else page(body)
    said = refusal_of(UnreadableFile, f"{web.url}/", tmp_path, KIB)
    assert said.startswith(f"{web.url}/ has more than ")


def test_a_body_without_end(web: Web, tmp_path: Path) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 4096)

    web.pages["/"] = endless
    said = refusal_of(UnreadableFile, web.url, tmp_path, LinkLimits(max_bytes=3 << 20, allow_private=True))
    assert "has more than 3 MiB" in said
    assert web.hung_up.wait(timeout=5)


def test_a_file_that_says_it_is_too_large_is_not_waited_for(web: Web, tmp_path: Path) -> None:
    def large(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1025\r\n\r\nx")
        web.hung_up.wait(timeout=10)

    web.pages["/"] = large
    try:
        assert "has more than " in refusal_of(UnreadableFile, web.url, tmp_path, KIB)
    finally:
        web.hung_up.set()


def test_a_gzip_bomb_is_not_unpacked(web: Web, tmp_path: Path) -> None:
    web.pages["/"] = page(gzip.compress(bytes(200 << 20), 9), Content_Encoding="gzip")
    limits = LinkLimits(max_bytes=8 << 20, allow_private=True)
    tracemalloc.start()
    try:
        assert "has more than 8 MiB" in refusal_of(UnreadableFile, web.url, tmp_path, limits)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x"])
def test_a_compression_that_was_not_asked_for(web: Web, tmp_path: Path, encoding: str) -> None:
    web.pages["/"] = page(Content_Encoding=encoding)
    assert f"is compressed with {encoding}, not gzip" in refusal_of(UnreadableFile, web.url, tmp_path)


def test_a_compression_that_is_none(web: Web, tmp_path: Path) -> None:
    web.pages["/"] = page(Content_Encoding="gzip")
    assert " cannot be fetched: " in refusal_of(UnreadableFile, web.url, tmp_path)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", id="the body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: ", id="a header"),
        pytest.param(b"HTTP/1.1 302 Found\r\nContent-Type: ", id="a redirect"),
    ],
)
def test_a_server_that_drips(web: Web, tmp_path: Path, before: bytes) -> None:
    web.pages["/"] = dripping(before)
    started = time.monotonic()
    said = refusal_of(UnreadableFile, f"{web.url}/", tmp_path, LinkLimits(timeout_s=0.5, allow_private=True))
    assert 0.5 <= time.monotonic() - started < 3
    assert said == f"{web.url}/ did not come within 0.5 s: try again later, or upload the file"
    assert web.hung_up.wait(timeout=5)


def test_redirects_share_the_time(web: Web, tmp_path: Path) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.3)
        redirect("/")(handler)

    web.pages["/"] = slow
    limits = LinkLimits(timeout_s=0.7, max_redirects=100, allow_private=True)
    assert "did not come within 0.7 s" in refusal_of(UnreadableFile, web.url, tmp_path, limits)
    assert len(web.asked) == 3


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        limits = LinkLimits(timeout_s=0.2, allow_private=True)
        assert "did not come within 0.2 s" in refusal_of(UnreadableFile, url, tmp_path, limits)


def test_a_name_that_takes_its_time(web: Web, tmp_path: Path) -> None:
    class Slow(Network):
        def resolve(self, host: str, port: int) -> Sequence[str]:
            time.sleep(0.2)
            return super().resolve(host, port)

    limits = LinkLimits(timeout_s=0.1, allow_private=True)
    assert "did not come within 0.1 s" in refusal_of(UnreadableFile, web.url, tmp_path, limits, Slow())
    assert web.asked == []


# Servers that fail


@pytest.mark.parametrize("status", [204, 206, 304, 401, 403, 404, 410, 429, 500, 503])
def test_any_status_but_200(web: Web, tmp_path: Path, status: int) -> None:
    web.pages["/"] = page(b"" if status in (204, 304) else PAGE, status=status)
    assert refusal_of(UnreadableFile, f"{web.url}/", tmp_path) == (
        f"{web.url}/ answers with status {status}: give a link that opens without signing in"
    )


def test_a_port_that_is_closed(tmp_path: Path) -> None:
    with closed_port() as port:
        said = refusal_of(UnreadableFile, f"http://127.0.0.1:{port}/", tmp_path)
    assert said.startswith(f"http://127.0.0.1:{port}/ cannot be fetched: ")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"SSH-2.0-x\r\n", id="another protocol"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nx", id="a part"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: x\r\n\r\nx", id="no size"
        ),
    ],
)
def test_a_reply_that_is_none(web: Web, tmp_path: Path, sent: bytes) -> None:
    def broken(handler: Handler) -> None:
        handler.wfile.write(sent)
        handler.close_connection = True

    web.pages["/"] = broken
    assert " cannot be fetched: " in refusal_of(UnreadableFile, web.url, tmp_path)


def test_a_content_type_that_cannot_be_imported(web: Web, tmp_path: Path) -> None:
    web.pages["/a.png"] = page(b"x", "image/png")
    assert refusal_of(UnreadableFile, f"{web.url}/a.png", tmp_path) == (
        f"{web.url}/a.png is of the content type image/png and called a.png: give a link to a web page, text, "
        "table, PDF, Word or Excel file"
    )


# Names of files


def named(content_type: str, path: str = "/", disposition: str = "") -> str:
    headers = {b"Content-Type": content_type.encode(), b"Content-Disposition": disposition.encode()}
    return file_name(httpx2.Headers(headers), httpx2.URL(f"https://lamps.example{path}"))


@pytest.mark.parametrize(
    ("content_type", "path", "name"),
    [
        ("text/html", "/", "lamps.example.html"),
        ("text/html", "", "lamps.example.html"),
        ("text/html", "/oil/", "oil.html"),
        ("text/html", "/oil.htm", "oil.htm"),
        ("text/html", "/v1.2", "v1.2.html"),
        ("text/html", "/a.pdf", "a.pdf.html"),
        ("text/html; charset=utf-8", "/a.php?b=/c.d", "a.php.html"),
        ("TEXT/HTML", "/a", "a.html"),
        ("application/xhtml+xml", "/a", "a.html"),
        ("text/plain", "/README", "README.txt"),
        ("text/plain; charset=utf-8", "/README.md", "README.md"),
        ("text/plain", "/a.csv", "a.csv"),
        ("text/plain", "/a.pdf", "a.pdf.txt"),
        ("text/markdown", "/a.txt", "a.txt.md"),
        ("text/csv", "/export", "export.csv"),
        ("text/tab-separated-values", "/export.tsv", "export.tsv"),
        ("application/x-ndjson", "/export", "export.jsonl"),
        ("application/pdf", "/pdf/2401.12345", "2401.12345.pdf"),
        ("application/pdf", "/A.PDF", "A.PDF"),
        (
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "/get",
            "get.docx",
        ),
        ("application/octet-stream", "/a.docx", "a.docx"),
        ("application/zip", "/a.xlsx", "a.xlsx"),
        ("application/vnd.ms-excel", "/a.csv", "a.csv"),
        ("", "/a.md", "a.md"),
        ("text/html", "/%E7%81%AF", "灯.html"),
        ("text/html", "/灯", "灯.html"),
        ("text/html", "/..%2f..%2fetc%2fpasswd", "passwd.html"),
        ("text/html", "/%2e%2e%5cpasswd", "passwd.html"),
        ("text/html", "/%00%0a", "lamps.example.html"),
        ("text/html", "/a%00b", "ab.html"),
    ],
)
def test_a_name_after_the_link(content_type: str, path: str, name: str) -> None:
    assert named(content_type, path) == name


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("inline", "a.pdf"),
        ("attachment; filename=lamp.pdf", "lamp.pdf"),
        ('attachment; filename="oil lamp.pdf"', "oil lamp.pdf"),
        ('attachment; filename="lamp"', "lamp.pdf"),
        ("attachment; filename*=UTF-8''%E7%81%AF.pdf", "灯.pdf"),
        ("attachment; filename*=gb18030''%B5%C6.pdf", "灯.pdf"),
        ("attachment; filename=\"lamp.pdf\"; filename*=UTF-8''%E7%81%AF.pdf", "灯.pdf"),
        ('attachment; filename="%E7%81%AF.pdf"', "灯.pdf"),
        ('attachment; filename="灯.pdf"', "灯.pdf"),
        ('attachment; filename="/etc/lamp.pdf"', "lamp.pdf"),
        ('attachment; filename="..\\\\..\\\\lamp.pdf"', "lamp.pdf"),
        ('attachment; filename="..%2Flamp.pdf"', "lamp.pdf"),
        ('attachment; filename=".."', "a.pdf"),
        ('attachment; filename=""', "a.pdf"),
        ('attachment; filename="C:\\\\lamp.pdf"', "lamp.pdf"),
        ('attachment; filename="lamp\u202efdp.pdf"', "lampfdp.pdf"),
        ('attachment; filename="~<la|mp>?*:.pdf"', "~lamp.pdf"),
        ('attachment; filename=".lamp.pdf. "', "lamp.pdf"),
    ],
)
def test_a_name_that_the_server_gives(disposition: str, name: str) -> None:
    assert named("application/pdf", "/a.pdf", disposition) == name


@pytest.mark.parametrize("letter", ["a", "灯", "🪔"])
def test_a_long_name_is_cut(letter: str) -> None:
    name = named("application/pdf", disposition=f'attachment; filename="{letter * 300}.pdf"')
    assert name == letter * (MAX_NAME_BYTES // len(letter.encode())) + ".pdf"


@pytest.mark.parametrize(
    ("content_type", "path"),
    [
        ("image/png", "/a.png"),
        ("image/png", "/a.html"),
        ("application/json", "/a"),
        ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "/a.pptx"),
        ("application/octet-stream", "/a.exe"),
        ("application/octet-stream", "/a"),
        ("", "/"),
        ("text/", "/a.txt"),
    ],
)
def test_files_of_other_kinds(content_type: str, path: str) -> None:
    with pytest.raises(UnreadableFile, match="content type"):
        named(content_type, path)


@given(st.sampled_from([*SUFFIXES]), st.text(max_size=40), st.text(max_size=9))
def test_a_name_is_a_name_and_nothing_more(content_type: str, text: str, parameter: str) -> None:
    for disposition in (
        f'a; filename="{text}"',
        f"a; filename*{parameter}={text}",
        f"a; filename*=gbk'{text}",
        text,
    ):
        name = named(content_type, "/a", disposition)
        assert Path(name).name == name
        assert name.isprintable()
        assert not name.startswith(".")
        assert len(name.encode()) <= 255
        assert Path(name).suffix.lower() in SUFFIXES[content_type]
