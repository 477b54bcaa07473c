"""A server of the Model Context Protocol: the datasets as tools of a language model.

The tools are the same on both transports, the rights are not: on stdio whoever started the process owns the
data directory, over HTTP each request has a key.
"""

import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import cache
from importlib.metadata import version
from threading import Lock
from typing import Annotated

from fastapi import FastAPI
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.access import dataset_meant, opened_datasets
from api.auth import LOCAL_KEY, dataset_key_of, require_capability, require_dataset
from api.keys import Key
from api.schemas.records import MAX_PUSH
from api.schemas.tools import (
    DatasetsFound,
    NewRecord,
    RecordFound,
    RecordsAdded,
    SearchFound,
    dataset_found,
    record_found,
    search_found,
)
from api.settings import Settings
from api.wiring import Service
from api.workspace import WAIT_S, LocalLibrary, Workspace, open_workspace
from retrieval.completion import CompletionChoice
from retrieval.embedding import Embedder, Progress, open_embedder
from retrieval.errors import DirectoryInUse, InvalidRequest, QuotebaseError
from retrieval.types import MAX_LIMIT, SearchMode, SearchRequest

INSTRUCTIONS = (
    "quotebase holds datasets of q/a records. Call list_datasets to see which there are, search to find records, "
    "read_record for one as a whole. Cite records by their ids."
)

KEY = "quotebase.key"
"""Where the scope of an HTTP request has its key."""

PATIENCE_S = 30.0
"""How long a call waits for another process, such as an import, to let go of the data directory."""

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ADDS = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)

DatasetName = Annotated[str, Field(description="Name or id of the dataset.")]

OpenWorkspace = Callable[[], AbstractContextManager[Workspace]]
KeyOf = Callable[[Context], Key]


class Tools:
    """What a model may call. Failures are told to it in the words of the errors."""

    def __init__(self, open_workspace: OpenWorkspace, key_of: KeyOf) -> None:
        self._open_workspace = open_workspace
        self._key_of = key_of

    @contextmanager
    def _asked(self, context: Context) -> Iterator[tuple[Workspace, Key]]:
        try:
            key = self._key_of(context)
            with self._open_workspace() as workspace:
                yield workspace, key
        except QuotebaseError as error:
            raise ToolError(error.message) from error

    def list_datasets(self, context: Context) -> DatasetsFound:
        """List the datasets there are, with their ids and what they are about."""
        with self._asked(context) as (workspace, key):
            opened = opened_datasets(key, workspace.list_datasets())
            return DatasetsFound(datasets=[dataset_found(dataset) for dataset in opened])

    def search(
        self,
        context: Context,
        dataset: DatasetName,
        query: Annotated[str, Field(description="What to look for, in any language.")],
        top_k: Annotated[int, Field(ge=1, le=100, description="Most records to return.")] = 5,
        similarity: Annotated[
            float | None,
            Field(
                ge=0,
                le=1,
                description="Lowest cosine to keep; what the dataset was calibrated to by default.",
            ),
        ] = None,
        mode: Annotated[
            SearchMode,
            Field(
                description="embedding: by meaning; fullTextRecall: by words; mixedRecall: both, finds most."
            ),
        ] = "mixedRecall",
    ) -> SearchFound:
        """Find the records of a dataset that answer a question, best first."""
        with self._asked(context) as (workspace, key):
            require_capability(key, "search")
            meant = dataset_meant(key, workspace.list_datasets(), dataset)
            request = SearchRequest(query, (meant.id,), similarity, limit=MAX_LIMIT, top_k=top_k, mode=mode)
            return search_found(workspace.search_reply(request))

    def read_record(
        self, context: Context, id: Annotated[str, Field(description="Id of the record.")]
    ) -> RecordFound:
        """Read one record, with the texts that it is found by and where it is from."""
        with self._asked(context) as (workspace, key):
            require_capability(key, "search")
            found = record_found(workspace.read_record(id))
            require_dataset(key, found.dataset_id)
            return found

    def add_records(
        self,
        context: Context,
        dataset: DatasetName,
        collection: Annotated[
            str, Field(min_length=1, description="Name of the collection in it; made if missing.")
        ],
        records: Annotated[list[NewRecord], Field(min_length=1, max_length=MAX_PUSH)],
    ) -> RecordsAdded:
        """Add records to a collection of a dataset; they can be found when this returns. Those it has stay as they are."""
        with self._asked(context) as (workspace, key):
            require_capability(key, "write")
            meant = dataset_meant(key, workspace.list_datasets(), dataset)
            if not collection.strip():
                raise InvalidRequest("the collection has no name: give it one", "collection")
            added = workspace.add_records(meant.id, collection, [record.to_draft() for record in records])
            return RecordsAdded(added=added.added, unchanged=added.unchanged)


def new_server(open_workspace: OpenWorkspace, key_of: KeyOf) -> MCPServer:
    """A server with all tools. Nobody can listen for changes: that would hold requests open for ever."""
    server = MCPServer(
        "quotebase", instructions=INSTRUCTIONS, version=version("quotebase"), subscriptions=False
    )
    tools = Tools(open_workspace, key_of)
    for tool in (tools.list_datasets, tools.search, tools.read_record):
        server.add_tool(tool, annotations=READS)
    server.add_tool(tools.add_records, annotations=ADDS)
    return server


class OwnDirectory:
    """The data directory of the settings, opened for each call, so that other processes can have it in between.

    Only the model stays. If a server has the directory, calls go to it, and the model is not even opened.
    """

    def __init__(self, settings: Settings, progress: Progress | None = None) -> None:
        self._settings = settings
        self._turn = Lock()

        @cache
        def model() -> Embedder:
            return open_embedder(settings.embedder, settings.cache_dir, progress)

        self._model = model

    @contextmanager
    def open(self) -> Iterator[Workspace]:
        """Raises DirectoryInUse if another process that is no server keeps it for half a minute."""
        with self._turn, ExitStack() as stack:
            yield self._wait_for(stack)

    def _wait_for(self, stack: ExitStack) -> Workspace:
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                return stack.enter_context(open_workspace(self._settings, model=self._model))
            except DirectoryInUse:
                if time.monotonic() > give_up_at:
                    raise
            time.sleep(WAIT_S)


def serve_stdio(settings: Settings, progress: Progress | None = None) -> None:
    """Serve until stdin ends, or a signal. The SDK keeps stdout for the protocol; the log goes to stderr."""
    # The SDK's thread that reads stdin cannot be interrupted, and Python would wait for it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("httpx2").setLevel(max(logging.WARNING, logging.getLogger().level))
    new_server(OwnDirectory(settings, progress).open, lambda _: LOCAL_KEY).run("stdio")


class McpDoor:
    """The path ``/mcp`` of the HTTP server: streamable HTTP without sessions, each request with a key of its own.

    No stream is held open, so that a stop does not wait for clients. A foreign web page has no key, which is why
    the addresses that this server may be called by are not restricted.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: FastAPI = scope["app"]
        key = await run_in_threadpool(dataset_key_of, Request(scope))
        server: MCPServer = app.state.mcp
        await server.session_manager.handle_request({**scope, KEY: key}, receive, send)


@asynccontextmanager
async def running_door(service: Service) -> AsyncIterator[MCPServer]:
    """What :class:`McpDoor` hands requests to, while the body runs."""
    library = LocalLibrary(service.library, CompletionChoice())
    server = new_server(lambda: nullcontext(library), _key_of_request)
    server.streamable_http_app(
        stateless_http=True,
        json_response=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    async with server.session_manager.run():
        yield server


def _key_of_request(context: Context) -> Key:
    request = context.request_context.request
    if request is None:
        raise RuntimeError("a call without an HTTP request has no key")
    key: Key = request.scope[KEY]
    return key
