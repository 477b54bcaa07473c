"""Texts and links over HTTP, and links on the command line, from a server on this machine."""

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from api.wiring import UPLOADS_FOLDER, service_of
from retrieval.completion.backends import Backends
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.library import Library
from tests.api.commands import Cli, RunHere, complaint, json_of
from tests.api.wire import DATASETS, Api, data_of, error_of

PAGE = "<title>Kettles</title><h1>Care</h1><p>Descale it once a month.</p>"
PAGES = {"/kettles": ("text/html; charset=utf-8", PAGE), "/rows.csv": ("text/csv", "q,a\nlamp?,brass\n")}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind, text = PAGES.get(self.path, ("", ""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_link_is_imported_by_the_command_line(cli: Cli, run_here: RunHere, site: str) -> None:
    link = f"{site}/kettles"
    assert "PRIVATE_LINKS" in complaint(cli("ingest", link, "--dataset", "d"))
    allowing = Cli(run_here, cli.data_dir, {**cli.settings, "PRIVATE_LINKS": "1"})
    report = json_of(allowing("ingest", link, "--dataset", "d", "--json"))
    assert (report["added"], report["files"][0]["collection"]) == (1, link)
    again = json_of(allowing("ingest", link, f"{site}/rows.csv", "--dataset", "d", "--json"))
    assert [(one["collection"], one["added"]) for one in again["files"]] == [
        (link, 0),
        (f"{site}/rows.csv", 1),
    ]
    assert "404" in complaint(allowing("ingest", f"{site}/nothing", "--dataset", "d"))
    found = json_of(allowing("search", "d", "Descale it once a month.", "--top-k", "1", "--json"))
    assert "Descale it once a month." in found["list"][0]["q"]


@pytest.fixture(params=[False, True], ids=["public only", "private too"])
def api(library: Library, request: pytest.FixtureRequest) -> Iterator[Api]:
    service = service_of(library, Backends(ExtractiveCompletion()), request.param)
    with closing(service.runner):
        yield Api(service)


def test_a_link_is_imported_over_http(api: Api, site: str) -> None:
    dataset = data_of(api.post(f"{DATASETS}/create", {"name": "new"}))
    link = f"{site}/kettles"
    reply = api.post(f"{DATASETS}/collection/create/link", {"datasetId": dataset, "link": link})
    if api.service.allows_private_links:
        data = data_of(reply)
        assert data["results"]["insertLen"] == 1
        assert api.service.library.store.get_collection(data["collectionId"]).name == link
    else:
        error = error_of(reply)
        assert error["code"] == "invalid_request"
        assert "QUOTEBASE_PRIVATE_LINKS" in error["message"]
    assert list((api.service.library.data_dir / UPLOADS_FOLDER).iterdir()) == []


def test_a_text_is_cut_into_chunks(api: Api) -> None:
    dataset = data_of(api.post(f"{DATASETS}/create", {"name": "new"}))
    text = "# Care\n\nDescale it.\n\n---cut---\n\n# Parts\n\nA lid."
    body = {
        "datasetId": dataset,
        "name": "manual",
        "text": text,
        "chunkSplitter": "---cut---",
        "chunkSize": "64",
    }
    data = data_of(api.post(f"{DATASETS}/collection/create/text", body))
    assert data["results"]["insertLen"] == 2
    collection = api.service.library.store.get_collection(data["collectionId"])
    assert collection.name == "manual"
    chunks = [record.q for record in api.service.library.store.list_records(collection.id)]
    assert ["Descale it." in chunks[0], "A lid." in chunks[1]] == [True, True]
    assert data_of(api.post(f"{DATASETS}/collection/create/text", body))["results"]["insertLen"] == 0
    error = error_of(api.post(f"{DATASETS}/collection/create/text", {"datasetId": dataset, "text": text}))
    assert error["param"] == "name"
