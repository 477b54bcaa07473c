"""Uploads over HTTP: every kind of file, jobs in the background, two clients at once, restarts, export."""

import csv
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.imports import ImportForm, import_form
from api.wiring import UPLOADS_FOLDER
from ingest.batches import BATCH_RECORDS
from ingest.chunking import ChunkOptions
from ingest.imports import import_file
from ingest.jobs import MODES, ImportSettings
from ingest.mapping import ColumnChoice
from ingest.queueing import queue_import
from ingest.rows import TableOptions
from ingest.sources import Reading
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.library import Library
from retrieval.types import Embeddings
from tests.api.conftest import DATA, opened
from tests.api.imports import PATIENCE_S, Gate, embedded_texts, questions, table, workbook
from tests.api.processes import Server, serving
from tests.api.wire import DATASETS, Api, Headers, bearer, data_of, error_of
from tests.doubles import HashEmbedder
from tests.openai_server import OpenAIServer

UPLOADS = ("template", "backup", "localFile")


class GatedEmbedder(HashEmbedder):
    """Reads passages only while its gate is open, and ``waiting`` says that some wait before it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def embed_passages(self, texts: Any) -> Embeddings:
        if not self.gate.is_set():
            self.waiting.set()
        assert self.gate.wait(PATIENCE_S)
        return super().embed_passages(texts)


@pytest.fixture
def embedder() -> Iterator[GatedEmbedder]:
    gated = GatedEmbedder()
    yield gated
    gated.gate.set()


@pytest.fixture
def dataset(api: Api) -> str:
    """An empty one."""
    dataset_id: str = data_of(api.post(f"{DATASETS}/create", {"name": "new"}))
    return dataset_id


def records(api: Api, name: str = "new") -> list[tuple[str, str]]:
    store = api.service.library.store
    return [
        (record.q, record.a)
        for collection in store.list_collections(api.dataset_id(name))
        for record in store.list_records(collection.id, limit=10_000)
    ]


def detail(api: Api, job: str, headers: Headers | None = None) -> Any:
    return data_of(api.get(f"{DATASETS}/job/detail", headers, id=job))


def over(look: Callable[[], Any]) -> Any:
    """A job when it is over, looked at again and again."""
    deadline = time.monotonic() + PATIENCE_S
    while (job := look())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return job


def begin(api: Api, dataset: str, file: str, content: bytes, **fields: Any) -> str:
    """Upload in the background; the job's id."""
    data = data_of(api.upload(dataset, file, content, **{**fields, "async": True}))
    assert list(data) == ["collectionId", "job", "progress"]
    job: str = data["job"]
    assert data["progress"] == f"{DATASETS}/job/detail?id={job}"
    return job


def wait_until_forgotten(api: Api, job: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (response := api.get(f"{DATASETS}/job/detail", id=job)).status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert error_of(response)["code"] == "job_not_found"


def uploads(api: Api) -> list[Path]:
    return list((api.service.library.data_dir / UPLOADS_FOLDER).glob("*"))


# Every kind of file


def pdf(text: str) -> bytes:
    """A page with a line of ASCII."""
    page = f"BT /F 12 Tf 72 700 Td ({text}) Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        f"<</Length {len(page)}>>stream\n{page}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, offsets = "%PDF-1.4\n", []
    for number, one in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj{one}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    tail = f"trailer<</Size 6/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 6\n0000000000 65535 f \n{table}{tail}".encode()


@pytest.mark.parametrize("path", UPLOADS)
@pytest.mark.parametrize(
    ("name", "content", "kind", "found"),
    [
        ("a.csv", "q,a\n水温？,九十度\n".encode("gbk"), "csv", ("水温？", "九十度")),
        ("a.xlsx", workbook(["q", "a"], ["How hot?", 90.5]), "xlsx", ("How hot?", "90.5")),
        (
            "a.jsonl",
            b'{"q": "How hot?", "a": "90 degrees", "indexes": ["heat"]}\n',
            "jsonl",
            ("How hot?", "90 degrees"),
        ),
        ("a.md", b"# Brewing\n\nNot quite boiling.\n", "md", ("# Brewing\n\nNot quite boiling.", "")),
        ("a.PDF", pdf("Not quite boiling."), "pdf", ("Not quite boiling.", "")),
    ],
)
def test_every_kind_of_file_can_be_uploaded(
    api: Api, dataset: str, path: str, name: str, content: bytes, kind: str, found: tuple[str, str]
) -> None:
    response = api.client.post(
        f"{DATASETS}/collection/create/{path}",
        files={"file": (name, content)},
        data={"data": json.dumps({"datasetId": dataset})},
        headers=api.admin,
    )

    data = data_of(response)
    assert data["results"]["insertLen"] == 1
    assert (data["report"]["kind"], data["report"]["collection"]) == (kind, name)
    assert [(q.strip(), a) for q, a in records(api)] == [found]
    assert uploads(api) == []


# The form


@pytest.mark.parametrize(
    "fields",
    [
        {"parentId": None, "trainingType": "chunk", "chunkSize": 512, "chunkSplitter": "", "qaPrompt": ""},
        {"chunkSize": "128", "chunkOverlap": "16", "hasHeader": "true", "metadata": {}, "tags": ["x"]},
        {"encoding": None, "delimiter": None, "sheet": None, "q": None, "indexes": None, "name": None},
        {
            "encoding": "",
            "delimiter": "",
            "sheet": "",
            "q": "",
            "a": "",
            "key": "",
            "tagsColumn": "",
            "name": "",
        },
        {"q": 1, "a": 2},
        {"q": "1", "a": "2", "indexes": []},
        {"q": "Q", "a": "a", "indexes": "", "async": "false", "mode": "append", "errors": ""},
    ],
)
def test_forms_of_other_clients_are_taken(api: Api, dataset: str, fields: dict[str, Any]) -> None:
    data = data_of(api.upload(dataset, "a.csv", b"q,a\nx,y\n", **fields))

    assert (data["results"]["insertLen"], data["report"]["collection"]) == (1, "a.csv")
    assert records(api) == [("x", "y")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mode": "merge"}, "mode"),
        ({"errors": "ignore"}, "errors"),
        ({"chunkSize": "big"}, "chunkSize"),
        ({"chunkSize": 3}, "chunkSize"),
        ({"chunkOverlap": 999}, "chunkOverlap"),
        ({"chunkSplitter": "/(/"}, "chunkSplitter"),
        ({"hasHeader": "perhaps"}, "hasHeader"),
        ({"indexes": [["x"]]}, "indexes.0"),
        ({"q": "\ud800"}, "data"),
    ],
)
def test_a_field_that_cannot_be_is_named(api: Api, dataset: str, fields: dict[str, Any], param: str) -> None:
    response = api.upload(dataset, "a.csv", b"q,a\nx,y\n", **fields)

    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (422, "invalid_request", param)
    assert records(api) == []
    assert uploads(api) == []


def test_columns_and_modes_come_in_the_form(api: Api, dataset: str) -> None:
    fields = {
        "q": "Frage",
        "a": 3,
        "indexes": [4],
        "key": "Nr",
        "tagsColumn": "Thema",
        "metadataColumns": ["Quelle"],
    }
    header = "Nr;Frage;Antwort;auch;Thema;Quelle\n"
    first = f"{header}7;Wie heiß?;Sehr;Hitze;a,b;Buch\n".encode("cp1252")
    second = f"{header}7;Wie heiß?;Kaum;Hitze;a,b;Buch\n".encode("cp1252")

    added = data_of(api.upload(dataset, "a.csv", first, **fields, encoding="cp1252"))["report"]
    updated = data_of(api.upload(dataset, "a.csv", second, **fields, encoding="cp1252", mode="upsert"))[
        "report"
    ]

    assert (added["added"], updated["updated"], updated["embedded"]) == (1, 1, 1)
    (collection,) = api.service.library.store.list_collections(dataset)
    (record,) = api.service.library.store.list_records(collection.id)
    assert (record.q, record.a, record.key) == ("Wie heiß?", "Kaum", "7")
    assert record.metadata == {"tags": ["a", "b"], "Quelle": "Buch"}


def test_a_collection_can_be_replaced(api: Api, dataset: str) -> None:
    api.upload(dataset, "a.csv", b"q,a\n1,one\n2,two\n3,three\n")

    report = data_of(api.upload(dataset, "a.csv", b"q,a\n2,two\n4,four\n", mode="replace"))["report"]

    assert [report[name] for name in ("read", "added", "unchanged", "removed", "embedded")] == [2, 1, 1, 2, 1]
    assert sorted(records(api)) == [("2", "two"), ("4", "four")]


words = st.text("aß中,; 1", min_size=1, max_size=6)
settings_of_all_kinds = st.builds(
    ImportSettings,
    file=st.just("a.csv"),
    collection=words,
    mode=st.sampled_from(MODES),
    reading=st.builds(
        Reading,
        st.builds(
            TableOptions,
            st.none() | words,
            st.none() | words,
            st.sampled_from(["strict", "replace"]),
            st.booleans(),
            st.none() | words,
        ),
        st.builds(
            ColumnChoice,
            st.none() | words,
            st.none() | words,
            st.lists(words).map(tuple),
            st.none() | words,
            st.none() | words,
            st.lists(words).map(tuple),
        ),
        st.builds(
            ChunkOptions, st.integers(64, 512), st.integers(0, 32), st.sampled_from(["", "%%", r"/\d+/"])
        ),
    ),
)


@given(settings_of_all_kinds)
def test_settings_go_over_the_wire_unchanged(settings: ImportSettings) -> None:
    sent = json.dumps(import_form("1" * 24, settings))

    form = ImportForm.model_validate_json(sent)

    assert form.to_settings("a.csv") == settings
    assert (form.dataset_id, form.is_async) == ("1" * 24, False)


# In the background


def test_a_job_in_the_background_is_looked_at_until_it_is_done(
    api: Api, dataset: str, embedder: GatedEmbedder
) -> None:
    embedder.gate.clear()
    job = begin(api, dataset, "a.csv", f"{table(BATCH_RECORDS)},no question\n".encode())
    assert embedder.waiting.wait(PATIENCE_S)
    running = detail(api, job)
    embedder.gate.set()

    done = over(lambda: detail(api, job))

    assert list(done) == [
        "id",
        "datasetId",
        "state",
        "file",
        "createTime",
        "updateTime",
        "errorCode",
        "report",
    ]
    assert (running["state"], running["report"]["read"]) == ("running", 0)
    assert (done["id"], done["datasetId"], done["file"]) == (job, dataset, "a.csv")
    assert (done["state"], done["errorCode"]) == ("done", "")
    assert done["createTime"] == running["createTime"] < running["updateTime"] < done["updateTime"]
    report = done["report"]
    assert (report["read"], report["added"], report["rejected"]) == (BATCH_RECORDS + 1, BATCH_RECORDS, 1)
    assert (report["share"], report["collection_id"] != "") == (1.0, True)
    assert data_of(api.get(f"{DATASETS}/job/list", datasetId=dataset)) == [done]
    assert uploads(api) == []


def test_a_job_that_fails_says_why(api: Api, dataset: str) -> None:
    begun = begin(api, dataset, "a.csv", b"question,answer\n1,2\n")

    job = over(lambda: detail(api, begun))

    assert (job["state"], job["errorCode"]) == ("failed", "missing_column")
    assert job["report"]["error"].startswith("the header has the columns 'question', 'answer'")
    assert uploads(api) == []


def test_a_job_is_cancelled_within_a_batch(api: Api, dataset: str, embedder: GatedEmbedder) -> None:
    content = table(3 * BATCH_RECORDS).encode()
    embedder.gate.clear()
    job = begin(api, dataset, "a.csv", content)
    assert embedder.waiting.wait(PATIENCE_S)

    with ThreadPoolExecutor(1) as other:
        cancelling = other.submit(api.post, f"{DATASETS}/job/cancel", {"id": job})
        with pytest.raises(TimeoutError):
            cancelling.result(0.3)
        embedder.gate.set()
        cancelled = data_of(cancelling.result(PATIENCE_S))

    assert (cancelled["id"], cancelled["state"]) == (job, "cancelled")
    assert cancelled["report"]["read"] <= BATCH_RECORDS
    assert len(records(api)) == cancelled["report"]["added"]
    assert uploads(api) == []
    assert data_of(api.post(f"{DATASETS}/job/cancel", {"id": job})) == cancelled

    report = data_of(api.upload(dataset, "a.csv", content))["report"]
    assert (report["job"], report["read"], report["added"]) == (job, 3 * BATCH_RECORDS, 3 * BATCH_RECORDS)
    assert embedder.texts_read == 3 * BATCH_RECORDS
    assert Counter(q for q, _ in records(api)) == Counter(questions(3 * BATCH_RECORDS))


def test_a_job_that_waits_for_its_turn_is_cancelled_at_once(
    api: Api, dataset: str, embedder: GatedEmbedder
) -> None:
    embedder.gate.clear()
    first = begin(api, dataset, "a.csv", b"q,a\n1,one\n", name="same")
    assert embedder.waiting.wait(PATIENCE_S)
    second = begin(api, dataset, "b.csv", b"q,a\n2,two\n", name="same")

    cancelled = data_of(api.post(f"{DATASETS}/job/cancel", {"id": second}))
    embedder.gate.set()

    assert (cancelled["state"], cancelled["report"]["read"]) == ("cancelled", 0)
    assert over(lambda: detail(api, first))["state"] == "done"
    assert records(api) == [("1", "one")]
    assert uploads(api) == []


def test_who_waits_for_a_job_that_is_cancelled_is_told(
    api: Api, dataset: str, embedder: GatedEmbedder
) -> None:
    embedder.gate.clear()
    with ThreadPoolExecutor(2) as others:
        uploading = others.submit(api.upload, dataset, "a.csv", table(BATCH_RECORDS + 88).encode())
        assert embedder.waiting.wait(PATIENCE_S)
        (job,) = data_of(api.get(f"{DATASETS}/job/list", datasetId=dataset))
        cancelling = others.submit(api.post, f"{DATASETS}/job/cancel", {"id": job["id"]})
        with pytest.raises(TimeoutError):
            cancelling.result(0.3)
        embedder.gate.set()
        response = uploading.result(PATIENCE_S)

    read = data_of(cancelling.result())["report"]["read"]
    assert (response.status_code, error_of(response)["code"]) == (422, "invalid_request")
    assert error_of(response)["message"] == (
        f"the import of a.csv was cancelled after {read} rows: start it again to go on"
    )


def test_searches_go_on_while_an_import_runs(api: Api, dataset: str, embedder: GatedEmbedder) -> None:
    embedder.gate.clear()
    jobs = [begin(api, dataset, f"{number}.csv", b"q,a\n1,one\n") for number in range(6)]
    assert embedder.waiting.wait(PATIENCE_S)

    found = api.search("suzume", "文字脚本的作者")["list"]
    own = api.search("new", "1\none")["list"]
    embedder.gate.set()

    assert (found[0]["q"], own) == ("剧本出自何人之手？", [])
    assert {over(lambda job=job: detail(api, job))["state"] for job in jobs} == {"done"}
    assert len(api.search("new", "1\none")["list"]) >= 1


def test_a_dataset_that_is_deleted_ends_its_imports(api: Api, dataset: str, embedder: GatedEmbedder) -> None:
    embedder.gate.clear()
    job = begin(api, dataset, "a.csv", table(BATCH_RECORDS + 88).encode())
    assert embedder.waiting.wait(PATIENCE_S)

    data_of(api.delete(f"{DATASETS}/delete", id=dataset))
    embedder.gate.set()

    wait_until_forgotten(api, job)
    assert uploads(api) == []
    assert api.post(f"{DATASETS}/create", {"name": "new"}).status_code == 200
    assert records(api) == []


def test_a_deleted_dataset_takes_its_jobs_along(api: Api, dataset: str) -> None:
    content = b"q,a\n1,one\n,none\n"
    gone = data_of(api.upload(dataset, "a.csv", content))["report"]["job"]
    kept = data_of(api.upload(api.dataset_id("coffee"), "a.csv", content))["report"]["job"]

    data_of(api.delete(f"{DATASETS}/delete", id=dataset))

    assert error_of(api.get(f"{DATASETS}/job/detail", id=gone))["code"] == "job_not_found"
    assert kept in [job["id"] for job in data_of(api.get(f"{DATASETS}/job/list"))]
    assert list(api.service.library.data_dir.rglob(f"*{gone}*")) == []
    assert api.get(f"{DATASETS}/job/rejects", id=kept).status_code == 200


def test_a_deleted_collection_takes_its_jobs_along(api: Api, dataset: str, embedder: GatedEmbedder) -> None:
    """Those that are over, and the one that runs."""
    uploaded = data_of(api.upload(dataset, "a.csv", b"q,a\n1,one\n,none\n", name="same"))
    other = data_of(api.upload(dataset, "b.csv", b"q,a\n1,one\n", idempotencyKey="b"))["report"]["job"]
    embedder.gate.clear()
    running = begin(api, dataset, "c.csv", table(BATCH_RECORDS + 88).encode(), name="same", mode="replace")
    assert embedder.waiting.wait(PATIENCE_S)

    data_of(api.delete(f"{DATASETS}/collection/delete", id=uploaded["collectionId"]))
    embedder.gate.set()

    wait_until_forgotten(api, running)
    assert [job["id"] for job in data_of(api.get(f"{DATASETS}/job/list", datasetId=dataset))] == [other]
    assert uploads(api) == []
    assert records(api) == [("1", "one")]


# Rejected rows


def test_rejected_rows_are_fetched_mended_and_uploaded_again(api: Api, dataset: str) -> None:
    first = data_of(
        api.upload(dataset, "a.csv", 'q,a\n1,one\n,"没有, 问题"\n2,two,three\n'.encode("gb18030"))
    )

    response = api.get(f"{DATASETS}/job/rejects", id=first["report"]["job"])
    header, *rows = csv.reader(response.content.decode().splitlines())
    mended = response.content.replace(b",,", ",问题,".encode(), 1)
    second = data_of(api.upload(dataset, "mended.csv", mended, name="a.csv"))

    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert f"rejected-{first['report']['job']}.csv" in response.headers["content-disposition"]
    assert header == ["#line", "#reason", "q", "a"]
    assert [row[0] for row in rows] == ["3", "4"]
    assert rows[0][1:] == ["q: q is empty", "", "没有, 问题"]
    assert first["results"]["error"][0] == {"index": 3, "error": "q is empty"}
    assert second["collectionId"] == first["collectionId"]
    assert ("问题", "没有, 问题") in records(api)


@pytest.mark.parametrize("path", ["job/detail", "job/rejects"])
def test_an_unknown_job_is_not_found(api: Api, path: str) -> None:
    for response in (
        api.get(f"{DATASETS}/{path}", id="nope"),
        api.post(f"{DATASETS}/job/cancel", {"id": "nope"}),
    ):
        assert (response.status_code, error_of(response)["code"]) == (404, "job_not_found")
        assert "'nope'" in error_of(response)["message"]


def test_a_job_that_has_not_begun_has_no_rejected_rows(api: Api, dataset: str) -> None:
    job = begin(api, dataset, "a.csv", b"question\n1\n")
    over(lambda: detail(api, job))

    response = api.get(f"{DATASETS}/job/rejects", id=job)

    assert (response.status_code, error_of(response)["code"]) == (404, "job_not_found")


# Export


def test_an_export_is_a_table_that_can_be_uploaded(api: Api, dataset: str) -> None:
    rows = 'q,a,indexes,\n"say ""so""","two\nlines",一,二\nx,=1+1,one,\n'.encode()
    api.upload(dataset, "a.csv", rows)

    response = api.get(f"{DATASETS}/exportAll", datasetId=dataset)
    copy = data_of(api.post(f"{DATASETS}/create", {"name": "copy"}))
    report = data_of(api.upload(copy, "a.csv", response.content))["report"]

    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''new.csv"
    assert response.content == 'q,a,indexes\r\n"say ""so""","two\nlines",一,二\r\nx,=1+1,one\r\n'.encode(
        "utf-8-sig"
    )
    assert (report["encoding"], report["added"], report["rejected"]) == ("utf-8-sig", 2, 0)
    assert records(api, "copy") == records(api)
    store = api.service.library.store
    assert store.count_passages(copy) == store.count_passages(dataset) == 5
    assert api.search("copy", "二")["list"][0]["score"][0]["value"] > 0.99


def test_the_name_of_an_export_may_be_any(api: Api) -> None:
    dataset = data_of(api.post(f"{DATASETS}/create", {"name": 'ü "x"; 中\r\n'}))

    response = api.get(f"{DATASETS}/exportAll", datasetId=dataset)

    assert response.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''%C3%BC%20%22x%22%3B%20%E4%B8%AD%0D%0A.csv"
    )
    assert response.content == "q,a,indexes\r\n".encode("utf-8-sig")


def test_an_unknown_dataset_is_not_exported(api: Api) -> None:
    response = api.get(f"{DATASETS}/exportAll", datasetId="nope")

    assert (response.status_code, error_of(response)["code"]) == (404, "dataset_not_found")


# The same at once, and again


def test_two_clients_that_upload_the_same_at_once_are_both_answered(
    api: Api, dataset: str, embedder: GatedEmbedder
) -> None:
    content = table(BATCH_RECORDS + 88).encode()
    embedder.gate.clear()
    with ThreadPoolExecutor(4) as clients:
        uploading = [clients.submit(api.upload, dataset, "a.csv", content) for _ in range(4)]
        assert embedder.waiting.wait(PATIENCE_S)
        embedder.gate.set()
        reports = [data_of(one.result(PATIENCE_S))["report"] for one in uploading]

    assert all(
        report["read"] == report["added"] + report["unchanged"] == BATCH_RECORDS + 88 for report in reports
    )
    assert reports[0]["added"] == BATCH_RECORDS + 88
    assert embedder.texts_read == BATCH_RECORDS + 88
    assert Counter(q for q, _ in records(api)) == Counter(questions(BATCH_RECORDS + 88))
    assert uploads(api) == []


def test_a_key_makes_a_request_count_once(sampled: Library, embedder: GatedEmbedder) -> None:
    fields = {"idempotencyKey": "monday"}
    with opened(sampled, ExtractiveCompletion()) as api:
        dataset = data_of(api.post(f"{DATASETS}/create", {"name": "new"}))
        first = data_of(api.upload(dataset, "a.csv", b"q,a\n1,one\n,x\n", **fields))
        second = data_of(api.upload(dataset, "a.csv", b"q,a\n1,one\n,x\n", **fields))
        api.upload(dataset, "b.csv", b"q,a\n2,two\n")
    with opened(sampled, ExtractiveCompletion()) as api:
        third = data_of(api.upload(dataset, "other.csv", b"q,a\n3,three\n", **fields))
        fourth = data_of(api.upload(dataset, "a.csv", b"q,a\n1,one\n,x\n", idempotencyKey="tuesday"))

        assert second == third == first
        assert (first["report"]["added"], first["report"]["rejected"]) == (1, 1)
        assert (fourth["report"]["added"], fourth["report"]["unchanged"]) == (0, 1)
        assert records(api) == [("1", "one"), ("2", "two")]
        assert uploads(api) == []


def test_a_key_of_a_request_that_failed_can_be_used_again(api: Api, dataset: str) -> None:
    assert api.upload(dataset, "a.csv", b"question\n1\n", idempotencyKey="k").status_code == 422

    report = data_of(api.upload(dataset, "a.csv", b"q,a\n1,one\n", idempotencyKey="k"))["report"]

    assert (report["state"], report["added"]) == ("done", 1)


# Who sees what


def test_a_limited_key_sees_and_cancels_jobs_of_its_datasets_only(api: Api, dataset: str) -> None:
    suzume = api.dataset_id("suzume")
    limited = api.new_key("dataset", dataset_ids=(suzume,))[1]
    foreign = data_of(api.upload(dataset, "a.csv", b"q,a\n1,one\n"))["report"]["job"]
    own = data_of(api.upload(suzume, "a.csv", b"q,a\n1,one\n", limited))["report"]["job"]

    listed = [job["id"] for job in data_of(api.get(f"{DATASETS}/job/list", limited))]
    every = [job["id"] for job in data_of(api.get(f"{DATASETS}/job/list"))]

    assert own in listed
    assert foreign not in listed
    assert {own, foreign} <= set(every)
    assert data_of(api.get(f"{DATASETS}/job/list", limited, datasetId=dataset)) == []
    assert detail(api, own, limited)["state"] == "done"
    assert data_of(api.post(f"{DATASETS}/job/cancel", {"id": own}, limited))["state"] == "done"
    assert api.get(f"{DATASETS}/job/rejects", limited, id=own).status_code == 200
    assert api.get(f"{DATASETS}/exportAll", limited, datasetId=suzume).status_code == 200
    for response in (
        api.get(f"{DATASETS}/job/detail", limited, id=foreign),
        api.post(f"{DATASETS}/job/cancel", {"id": foreign}, limited),
        api.get(f"{DATASETS}/job/rejects", limited, id=foreign),
        api.get(f"{DATASETS}/exportAll", limited, datasetId=dataset),
    ):
        assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")


def test_no_reply_has_a_path_of_this_machine(
    api: Api, dataset: str, sampled: Library, tmp_path: Path
) -> None:
    for name, content in {
        "good.csv": b"q,a\n1,one\n,x\n",
        "bad.csv": b"q,a\n\xff\xff,1\n",
        "gone.csv": b"q,a\n",
    }.items():
        (tmp_path / name).write_bytes(content)
    import_file(sampled, sampled.dataset_named("new"), tmp_path / "good.csv")
    bad = queue_import(
        sampled,
        sampled.dataset_named("new"),
        tmp_path / "bad.csv",
        ImportSettings(str(tmp_path / "bad.csv"), "bad", reading=Reading(TableOptions("utf-8"))),
    )
    gone = queue_import(
        sampled,
        sampled.dataset_named("new"),
        tmp_path / "gone.csv",
        ImportSettings(str(tmp_path / "gone.csv"), "gone"),
    )
    (tmp_path / "gone.csv").unlink()
    for job in (bad, gone):
        assert api.service.runner.submit(job).exception(PATIENCE_S)

    replies = [
        api.get(f"{DATASETS}/job/list"),
        api.get(f"{DATASETS}/job/detail", id=bad.id),
        api.get(f"{DATASETS}/job/detail", id=gone.id),
        api.post(f"{DATASETS}/job/cancel", {"id": gone.id}),
        *(
            api.upload(dataset, name, b"\xff\x00\xff", encoding="utf-8")
            for name in ("a.csv", "a.xlsx", "a.pdf", "a.docx")
        ),
        api.upload(dataset, "a.csv", b"q,a\n1,one\n"),
    ]

    assert [reply.json()["data"]["state"] for reply in replies[1:4]] == ["failed"] * 3
    assert "bad.csv" in replies[1].json()["data"]["report"]["error"]
    assert "gone.csv" in replies[2].json()["data"]["report"]["error"]
    assert [reply.status_code for reply in replies[4:]] == [422, 422, 422, 422, 200]
    assert not [reply.text for reply in replies if str(tmp_path) in reply.text]


# Servers that end


def of_server(server: Server, key: str) -> httpx2.Client:
    return httpx2.Client(base_url=server.url + DATASETS, headers=bearer(key), timeout=PATIENCE_S)


def upload_to(client: httpx2.Client, dataset: str, file: str, content: str, **fields: Any) -> Any:
    data = {"data": json.dumps({"datasetId": dataset, **fields})}
    return client.post("/collection/create/template", files={"file": (file, content)}, data=data).json()[
        "data"
    ]


def test_a_killed_server_goes_on_with_an_upload_by_itself(endpoint: OpenAIServer, tmp_path: Path) -> None:
    settings = {"EMBEDDING_BASE_URL": endpoint.url, "EMBEDDING_MODEL": "scripted"}
    data_dir, rows = tmp_path / "data", 3 * BATCH_RECORDS + 100
    gate = Gate(endpoint)
    gate.shut(f"question {2 * BATCH_RECORDS}\nanswer")
    with serving(data_dir, **settings) as server, of_server(server, server.admin_key) as client:
        dataset = client.post("/create", json={"name": "d"}).json()["data"]
        job = upload_to(client, dataset, "a.csv", table(rows), **{"async": True})["job"]
        gate.wait()
        leftover = data_dir / UPLOADS_FOLDER / "half-sent"
        leftover.mkdir()
        (leftover / "file").write_bytes(b"q,a\n")
        server.kill()
        key = server.admin_key
    gate.open()
    before = len(embedded_texts(endpoint))

    with serving(data_dir, **settings) as server, of_server(server, key) as client:
        done = over(lambda: client.get("/job/detail", params={"id": job}).json()["data"])
        again = upload_to(client, dataset, "a.csv", table(rows))["report"]
        exported = client.get("/exportAll", params={"datasetId": dataset}).content.decode("utf-8-sig")

    report = done["report"]
    assert done["state"] == "done"
    assert report["read"] == report["added"] + report["unchanged"] == rows
    assert (again["added"], again["unchanged"]) == (0, rows)
    _, *found = csv.reader(exported.splitlines())
    assert Counter(q for q, *_ in found) == Counter(questions(rows))
    # The batch in flight is embedded again, and what the server asks at its start.
    asked = [text for text in embedded_texts(endpoint)[before:] if text.startswith("question ")]
    assert len(asked) <= rows - BATCH_RECORDS
    assert list((data_dir / UPLOADS_FOLDER).iterdir()) == []


def test_uploads_that_wait_keep_no_search_from_being_answered(endpoint: OpenAIServer, tmp_path: Path) -> None:
    settings = {"EMBEDDING_BASE_URL": endpoint.url, "EMBEDDING_MODEL": "scripted"}
    clients = 60
    gate = Gate(endpoint)
    with serving(tmp_path / "data", **settings) as server, of_server(server, server.admin_key) as client:
        dataset = client.post("/create", json={"name": "d"}).json()["data"]
        upload_to(client, dataset, "suzume.csv", (DATA / "suzume.csv").read_text())
        gate.shut("held\n1")
        with ThreadPoolExecutor(clients) as pool:
            waiting = [
                pool.submit(upload_to, client, dataset, f"{number}.csv", "q,a\nheld,1\n", name="one")
                for number in range(clients)
            ]
            gate.wait()
            while len(client.get("/job/list", params={"datasetId": dataset}).json()["data"]) <= clients:
                time.sleep(0.05)
            found = client.post("/searchTest", json={"datasetId": dataset, "text": "文字脚本的作者"})
            assert found.json()["data"]["list"][0]["q"] == "剧本出自何人之手？"
            assert not any(upload.done() for upload in waiting)
            gate.open()
            reports = [upload.result(PATIENCE_S)["report"] for upload in waiting]

    assert Counter(report["added"] for report in reports) == {1: 1, 0: clients - 1}
