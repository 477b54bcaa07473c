"""The socket that the server listens on, and who may reach it."""

import socket
from pathlib import Path

import pytest

from api.keys import Keys
from api.serving import _is_loopback, _listen
from api.settings import Settings
from api.wiring import open_documents
from tests.api.processes import run
from tests.openai_server import OpenAIServer

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is refused


def test_what_connects_is_known_for_tcp_so_that_nothing_waits_to_be_sent() -> None:
    """asyncio turns Nagle's algorithm off on sockets that say they are TCP, and accepted ones say what this one does."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)),
        *((EVERYWHERE, False), ("::", False), ("10.0.0.1", False), ("192.0.2.7", False), ("", False)),
        ("no-such-host.invalid", False),
    ],
)
def test_who_reaches_an_address(host: str, is_loopback: bool) -> None:
    assert _is_loopback(host) is is_loopback


def test_no_first_key_is_made_where_others_connect(tmp_path: Path, endpoint: OpenAIServer) -> None:
    settings = {"EMBEDDING_BASE_URL": endpoint.url, "EMBEDDING_MODEL": "scripted", "HOST": EVERYWHERE}

    ran = run("serve", "--port", "0", data_dir=tmp_path / "data", **settings)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "quotebase: 0.0.0.0 can be reached from other machines, and there is no key yet: make a key first with "
        "quotebase keys create --admin\n"
    )
    with open_documents(Settings(data_dir=tmp_path / "data")) as store:
        assert Keys(store).list() == []
