"""A real server in a process of its own, and what only that can show."""

import json
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import openai
import pytest

from api.settings import Settings
from api.wiring import open_documents
from tests.api.commands import RunHere, json_of
from tests.api.conftest import DATA
from tests.api.processes import Ran, Server, finish, run, serving, start
from tests.api.wire import CHAT, DATASETS, bearer, events_of, said
from tests.doubles import HashEmbedder
from tests.openai_server import OpenAIServer, answer, closed_port, cut_off, endless, openai_server

QUESTION = "文字脚本的作者"
ANSWER = "剧本由新海诚亲自撰写，他同时写了同名小说。"

WAIT_S = 10.0


# The bundled model and the extractive backend, as after an installation


@pytest.fixture(scope="module")
def bundled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("bundled") / "data"
    with serving(data_dir) as server:
        ran = run("ingest", DATA / "suzume.csv", "--dataset", "suzume", data_dir=data_dir)
        assert ran.code == 0, ran.err
        yield server


@pytest.fixture(scope="module")
def app_key(bundled_server: Server) -> str:
    """Made by the command line while the server runs."""
    data_dir = bundled_server.data_dir
    made = run("apps", "create", "film", "--dataset", "suzume", "--empty-reply", "nothing", data_dir=data_dir)
    assert made.code == 0, made.err
    return run("keys", "create", "--app", "film", data_dir=data_dir).out.strip()


@pytest.fixture
def client(bundled_server: Server, app_key: str) -> Iterator[openai.OpenAI]:
    """The official client, with nothing changed but what an existing user would change."""
    with openai.OpenAI(base_url=f"{bundled_server.url}/v1", api_key=app_key) as opened:
        yield opened


@pytest.mark.model
def test_the_official_client_gets_an_answer(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": QUESTION}], temperature=0.3
    )

    assert reply.object == "chat.completion"
    assert reply.choices[0].message.content == ANSWER
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == "extractive"
    assert abs(reply.created - time.time()) < 60
    assert reply.usage
    assert reply.usage.prompt_tokens > reply.usage.completion_tokens > 0
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@pytest.mark.model
def test_the_official_client_gets_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": QUESTION}], stream=True
    ) as stream:
        chunks = list(stream)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [*[None] * (len(chunks) - 1), "stop"]
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.model
def test_the_official_client_is_given_fastgpts_fields_too(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": QUESTION}],
        extra_body={"chatId": "abcd", "detail": True, "variables": {"name": "张三"}},
    )

    assert reply.id == "abcd"
    search, chat = reply.model_dump()["responseData"]
    assert search["model"] == "multilingual-e5-small"
    assert chat["quoteList"][0]["a"] == ANSWER


@pytest.mark.model
def test_the_official_client_lists_apps_as_models(bundled_server: Server, client: openai.OpenAI) -> None:
    (listed,) = client.models.list()
    admin = client.with_options(api_key=bundled_server.admin_key)

    assert (listed.id, listed.object, listed.owned_by) == ("film", "model", "quotebase")
    assert abs(listed.created - time.time()) < 600
    assert client.models.retrieve("film") == listed
    assert admin.models.retrieve("film") == listed
    with pytest.raises(
        openai.NotFoundError, match=r"opens no app named 'gpt-4o' \(it opens: film\)"
    ) as unknown:
        client.models.retrieve("gpt-4o")
    assert unknown.value.code == "app_not_found"
    with httpx2.Client(base_url=bundled_server.url, headers=bearer(bundled_server.admin_key)) as http:
        made = http.post("/api/support/openapi/create", json={"kind": "dataset"}).json()["data"]
    with pytest.raises(openai.PermissionDeniedError, match="this is a dataset key"):
        client.with_options(api_key=made["key"]).models.list()


@pytest.mark.model
def test_the_official_client_can_read_our_errors(bundled_server: Server, client: openai.OpenAI) -> None:
    question: list[Any] = [{"role": "user", "content": "x"}]
    with pytest.raises(openai.AuthenticationError) as unauthorized:
        client.with_options(api_key="sk-wrong").chat.completions.create(model="m", messages=question)
    assert unauthorized.value.code == "unauthorized"

    admin = client.with_options(api_key=bundled_server.admin_key)
    with pytest.raises(openai.PermissionDeniedError, match="chat takes an app key only"):
        admin.chat.completions.create(model="m", messages=question)

    with pytest.raises(openai.BadRequestError) as bad_chat_id:
        client.chat.completions.create(model="m", messages=question, extra_body={"chatId": ""})
    assert (bad_chat_id.value.code, bad_chat_id.value.param) == ("invalid_chat_id", "chatId")

    with pytest.raises(openai.NotFoundError, match=r"did you mean /v1/chat/completions\?"):
        client.with_options(base_url=f"{bundled_server.url}/v1/v1").chat.completions.create(
            model="m", messages=question
        )


@pytest.mark.model
def test_the_first_start_gives_an_admin_key(bundled_server: Server) -> None:
    reply = httpx2.post(
        f"{bundled_server.url}{DATASETS}/list", json={}, headers=bearer(bundled_server.admin_key)
    )

    assert bundled_server.admin_key.startswith("qb-admin-")
    assert [item["name"] for item in reply.json()["data"]] == ["suzume"]


@pytest.mark.model
def test_no_key_gets_into_the_log(bundled_server: Server, app_key: str) -> None:
    path = "/api/support/openapi/health"
    assert httpx2.get(bundled_server.url + path, params={"apiKey": app_key}).json()["data"]["valid"]

    log = bundled_server.log.read_text()

    assert path in log
    assert app_key not in log
    assert bundled_server.admin_key not in log


@pytest.mark.model
def test_a_second_server_on_the_same_directory_says_so(bundled_server: Server) -> None:
    ran = run("serve", "--port", "0", data_dir=bundled_server.data_dir)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"quotebase: the data directory {bundled_server.data_dir} is in use")
    assert ran.err.count("\n") == 1


@pytest.mark.model
def test_a_port_that_is_taken_is_told_in_one_line(bundled_server: Server, tmp_path: Path) -> None:
    port = str(urlsplit(bundled_server.url).port)

    ran = run("serve", "--port", port, data_dir=tmp_path / "data")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"quotebase: cannot listen on 127.0.0.1:{port} (Address already in use): set QUOTEBASE_HOST and "
        "QUOTEBASE_PORT to a free one\n"
    )


# With a server on the directory, the command line goes through it


@pytest.mark.model
def test_search_and_ask_go_through_the_server(bundled_server: Server, run_here: RunHere) -> None:
    data_dir = bundled_server.data_dir
    (dataset,) = json_of(run_here("datasets", "list", "--json", data_dir=data_dir))
    reply = httpx2.post(
        f"{bundled_server.url}{DATASETS}/searchTest",
        json={"datasetId": dataset["id"], "text": QUESTION, "limit": 500},
        headers=bearer(bundled_server.admin_key),
    ).json()["data"]
    quotes = reply["list"]
    assert len(quotes) > 4

    similarity = str(quotes[3]["score"][0]["value"])
    arguments = ("suzume", QUESTION, "--limit", "500", "--json")
    found = json_of(run_here("search", *arguments, data_dir=data_dir))
    similar = json_of(run_here("search", *arguments, "--similarity", similarity, data_dir=data_dir))
    best = json_of(run_here("search", *arguments, "--top-k", "1", data_dir=data_dir))
    asked = json_of(run_here("ask", *arguments, "--similarity", similarity, data_dir=data_dir))

    assert found["list"] == quotes
    assert list(found) == list(reply)
    assert (similar["list"], similar["limit"]) == (quotes[:4], 500)
    assert similar["similarity"] == quotes[3]["score"][0]["value"]
    assert best["list"] == quotes[:1]
    assert asked == {"answer": ANSWER, "quotes": quotes[:4]}


@pytest.mark.model
def test_what_is_wrong_is_told_by_the_server_in_one_line(
    bundled_server: Server, run_here: RunHere, tmp_path: Path
) -> None:
    data_dir = bundled_server.data_dir
    bad = tmp_path / "bad.csv"
    bad.write_text("question,answer\n1,2\n")

    missing = run_here("search", "nope", "x", data_dir=data_dir)
    empty = run_here("search", "suzume", " ", data_dir=data_dir)
    unreadable = run_here("ingest", bad, "--dataset", "suzume", data_dir=data_dir)

    assert [(ran.code, ran.out, ran.err.count("\n")) for ran in (missing, empty, unreadable)] == [
        (1, "", 1)
    ] * 3
    assert missing.err.startswith("quotebase: there is no dataset named 'nope' (there are: suzume)")
    assert empty.err == "quotebase: the question is empty: give some text to search for\n"
    assert unreadable.err.startswith("quotebase: the header has the columns 'question', 'answer'")


@pytest.mark.model
def test_ingest_and_delete_go_through_the_server(
    bundled_server: Server, run_here: RunHere, tmp_path: Path
) -> None:
    data_dir = bundled_server.data_dir
    name = 'über "my" / 中文.csv'
    options = ("--dataset", "coffee", "--collection", name, "--json")

    first = json_of(run_here("ingest", DATA / "coffee.csv", *options, data_dir=data_dir))
    second = json_of(run_here("ingest", DATA / "coffee.csv", *options, data_dir=data_dir))
    found = json_of(run_here("search", "coffee", "ideal brewing temperature", "--json", data_dir=data_dir))
    deleted = run_here("datasets", "delete", "coffee", data_dir=data_dir)

    assert (first["added"], first["embedded"], second["added"], second["unchanged"]) == (45, 57, 0, 45)
    assert [file["collection"] for file in first["files"]] == [name]
    assert [file["file"] for file in first["files"]] == [str(DATA / "coffee.csv")]
    assert found["list"][0]["q"] == "What water temperature is best for brewing?"
    assert found["list"][0]["sourceName"] == name
    assert deleted == Ran(0, "deleted coffee\n", "")
    datasets = json_of(run_here("datasets", "list", "--json", data_dir=data_dir))
    assert [dataset["name"] for dataset in datasets] == ["suzume"]


@pytest.mark.model
def test_apps_and_keys_made_and_revoked_beside_the_server_count_at_once(
    bundled_server: Server, run_here: RunHere
) -> None:
    data_dir = bundled_server.data_dir

    def status(key: str) -> int:
        body = {"messages": [{"role": "user", "content": QUESTION}]}
        return httpx2.post(bundled_server.url + CHAT, json=body, headers=bearer(key)).status_code

    run_here("apps", "create", "at once", "--dataset", "suzume", data_dir=data_dir)
    key = json_of(run_here("keys", "create", "--app", "at once", "--json", data_dir=data_dir))
    assert status(key["key"]) == 200

    run_here("keys", "revoke", key["id"], data_dir=data_dir)
    assert status(key["key"]) == 401

    other = json_of(run_here("keys", "create", "--app", "at once", "--json", data_dir=data_dir))
    run_here("apps", "delete", "at once", data_dir=data_dir)
    assert status(other["key"]) == 401


# A server over a scripted endpoint, which starts at once and says what it was asked


@pytest.fixture(scope="module")
def answers() -> Iterator[OpenAIServer]:
    """The completion backend of the server."""
    with openai_server() as server:
        yield server


@pytest.fixture(scope="module")
def scripted(answers: OpenAIServer) -> Iterator[dict[str, str]]:
    """Settings: embeddings and answers from scripted servers."""
    with openai_server() as embeddings:
        yield {
            "EMBEDDING_BASE_URL": embeddings.url,
            "EMBEDDING_MODEL": "scripted",
            "COMPLETION_BASE_URL": answers.url,
            "COMPLETION_MODEL": "scripted",
        }


@pytest.fixture(scope="module")
def scripted_server(scripted: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("scripted") / "data"
    with serving(data_dir, **scripted) as server:
        fill(server)
        yield server


def fill(server: Server) -> None:
    """Make the dataset ``suzume``, and search it once."""
    with httpx2.Client(base_url=server.url + DATASETS, headers=bearer(server.admin_key)) as client:
        dataset = client.post("/create", json={"name": "suzume"}).json()["data"]
        upload = client.post(
            "/collection/create/template",
            files={"file": ("suzume.csv", (DATA / "suzume.csv").read_bytes())},
            data={"data": json.dumps({"datasetId": dataset})},
        )
        assert upload.json()["data"]["results"]["insertLen"] == 45
        found = client.post("/searchTest", json={"datasetId": dataset, "text": QUESTION})
        assert found.json()["data"]["list"][0]["a"] == ANSWER


@pytest.fixture(scope="module")
def scripted_key(scripted_server: Server) -> str:
    run("apps", "create", "film", "--dataset", "suzume", data_dir=scripted_server.data_dir)
    return run("keys", "create", "--app", "film", data_dir=scripted_server.data_dir).out.strip()


def turns(server: Server, question: str) -> list[Any]:
    """What is stored of a question, read beside the server."""
    with open_documents(Settings(data_dir=server.data_dir)) as store:
        bodies = [document.body for document in store.list_documents("turn")]
    return [body for body in bodies if body["question"] == question]


def wait_for_turn(server: Server, question: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not turns(server, question):
        assert time.monotonic() < deadline, "no turn was stored"
        time.sleep(0.05)
    (turn,) = turns(server, question)
    return turn


@pytest.mark.parametrize("detail", [False, True])
def test_a_client_that_hangs_up_ends_the_call_and_leaves_a_broken_turn(
    scripted_server: Server, scripted_key: str, answers: OpenAIServer, detail: bool
) -> None:
    hung_up = threading.Event()
    answers.script(endless("on and ", hung_up), answer("well"))
    url, headers, first = scripted_server.url + CHAT, bearer(scripted_key), f"first {detail}"

    def body(question: str, **fields: Any) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": question}], "chatId": f"c {detail}", **fields}

    received: list[str] = []
    with httpx2.stream("POST", url, json=body(first, stream=True, detail=detail), headers=headers) as reply:
        for line in reply.iter_lines():
            received.append(line)
            if len(received) == 20:
                break

    assert hung_up.wait(WAIT_S)
    turn = wait_for_turn(scripted_server, first)
    assert turn["complete"] is False
    assert turn["answer"].startswith("on and on and on and ")
    reply = httpx2.post(url, json=body("second"), headers=headers)
    assert reply.json()["choices"][0]["message"]["content"] == "well"
    messages = answers.requests[-1].body["messages"]
    assert messages[-3:] == [
        {"role": "user", "content": first},
        {"role": "assistant", "content": turn["answer"]},
        {"role": "user", "content": "second"},
    ]


def test_every_piece_goes_out_when_it_comes(
    scripted_server: Server, scripted_key: str, answers: OpenAIServer
) -> None:
    answers.script(endless("on and ", threading.Event()))
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}

    with httpx2.stream("POST", scripted_server.url + CHAT, json=body, headers=bearer(scripted_key)) as reply:
        assert reply.headers["cache-control"] == "no-cache"
        assert reply.headers["x-accel-buffering"] == "no"
        lines = reply.iter_lines()
        first = [next(lines) for _ in range(6)]

    # The backend never ends, so whatever came was not held back.
    assert said(events_of("\n".join(first) + "\n")) == "on and on and on and "


def test_a_backend_that_breaks_off_ends_the_stream_with_an_error(
    scripted_server: Server, scripted_key: str, answers: OpenAIServer
) -> None:
    answers.script(cut_off("half"))
    client = openai.OpenAI(base_url=f"{scripted_server.url}/v1", api_key=scripted_key, max_retries=0)

    pieces: list[Any] = []
    with (
        client,
        pytest.raises(openai.APIError, match="the completion backend failed") as caught,
    ):
        pieces.extend(
            client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": QUESTION}], stream=True
            )
        )

    assert [chunk.choices[0].delta.content for chunk in pieces] == ["half"]
    assert caught.value.code == "completion_failed"


def test_the_address_can_be_connected_to_as_soon_as_it_is_said(
    scripted: dict[str, str], tmp_path: Path
) -> None:
    with serving(tmp_path / "data", **scripted) as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=WAIT_S) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_asked_to_stop_tidies_up(
    scripted: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir, **scripted) as server:
        assert stat.S_IMODE((data_dir / "server.json").stat().st_mode) == 0o600
        fill(server)

        assert server.stop(number) == 0

    assert not (data_dir / "server.json").exists()
    assert len(list((data_dir / "indexes").iterdir())) == 1
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_a_server_without_its_embedding_endpoint_starts_and_says_so(tmp_path: Path) -> None:
    with openai_server() as there:
        settings = {"EMBEDDING_BASE_URL": there.url, "EMBEDDING_MODEL": "scripted"}
        run("ingest", DATA / "suzume.csv", "--dataset", "suzume", data_dir=tmp_path / "data", **settings)
    with closed_port() as port:
        settings["EMBEDDING_BASE_URL"] = f"http://127.0.0.1:{port}/v1"
        with serving(tmp_path / "data", **settings) as server:
            assert "searches and imports will fail until this is mended" in server.log.read_text()
            assert httpx2.get(f"{server.url}/health").json() == {"status": "ok"}


# Commands that cannot be tried in this process


@pytest.mark.slow
def test_services_that_cannot_be_reached_are_told_in_one_line(
    scripted: dict[str, str], tmp_path: Path
) -> None:
    data_dirs = [tmp_path / name for name in ("a", "b", "c")]
    for data_dir in data_dirs[:2]:
        assert run("ingest", DATA / "suzume.csv", "--dataset", "d", data_dir=data_dir, **scripted).code == 0
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/v1"
        # They wait a while before they give up, so all at the same time.
        processes = [
            start(["search", "d", "x"], data_dirs[0], **{**scripted, "EMBEDDING_BASE_URL": url}),
            start(["ask", "d", "x"], data_dirs[1], **{**scripted, "COMPLETION_BASE_URL": url}),
            start(["datasets", "list"], data_dirs[2], MONGODB_URI=f"mongodb://127.0.0.1:{port}/q"),
        ]
        embedding, completion, mongodb = [finish(process) for process in processes]

    assert [(ran.code, ran.out, ran.err.count("\n")) for ran in (embedding, completion, mongodb)] == [
        (1, "", 1)
    ] * 3
    assert embedding.err.startswith(f"quotebase: the embedding endpoint failed: {url} cannot be reached")
    assert "QUOTEBASE_EMBEDDING_BASE_URL" in embedding.err
    assert completion.err.startswith(f"quotebase: the completion backend failed: {url} cannot be reached")
    assert "QUOTEBASE_COMPLETION_BASE_URL" in completion.err
    assert mongodb.err.startswith("quotebase: ")
    assert f"127.0.0.1:{port}" in mongodb.err
    assert "QUOTEBASE_MONGODB_URI" in mongodb.err


# Indexes and ready-made embeddings through the server


def test_indexes_are_listed_verified_and_rebuilt_through_the_server(
    scripted: dict[str, str], run_here: RunHere, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir, **scripted) as server:
        fill(server)

        (row,) = json_of(run_here("datasets", "list", "--json", data_dir=data_dir))
        clean = json_of(run_here("datasets", "verify", "--json", data_dir=data_dir))
        rebuilt = json_of(run_here("datasets", "rebuild", "suzume", "--json", data_dir=data_dir))
        (after,) = json_of(run_here("datasets", "list", "--json", data_dir=data_dir))
        said = [
            run_here("datasets", *what, data_dir=data_dir) for what in (["verify"], ["rebuild", "suzume"])
        ]
        missing = run_here("datasets", "rebuild", "nope", data_dir=data_dir)

    # The files know of no memory that an index takes: the server was asked.
    assert (row["index"], row["parts"]["is_loaded"], row["parts"]["flat"]) == ("57 flat", True, 57)
    assert row["bytes_per_passage"] == round(row["parts"]["memory_bytes"] / 57) > 128
    assert clean == {
        "clean": True,
        "repaired_batches": 0,
        "orphans_removed": 0,
        "differences": {},
        "text_differences": {},
        "passages": {"suzume": 57},
    }
    assert (rebuilt["passages"], rebuilt["sealed"], rebuilt["flat"]) == (57, 57, 0)
    assert (after["parts"], after["index"]) == (rebuilt, "57 sealed exact")
    assert said == [
        Ran(0, "suzume: 57 passages\nclean\n", ""),
        Ran(0, "suzume: 57 passages, 57 sealed exact\n", ""),
    ]
    assert missing == Ran(
        1,
        "",
        "quotebase: there is no dataset named 'nope' (there are: suzume): create it by importing a file into it\n",
    )


def test_verify_through_the_server_tells_what_differs(
    scripted: dict[str, str], run_here: RunHere, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir, **scripted) as server:
        fill(server)
        with open_documents(Settings(data_dir=data_dir)) as store:
            (dataset,) = store.list_datasets()
            (collection,) = store.list_collections(dataset.id)
            own = store.records_in(
                dataset.id, [record.id for record in store.list_records(collection.id, limit=3)]
            )
            gone = len(store.passage_ids_of(own))
            store.delete_records(own)

        first, second = (run_here("datasets", "verify", data_dir=data_dir) for _ in range(2))

    assert first.out.splitlines() == [
        f"suzume: {57 - gone} passages, not in its index as in the store ({gone} surplus): the index is made again",
        "0 half-written batches and 0 orphans mended",
    ]
    assert (first.code, first.err) == (0, "")
    assert second == Ran(0, f"suzume: {57 - gone} passages\nclean\n", "")


def test_vectors_go_through_the_server(scripted: dict[str, str], run_here: RunHere, tmp_path: Path) -> None:
    data_dir, table, vectors = tmp_path / "data", tmp_path / "t.jsonl", tmp_path / "v.npy"
    table.write_text('{"q": "q1", "a": "a1", "indexes": ["x"]}\n{"a": "refused"}\n{"q": "q2"}\n')
    np.save(vectors, HashEmbedder().embed_passages(["one", "two", "out", "three"]))
    arguments = ("ingest", table, "--dataset", "d", "--vectors", vectors)
    with serving(data_dir, **scripted):
        first, second = (json_of(run_here(*arguments, "--json", data_dir=data_dir)) for _ in range(2))
        found = json_of(run_here("search", "d", "three", "--top-k", "1", "--json", data_dir=data_dir))
        (row,) = json_of(run_here("datasets", "list", "--json", data_dir=data_dir))
        np.save(vectors, np.ones((5, 64)))
        unfit = run_here(*arguments, data_dir=data_dir)
        vectors.unlink()
        missing = run_here(*arguments, data_dir=data_dir)

    counts = ("read", "added", "unchanged", "rejected", "embedded")
    assert [first[count] for count in counts] == [3, 2, 0, 1, 0]
    assert [second[count] for count in counts] == [3, 0, 2, 1, 0]
    assert first["files"][0]["problems"] == [{"line": 2, "column": "q", "reason": "q is empty"}]
    (quote,) = found["list"]
    assert (quote["q"], quote["sourceName"]) == ("q2", "t.jsonl")
    assert quote["score"][0]["value"] == pytest.approx(1, abs=1e-3)
    assert (row["records"], row["passages"]) == (2, 3)
    assert [(ran.code, ran.out, ran.err.count("\n")) for ran in (unfit, missing)] == [(1, "", 1)] * 2
    assert "has 5 vectors and the table 4 texts" in unfit.err
    assert missing.err == f"quotebase: {vectors} cannot be read: No such file or directory\n"
