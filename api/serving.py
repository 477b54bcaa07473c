"""Running the HTTP server: sockets, logs, the first key, the way to find it."""

import logging
import socket
from collections.abc import Callable

import uvicorn

from api.app import create_app
from api.keys import Keys
from api.remote import announce_server
from api.settings import Settings
from api.wiring import open_service
from retrieval.embedding import Progress
from retrieval.errors import EmbedderUnavailable, InvalidRequest
from retrieval.library import Library

logger = logging.getLogger(__name__)


def serve_http(settings: Settings, say: Callable[[str], None], progress: Progress | None = None) -> None:
    """Serve until a signal stops it; running requests are finished first.

    Raises:
        InvalidRequest: the address cannot be listened on.
        DirectoryInUse, StoreUnavailable, EmbedderUnavailable
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with open_service(settings, progress) as service, _listen(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        _warm_up(service.library)
        _say_first_key(service.keys, say)
        say(f"quotebase listens on {url}")
        config = uvicorn.Config(create_app(service), log_config=None, log_level=settings.log_level)
        with announce_server(settings.data_dir, url, service.local_token):
            uvicorn.Server(config).run(sockets=[listener])


def _warm_up(library: Library) -> None:
    """Load the model now, so that the first search does not wait for it."""
    try:
        library.embedder.embed_queries(["warm up"])
    except EmbedderUnavailable as error:
        logger.warning("searches and imports will fail until this is mended: %s", error)


def _say_first_key(keys: Keys, say: Callable[[str], None]) -> None:
    if keys.list():
        return
    _, secret = keys.create("admin", "made by the first start")
    say(f"admin key (shown once, keep it): {secret}")


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that the port is known before anything is said."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InvalidRequest(
            f"cannot listen on {host}:{port} ({error.strerror}): set QUOTEBASE_HOST and QUOTEBASE_PORT to a free one"
        ) from error
    return listener
