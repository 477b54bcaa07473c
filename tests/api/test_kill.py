"""What has been acknowledged is there after a kill, and a killed import goes on where it was."""

import json
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ingest.batches import BATCH_RECORDS
from tests.api.conftest import DATA
from tests.api.processes import Server, finish, run, serving, start
from tests.api.wire import DATASETS, bearer

pytestmark = [pytest.mark.slow, pytest.mark.model]

ROWS = 3000
PATIENCE_S = 60.0

QUESTIONS = ("执导这部动画的是哪一位", "女主角叫什么名字", "文字脚本的作者")


def upload(server: Server, key: str, dataset: str) -> Any:
    reply = httpx2.post(
        f"{server.url}{DATASETS}/collection/create/template",
        files={"file": ("suzume.csv", (DATA / "suzume.csv").read_bytes())},
        data={"data": json.dumps({"datasetId": dataset})},
        headers=bearer(key),
        timeout=PATIENCE_S,
    )
    return reply.json()["data"]["report"]


def search(server: Server, key: str, dataset: str) -> list[Any]:
    """All that is found for each question, but for how long it took."""
    replies = [
        httpx2.post(
            f"{server.url}{DATASETS}/searchTest",
            json={"datasetId": dataset, "text": question, "limit": 20_000},
            headers=bearer(key),
        ).json()["data"]
        for question in QUESTIONS
    ]
    return [reply["list"] for reply in replies]


def test_what_the_server_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        key = server.admin_key
        made = httpx2.post(f"{server.url}{DATASETS}/create", json={"name": "suzume"}, headers=bearer(key))
        dataset = made.json()["data"]
        first = upload(server, key, dataset)
        server.kill()

    with serving(tmp_path / "data") as server:
        assert server.admin_key == ""
        found = search(server, key, dataset)
        second = upload(server, key, dataset)
        server.kill()

    with serving(tmp_path / "data") as server:
        assert search(server, key, dataset) == found

    assert (first["added"], first["embedded"]) == (45, 57)
    assert (second["added"], second["unchanged"], second["embedded"]) == (0, 45, 0)
    assert [len(quotes) for quotes in found] == [45, 45, 45]


def test_searches_before_and_after_a_kill_are_the_same(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        key = server.admin_key
        made = httpx2.post(f"{server.url}{DATASETS}/create", json={"name": "suzume"}, headers=bearer(key))
        dataset = made.json()["data"]
        upload(server, key, dataset)
        before = search(server, key, dataset)
        server.kill()

    with serving(tmp_path / "data") as server:
        assert search(server, key, dataset) == before


def stored_rows(data_dir: Path) -> int:
    """Records that are committed, looked at from outside."""
    database = data_dir / "quotebase.sqlite"
    if not database.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            count: int = connection.execute("SELECT count(*) FROM records").fetchone()[0]
        connection.close()
    except sqlite3.OperationalError:
        return 0
    return count


def test_a_killed_import_goes_on_where_it_was(tmp_path: Path) -> None:
    path, data_dir = tmp_path / "many.csv", tmp_path / "data"
    questions = [f"question {number}" for number in range(ROWS)]
    path.write_text("q,a\n" + "".join(f"{question},answer\n" for question in questions))
    arguments: list[str | Path] = ["ingest", path, "--dataset", "many", "--json"]

    process = start(arguments, data_dir)
    deadline = time.monotonic() + PATIENCE_S
    while stored_rows(data_dir) < BATCH_RECORDS:
        assert time.monotonic() < deadline
        assert process.poll() is None, finish(process)
        time.sleep(0.01)
    process.kill()
    killed = finish(process)
    done = stored_rows(data_dir)
    again = run(*arguments, data_dir=data_dir)

    assert (killed.code, killed.out) == (-9, "")
    assert 0 < done < ROWS
    assert done % BATCH_RECORDS == 0
    assert again.code == 0, again.err
    report = json.loads(again.out)
    # A batch may have been stored and not noted yet.
    assert report["unchanged"] in (0, BATCH_RECORDS)
    assert (report["read"], report["rejected"]) == (ROWS, 0)
    assert report["added"] == report["embedded"] == ROWS - report["unchanged"]
    with sqlite3.connect(data_dir / "quotebase.sqlite") as connection:
        rows = Counter(q for (q,) in connection.execute("SELECT q FROM records"))
    connection.close()
    assert rows == Counter(questions)
    verified = json.loads(run("datasets", "verify", "--json", data_dir=data_dir).out)
    assert (verified["clean"], verified["passages"]) == (True, {"many": ROWS})


def test_an_interrupted_import_says_how_to_go_on(tmp_path: Path) -> None:
    path, data_dir = tmp_path / "many.csv", tmp_path / "data"
    path.write_text("q,a\n" + "".join(f"question {number},answer\n" for number in range(ROWS)))
    process = start(["ingest", path, "--dataset", "many"], data_dir)
    deadline = time.monotonic() + PATIENCE_S
    while stored_rows(data_dir) < BATCH_RECORDS:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    process.send_signal(signal.SIGINT)
    ran = finish(process)

    assert (ran.code, ran.out) == (130, "")
    assert ran.err == (
        "quotebase: interrupted; what was committed stays, the same command goes on from there\n"
    )
    assert stored_rows(data_dir) % BATCH_RECORDS == 0
