"""The socket that the server listens on."""

import socket

from api.serving import _listen


def test_what_connects_is_known_for_tcp_so_that_nothing_waits_to_be_sent() -> None:
    """asyncio turns Nagle's algorithm off on sockets that say they are TCP, and accepted ones say what this one does."""
    with _listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
