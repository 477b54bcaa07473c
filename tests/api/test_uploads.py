"""What comes in an upload: its size, its end, its names, its fields, and what is left of it."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from api.limits import JSON_LIMIT
from api.schemas.imports import LinkForm, TextForm, read_form
from api.uploads import FIELD_LIMIT, MAX_NAME, MAX_PARTS, plain_name, receive_upload
from api.wiring import UPLOADS_FOLDER, service_of
from retrieval.completion.backends import Backends
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.errors import InvalidRequest
from retrieval.library import Library
from tests.api.imports import PATIENCE_S, workbook
from tests.api.processes import Server, serving
from tests.api.wire import DATASETS, Api, Headers, bearer, data_of, error_of
from tests.ingest.test_archives import LAUGHS, with_part
from tests.openai_server import OpenAIServer, openai_server

TEMPLATE = f"{DATASETS}/collection/create/template"
CSV = b"q,a\n1,one\n"
FORM = {"Content-Type": "multipart/form-data; boundary=B"}
MB = 1 << 20


def part(disposition: str, content: bytes, kind: str = "") -> bytes:
    head = f"--B\r\nContent-Disposition: form-data; {disposition}\r\n"
    return (
        head.encode() + (f"Content-Type: {kind}\r\n".encode() if kind else b"") + b"\r\n" + content + b"\r\n"
    )


def form(
    dataset: str, content: bytes = CSV, file: str = 'name="file"; filename="a.csv"', **fields: Any
) -> bytes:
    data = json.dumps({"datasetId": dataset, **fields}).encode()
    return part('name="data"', data, "application/json") + part(file, content) + b"--B--\r\n"


def send(api: Api, body: bytes | Iterator[bytes], headers: Headers | None = None) -> httpx2.Response:
    return api.client.post(TEMPLATE, content=body, headers={**(headers or api.admin), **FORM})


def left(data_dir: Path) -> list[Path]:
    return list((data_dir / UPLOADS_FOLDER).glob("**/*"))


def left_of(api: Api) -> list[Path]:
    return left(api.service.library.data_dir)


def collection_of(api: Api, response: httpx2.Response) -> str:
    return api.service.library.store.get_collection(data_of(response)["collectionId"]).name


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def dataset(api: Api) -> str:
    """An empty one."""
    dataset_id: str = data_of(api.post(f"{DATASETS}/create", {"name": "new"}))
    return dataset_id


# Size


@pytest.mark.parametrize("is_declared", [True, False])
def test_an_upload_may_be_as_large_as_the_limit(sampled: Library, is_declared: bool) -> None:
    body = form(sampled.dataset_named("coffee").id)

    def upload(limit: int) -> httpx2.Response:
        service = service_of(sampled, Backends(ExtractiveCompletion()), upload_limit=limit)
        with closing(service.runner):
            return send(
                Api(service), body if is_declared else (body[n : n + 9] for n in range(0, len(body), 9))
            )

    assert data_of(upload(len(body)))["results"]["insertLen"] == 1
    response = upload(len(body) - 1)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (413, "payload_too_large")
    assert f"larger than {len(body) - 1:,} bytes" in error["message"]
    assert "QUOTEBASE_UPLOAD_LIMIT" in error["message"]
    assert response.headers["connection"] == "close"
    assert left(sampled.data_dir) == []


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("path", ["searchTest", "collection/create/text", "create"])
def test_other_bodies_have_a_limit_of_their_own(api: Api, path: str, is_declared: bool) -> None:
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(2 * JSON_LIMIT // MB):
            read += MB
            yield b" " * MB

    headers = {**api.admin, "Content-Type": "application/json"}
    if is_declared:
        headers["Content-Length"] = str(JSON_LIMIT + 1)
    response = api.client.post(f"{DATASETS}/{path}", content=body(), headers=headers)

    assert (response.status_code, error_of(response)["code"]) == (413, "payload_too_large")
    assert "67,108,864 bytes" in error_of(response)["message"]


def test_a_body_at_the_limit_is_read(api: Api) -> None:
    text = json.dumps({"parentId": ""})
    body = (text + " " * (JSON_LIMIT - len(text))).encode()
    headers = {**api.admin, "Content-Type": "application/json"}
    assert api.client.post(f"{DATASETS}/list", content=body, headers=headers).status_code == 200


def test_a_field_that_is_no_file_has_a_limit(api: Api, dataset: str) -> None:
    whole = form(dataset, qaPrompt="x" * FIELD_LIMIT)
    response = send(api, whole)
    assert (response.status_code, error_of(response)["param"]) == (422, "data")
    assert "over 1 MB" in error_of(response)["message"]
    assert left_of(api) == []


def test_the_number_of_fields_has_a_limit(api: Api, dataset: str) -> None:
    more = b"".join(part(f'name="x{number}"', b"1") for number in range(MAX_PARTS - 2))
    assert send(api, more + form(dataset)).status_code == 200
    response = send(api, part('name="one"', b"1") + more + form(dataset))
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_request")
    assert left_of(api) == []


# Over the wire


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes uploads of 1 MiB; its temporary files would be in a folder beside its data."""
    folder = tmp_path_factory.mktemp("limited")
    (folder / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as patch, openai_server() as endpoint:
        patch.setenv("TMPDIR", str(folder / "temporary"))
        with serving(folder / "data", UPLOAD_LIMIT="1MiB", **embedding_of(endpoint)) as server:
            yield server


def embedding_of(endpoint: OpenAIServer) -> dict[str, str]:
    return {"EMBEDDING_BASE_URL": endpoint.url, "EMBEDDING_MODEL": "scripted"}


def head(key: str, *lines: str) -> bytes:
    fixed = (
        f"POST {TEMPLATE} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {key}",
        f"Content-Type: {FORM['Content-Type']}",
    )
    return "\r\n".join((*fixed, *lines, "", "")).encode()


def connected(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), PATIENCE_S)


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and all that comes until the server closes the connection."""
    said = b""
    try:
        while block := connection.recv(1 << 16):
            said += block
    except ConnectionResetError:
        pass
    return int(said.split()[1]), said


def is_untouched(server: Server) -> bool:
    """Whether nothing of an upload is on its disk."""
    temporary = {path.name for path in (server.data_dir.parent / "temporary").iterdir()}
    return left(server.data_dir) == [] and temporary <= {"data-gym-cache"}  # tiktoken's


@pytest.mark.parametrize("more", [(), ("Expect: 100-continue",)])
def test_an_upload_that_says_it_is_too_large_is_not_begun(limited: Server, more: tuple[str, ...]) -> None:
    with connected(limited) as connection:
        connection.sendall(head(limited.admin_key, f"Content-Length: {10 << 30}", *more))
        status, said = answer(connection)

    assert status == 413
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "payload_too_large"
    assert is_untouched(limited)


def test_an_upload_without_an_end_is_ended(limited: Server) -> None:
    data = form("1" * 24).partition(b"--B--")[0].removesuffix(b"\r\n")
    sent = 0
    with connected(limited) as connection:
        connection.sendall(head(limited.admin_key, "Transfer-Encoding: chunked"))
        connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        try:
            while sent < 200 * MB:
                connection.sendall(b"10000\r\n" + b"1,2\n" * (1 << 14) + b"\r\n")
                sent += 1 << 16
        except OSError:  # it reads no more
            pass
        status, said = answer(connection)

    assert status == 413
    assert b'"payload_too_large"' in said
    assert sent < 50 * MB  # what the sockets of both sides take up
    assert is_untouched(limited)


def test_a_client_that_sends_a_file_too_large_reads_why(limited: Server) -> None:
    response = httpx2.post(
        limited.url + TEMPLATE,
        content=form("1" * 24, bytes(30 * MB)),
        headers={**bearer(limited.admin_key), **FORM},
    )
    assert (response.status_code, error_of(response)["code"]) == (413, "payload_too_large")


def test_without_a_key_nothing_is_read(limited: Server) -> None:
    with connected(limited) as connection:
        connection.sendall(head("qb-none", f"Content-Length: {MB // 2}"))
        assert connection.recv(1 << 16).split()[1] == b"401"
    assert is_untouched(limited)


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_client_that_hangs_up_leaves_nothing(limited: Server, is_chunked: bool) -> None:
    with httpx2.Client(base_url=limited.url + DATASETS, headers=bearer(limited.admin_key)) as client:
        name = f"d{is_chunked}"
        dataset = client.post("/create", json={"name": name}).json()["data"]
        begun = form(dataset).partition(b"--B--")[0] + b"2,two\n" * 50_000
        with connected(limited) as connection:
            if is_chunked:
                connection.sendall(head(limited.admin_key, "Transfer-Encoding: chunked"))
                connection.sendall(b"%x\r\n%b\r\n" % (len(begun), begun))
            else:
                connection.sendall(head(limited.admin_key, f"Content-Length: {len(begun) + 100}") + begun)
            until(lambda: any(path.name == "file" and path.stat().st_size for path in left(limited.data_dir)))
        until(lambda: is_untouched(limited))

        assert client.get("/job/list", params={"datasetId": dataset}).json()["data"] == []
    assert "Traceback" not in limited.log.read_text()


@pytest.mark.slow
def test_a_large_upload_takes_no_memory(tmp_path: Path, endpoint: OpenAIServer) -> None:
    rows, size = b"a question of some length,and its answer\n" * 25_000, 200 * MB
    with (
        serving(tmp_path / "data", **embedding_of(endpoint)) as server,
        httpx2.Client(base_url=server.url, headers=bearer(server.admin_key), timeout=PATIENCE_S) as client,
    ):
        dataset = client.post(f"{DATASETS}/create", json={"name": "d"}).json()["data"]
        client.post(TEMPLATE, content=form(dataset, name="small"), headers=FORM).raise_for_status()
        head, tail = form(dataset, b"q,a\n", **{"async": True}).split(b"\r\n--B--")

        def body() -> Iterator[bytes]:
            yield head
            for _ in range(size // len(rows) + 1):
                yield rows
            yield b"\r\n--B--" + tail

        idle = peak_memory(server)
        data = client.post(TEMPLATE, content=body(), headers=FORM).json()["data"]
        grown = peak_memory(server) - idle
        client.post(f"{DATASETS}/job/cancel", json={"id": data["job"]}).raise_for_status()

        assert client.get(data["progress"]).json()["data"]["state"] == "cancelled"
        assert grown < 100 * MB
        until(lambda: left(server.data_dir) == [])


def peak_memory(server: Server) -> int:
    """Bytes resident at most, since it began."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    return next(
        int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmHWM:")
    )


# The form


def test_a_form_without_its_end_is_refused(api: Api, dataset: str) -> None:
    whole = form(dataset)
    for cut in range(1, len(whole) - len("--\r\n"), 7):
        assert send(api, whole[:cut]).status_code == 400
    assert left_of(api) == []
    assert api.service.library.store.list_collections(dataset) == []


def test_the_fields_may_come_in_any_order_and_block(api: Api, dataset: str) -> None:
    file, data = (
        part('name="file"; filename="a.csv"', CSV),
        part('name="data"', b'{"datasetId":"%b"}' % dataset.encode()),
    )
    whole = file + data + b"--B--\r\n"
    assert collection_of(api, send(api, (whole[n : n + 1] for n in range(len(whole))))) == "a.csv"


@pytest.mark.parametrize(
    "disposition", ['name="data"', 'name="data"; filename="blob"', 'name=data; filename=""']
)
@pytest.mark.parametrize("kind", ["", "application/json", "text/plain; charset=utf-8"])
def test_the_settings_come_as_a_text_or_as_a_file(
    api: Api, dataset: str, disposition: str, kind: str
) -> None:
    data = part(
        disposition, json.dumps({"datasetId": dataset, "name": "中"}, ensure_ascii=False).encode(), kind
    )
    response = send(api, data + part('name="file"; filename="a.csv"', CSV) + b"--B--\r\n")
    assert collection_of(api, response) == "中"


def test_settings_may_stand_beside_data(api: Api, dataset: str) -> None:
    file = part('name="file"; filename="a.csv"', CSV)
    beside = part('name="datasetId"', dataset.encode()) + part('name="name"', b"beside")
    inside = part('name="data"', b'{"name": "inside"}')

    assert collection_of(api, send(api, beside + file + b"--B--\r\n")) == "beside"
    assert collection_of(api, send(api, beside + inside + file + b"--B--\r\n")) == "inside"


def test_other_files_are_passed_over(api: Api, dataset: str) -> None:
    other = part('name="../../cover"; filename="cover.png"', bytes(5000))
    assert collection_of(api, send(api, other + form(dataset))) == "a.csv"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (part('name="data"', b'{"datasetId": "x"}'), "file"),
        (part('name="file"; filename="a.csv"', CSV), "data"),
        (part('name="file"; filename="a.csv"', CSV) * 2, "file"),
        (part('name="data"', b'{"datasetId": "\xff"}') + part('name="file"', CSV), "data"),
    ],
)
def test_a_bad_field_is_named(api: Api, body: bytes, param: str) -> None:
    response = send(api, body + b"--B--\r\n")
    assert (response.status_code, error_of(response)["param"]) == (422, param)
    assert left_of(api) == []


def test_a_key_for_another_dataset_leaves_nothing(api: Api, dataset: str) -> None:
    other = api.new_key("dataset", dataset_ids=(api.dataset_id("suzume"),))[1]
    response = send(api, form(dataset), other)
    assert (response.status_code, left_of(api)) == (403, [])
    assert send(api, form("0" * 24)).status_code == 404
    assert left_of(api) == []


# Names


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a.csv", "a.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\问答.xlsx", "问答.xlsx"),
        ("..\\..\\a.csv", "a.csv"),
        ("dir/", "dir"),
        ("a\x00.csv", "a.csv"),
        ("a\r\nX-Header: 1.csv", "aX-Header: 1.csv"),
        ("\u202egpj.exe", "gpj.exe"),
        ("  a.csv\t", "a.csv"),
        ("..", ""),
        ("/", ""),
        ("", ""),
        (".", ""),
        ("\x00\x01", ""),
        (".hidden", ".hidden"),
        ("x" * 300 + ".csv", "x" * (MAX_NAME - 4) + ".csv"),
        ("x." + "y" * 300, "x." + "y" * (MAX_NAME - 2)),
    ],
)
def test_a_name_is_the_last_part_of_a_path(sent: str, name: str) -> None:
    assert plain_name(sent) == name


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("./\\\x00\n"), max_size=400))
def test_a_name_is_never_a_path(sent: str) -> None:
    name = plain_name(sent)
    assert len(name) <= MAX_NAME
    assert name not in (".", "..")
    assert not set(name) & set("/\\\x00\n\r")
    assert plain_name(name) == name.strip()


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (r'filename="..\\..\\evil.csv"', "evil.csv"),
        ("filename*=UTF-8''..%5C..%5Cevil%00.csv", "evil.csv"),
        ("filename*=UTF-8''%2Fetc%2Fcron.d%2Fjob", "job"),
        ('filename="/"', "upload.csv"),
        ('filename=".."', "upload.csv"),
        ("", "upload.csv"),
        (f'filename="{"长" * 300}.csv"', "长" * (MAX_NAME - 4) + ".csv"),
    ],
)
def test_nothing_is_written_by_a_clients_name(
    api: Api, dataset: str, tmp_path: Path, disposition: str, name: str
) -> None:
    body = form(dataset, file=f'name="file"; {disposition}')
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)

    upload = asyncio.run(receive_upload(request_of(body), inner, ("file",)))

    assert list((tmp_path / "outer").rglob("*")) == [inner, inner / "file"]
    assert upload.files["file"].path.read_bytes() == CSV
    assert upload.files["file"].name in (name, "")
    assert collection_of(api, send(api, body)) == name


def request_of(body: bytes) -> Request:
    """One that comes in a single block."""

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(name.lower().encode(), value.encode()) for name, value in FORM.items()]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


# FastGPT's fields


@pytest.mark.parametrize(
    ("fields", "mode", "is_qa"),
    [
        ({"mode": "chunk"}, "append", False),
        ({"mode": "qa"}, "append", True),
        ({"mode": "auto"}, "append", False),
        ({"mode": "upsert", "trainingType": "qa"}, "upsert", True),
        ({"mode": "qa", "trainingType": "chunk"}, "append", False),
        ({"trainingMode": "qa"}, "append", True),
        ({"trainingMode": "qa", "trainingType": None}, "append", True),
        ({"trainingType": "template"}, "append", False),
        ({"trainingType": "backup", "customPdfParse": True, "unknown": [1]}, "append", False),
    ],
)
def test_training_types_come_in_three_fields(fields: dict[str, Any], mode: str, is_qa: bool) -> None:
    settings = read_form({"data": json.dumps({"datasetId": "d", **fields})}).to_settings("a.md")
    assert (settings.mode, settings.reading.is_qa) == (mode, is_qa)


@pytest.mark.parametrize(
    ("field", "param"), [("mode", "mode"), ("trainingType", "trainingType"), ("trainingMode", "trainingType")]
)
def test_an_unknown_training_type_is_named(field: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_form({"data": json.dumps({"datasetId": "d", field: "imageParse"})})
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("fields", "size", "splitter"),
    [
        ({"chunkSize": "256", "chunkSplitter": "##"}, 256, "##"),
        ({"chunkSettingMode": "custom", "chunkSize": 256}, 256, ""),
        ({"chunkSettingMode": "auto", "chunkSize": "1", "chunkSplitter": "##"}, 512, ""),
        ({"chunkSize": "", "chunkSplitter": None}, 512, ""),
    ],
)
def test_sizes_of_chunks(fields: dict[str, Any], size: int, splitter: str) -> None:
    for form_fields in ({"data": json.dumps({"datasetId": "d", **fields})}, {"datasetId": "d", **fields}):
        texts = {name: str(value) for name, value in form_fields.items() if value is not None}
        chunks = read_form(texts).to_settings("a.md").reading.chunks
        assert (chunks.size, chunks.splitter) == (size, splitter)


def test_what_is_said_of_the_collection() -> None:
    said = {
        "parentId": "p",
        "tags": ["a", 7],
        "metadata": {"x": [1]},
        "createTime": "2024-05-01T02:00:00+02:00",
    }
    whole = read_form({"data": json.dumps({"datasetId": "d", **said})})
    empty = read_form(
        {"data": json.dumps({"datasetId": "d", "parentId": None, "tags": None, "metadata": ""})}
    )

    assert (whole.kind, whole.parent_id, whole.tags, whole.described) == ("file", "p", ["a", "7"], {"x": [1]})
    assert whole.create_time == datetime(2024, 5, 1, tzinfo=UTC)
    assert (empty.parent_id, empty.tags, empty.described, empty.create_time) == ("", [], {}, None)
    link = LinkForm.model_validate({"datasetId": "d", "link": "http://x", "tags": []})
    assert (link.kind, link.described) == ("link", {"rawLink": "http://x"})
    text = TextForm.model_validate(
        {"datasetId": "d", "name": "n", "text": "t", "createTime": "2024-05-01T00:00:00"}
    )
    assert (text.kind, text.create_time) == ("virtual", datetime(2024, 5, 1, tzinfo=UTC))


def test_progress_leads_to_the_job(api: Api, dataset: str) -> None:
    data = data_of(send(api, form(dataset, **{"async": "true"})))

    def job() -> Any:
        return data_of(api.client.get(data["progress"], headers=api.admin))

    until(lambda: job()["state"] == "done")
    assert job()["id"] == data["job"]


# Files that would grow


def test_a_workbook_of_many_laughs_is_refused(api: Api, dataset: str) -> None:
    sheet = f'{LAUGHS}<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">&j;</worksheet>'
    bomb = with_part(workbook(["q"], ["one"]), "xl/worksheets/sheet1.xml", sheet.encode())

    response = send(api, form(dataset, bomb, 'name="file"; filename="a.xlsx"'))

    error = error_of(response)
    assert (response.status_code, error["code"]) == (422, "unreadable_file")
    assert "a.xlsx has a document type declaration in xl/worksheets/sheet1.xml" in error["message"]
    assert left_of(api) == []


def test_a_zip_bomb_is_refused(api: Api, dataset: str) -> None:
    bomb = with_part(workbook(["q"], ["one"]), "xl/media/a.bin", bytes(80 * MB))

    response = send(api, form(dataset, bomb, 'name="file"; filename="a.xlsx"'))

    assert len(bomb) < MB
    assert error_of(response)["code"] == "unreadable_file"
    assert "83,886,080 bytes in xl/media/a.bin, over 200 times" in error_of(response)["message"]
