"""Running the HTTP server: sockets, logs, the first key, the way to find it."""

import ipaddress
import logging
import signal
import socket
from collections.abc import Callable

import uvicorn

from api.app import create_app
from api.keys import Keys
from api.remote import announce_server
from api.settings import Settings
from api.wiring import open_documents, open_service
from retrieval.embedding import Progress
from retrieval.errors import EmbedderUnavailable, InvalidRequest
from retrieval.library import Library

logger = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT_S = 30
"""How long a stop waits for running requests, open streams among them."""


def serve_http(settings: Settings, say: Callable[[str], None], progress: Progress | None = None) -> None:
    """Serve until a signal stops it; running requests have half a minute to finish.

    Raises:
        InvalidRequest: the address cannot be listened on, or others reach it and there is no key yet.
        DirectoryInUse, StoreUnavailable, EmbedderUnavailable
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn.access").addFilter(_without_query)
    # A line for each call of a backend would say where it is, and nothing else.
    logging.getLogger("httpx2").setLevel(max(logging.WARNING, logging.getLogger().level))
    _require_key_for_others(settings)
    with open_service(settings, progress) as service, _listen(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        _warm_up(service.library)
        _say_first_key(service.keys, say)
        config = uvicorn.Config(
            create_app(service),
            log_config=None,
            log_level=settings.log_level,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        )
        with announce_server(settings.data_dir, url, service.local_token):
            say(f"quotebase listens on {url}")
            _run_until_stopped(uvicorn.Server(config), listener)


def _run_until_stopped(server: uvicorn.Server, listener: socket.socket) -> None:
    # When it has stopped, uvicorn raises the signal that stopped it once more, which would end the
    # process before the indexes are saved.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])


def _without_query(record: logging.LogRecord) -> bool:
    """Cut what may be a key off the path of uvicorn's (client, method, path, version, status)."""
    if isinstance(record.args, tuple) and len(record.args) == 5:
        client, method, path, *rest = record.args
        record.args = (client, method, str(path).partition("?")[0], *rest)
    return True


def _warm_up(library: Library) -> None:
    """Load the model now, so that the first search does not wait for it."""
    try:
        library.embedder.embed_queries(["warm up"])
    except EmbedderUnavailable as error:
        logger.warning("searches and imports will fail until this is mended: %s", error)


def _require_key_for_others(settings: Settings) -> None:
    """A first key that is printed while others can connect may end in a log that they can read."""
    if _is_loopback(settings.host):
        return
    with open_documents(settings) as store:
        if not Keys(store).list():
            raise InvalidRequest(
                f"{settings.host} can be reached from other machines, and there is no key yet: make a key first with "
                "quotebase keys create --admin"
            )


def _is_loopback(host: str) -> bool:
    """Whether only this machine gets there; a name with an address elsewhere, or with none, is not."""
    try:
        found = socket.getaddrinfo(host, None, _family(host))
    except OSError:
        return False
    return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _say_first_key(keys: Keys, say: Callable[[str], None]) -> None:
    if keys.list():
        return
    _, secret = keys.create("admin", "made by the first start")
    say(f"admin key (shown once, keep it): {secret}")


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that whoever reads the address can connect at once."""
    # Said by name, or asyncio does not know it for TCP and leaves Nagle's algorithm on: 40 ms a request.
    listener = socket.socket(_family(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise InvalidRequest(
            f"cannot listen on {host}:{port} ({error.strerror}): set QUOTEBASE_HOST and QUOTEBASE_PORT to a free one"
        ) from error
    return listener
