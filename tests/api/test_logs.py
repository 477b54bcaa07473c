"""Each request has an id, in its reply and in all that is logged for it; lines say nothing of what users wrote."""

import io
import json
import logging
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

import pytest

from api.logs import JsonFormatter, TextFormatter
from api.request_ids import REQUEST_ID, sent_or_new
from retrieval.completion import Piece, Prompt, TextDelta
from retrieval.library import Library
from tests.api.conftest import opened
from tests.api.wire import CHAT, DATASETS, Api, bearer, events_of, new_chatter

MADE = re.compile(r"[0-9a-f]{32}")

SECRET_TEXT = "a question that nobody may read"


class Logged:
    """What was logged since it began, in one of the formats."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(formatter)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.text.splitlines()]

    def access(self) -> list[Any]:
        return [line for line in self.lines if line["logger"] == "api.request_log"]


def logged(formatter: logging.Formatter) -> Iterator[Logged]:
    found, root = Logged(formatter), logging.getLogger()
    level = root.level
    root.addHandler(found.handler)
    root.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(found.handler)
    root.setLevel(level)


@pytest.fixture
def log() -> Iterator[Logged]:
    yield from logged(JsonFormatter())


@pytest.fixture
def text_log() -> Iterator[Logged]:
    yield from logged(TextFormatter())


class Talkative:
    """Logs, in whatever task it is run, and may break."""

    model = "talkative"
    context_tokens = 4096

    def __init__(self, breaks: bool = False) -> None:
        self._breaks = breaks

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        for word in ("one ", "two"):
            logging.getLogger("talkative").info("says %s", word)
            yield TextDelta(word)
        if self._breaks:
            raise RuntimeError("broken")

    async def aclose(self) -> None:
        """It has no connections."""


# Ids


@pytest.mark.parametrize("sent", ["x", "a" * 128, "!~", "0af7651916cd43dd8448eb211c80319c"])
def test_a_sane_id_is_kept(api: Api, sent: str) -> None:
    assert api.get("/health", {"X-Request-Id": sent}).headers["X-Request-Id"] == sent


@pytest.mark.parametrize("sent", [b"", b"a" * 129, b"a b", b"a\tb", b"\x7f", "ä".encode(), b"a\nb", b"\x00"])
def test_another_is_replaced(sent: bytes) -> None:
    assert MADE.fullmatch(sent_or_new([(b"x-request-id", sent)]))


def test_the_first_of_several_counts() -> None:
    assert sent_or_new([(b"other", b"o"), (b"X-Request-ID", b"one"), (b"x-request-id", b"two")]) == "one"


def test_each_request_without_one_is_given_its_own(api: Api) -> None:
    ids = {api.get("/health").headers["X-Request-Id"] for _ in range(5)}

    assert len(ids) == 5
    assert all(MADE.fullmatch(request_id) for request_id in ids)


def test_every_kind_of_reply_has_one(api: Api) -> None:
    replies = [
        api.get("/nowhere"),
        api.get(CHAT),
        api.post(f"{DATASETS}/searchTest", {}, {}),
        api.post(f"{DATASETS}/searchTest", {}),
        api.get("/docs"),
        api.get("/openapi.json"),
        api.get(f"{DATASETS}/exportAll", datasetId=api.dataset_id("suzume")),
    ]

    assert [reply.status_code for reply in replies] == [404, 405, 401, 422, 200, 200, 200]
    assert all(MADE.fullmatch(reply.headers["X-Request-Id"]) for reply in replies)


def test_a_failure_that_nobody_foresaw_has_it_in_its_reply_and_its_traceback(
    sampled: Library, log: Logged
) -> None:
    with opened(sampled, Talkative(breaks=True)) as api:
        chatter = new_chatter(api)
        body = {"messages": [{"role": "user", "content": "文字脚本的作者"}]}
        reply = api.post(CHAT, body, {**chatter.headers, "X-Request-Id": "broken-1"})

    assert (reply.status_code, reply.headers["X-Request-Id"]) == (500, "broken-1")
    (failed,) = [line for line in log.lines if "exception" in line]
    assert (failed["request_id"], failed["level"]) == ("broken-1", "error")
    assert "RuntimeError: broken" in failed["exception"]
    assert [(line["request_id"], line["status"]) for line in log.access()] == [("broken-1", 500)]


@pytest.mark.parametrize("stream", [False, True])
def test_lines_of_the_threads_that_work_for_a_request_have_its_id(
    sampled: Library, log: Logged, stream: bool
) -> None:
    with opened(sampled, Talkative()) as api:
        chatter = new_chatter(api)
        for request_id in ("first", "second"):
            body = {"messages": [{"role": "user", "content": "文字脚本的作者"}], "stream": stream}
            reply = api.post(CHAT, body, {**chatter.headers, "X-Request-Id": request_id})
            assert reply.status_code == 200
            assert reply.headers["X-Request-Id"] == request_id
            if stream:
                assert events_of(reply.text)[-1].data == "[DONE]"

    said = [(line["request_id"], line["message"]) for line in log.lines if line["logger"] == "talkative"]
    expected = [
        ("first", "says one "),
        ("first", "says two"),
        ("second", "says one "),
        ("second", "says two"),
    ]
    assert said == expected
    assert [line["request_id"] for line in log.access()] == ["first", "second"]


def test_what_no_request_causes_has_none(log: Logged) -> None:
    logging.getLogger("elsewhere").info("by itself")

    assert REQUEST_ID.get() == ""
    assert [line["request_id"] for line in log.lines] == [""]


# Lines


def test_a_line_of_a_request_says_what_it_was(api: Api, log: Logged) -> None:
    key, headers = api.new_key("dataset")
    api.post(f"{DATASETS}/list", {}, {**headers, "X-Request-Id": "r-1"})

    (line,) = log.access()

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert 0 < line.pop("duration_ms") < 60_000
    assert line.pop("message").startswith(f"POST {DATASETS}/list 200 in ")
    assert line == {
        "level": "info",
        "logger": "api.request_log",
        "request_id": "r-1",
        "method": "POST",
        "route": f"{DATASETS}/list",
        "status": 200,
        "client": "testclient",
        "key": key.id,
    }


def test_a_request_without_a_known_key_names_none(api: Api, log: Logged) -> None:
    api.post(f"{DATASETS}/list", {}, bearer("qb-admin-made-up"))

    assert [(line["status"], line["key"]) for line in log.access()] == [(401, "")]


def test_a_line_is_an_object_whatever_is_in_it(log: Logged) -> None:
    nasty = 'line\nbreak \u2028 "quotes" \ud800 \x00 \x1b[31m 新海诚'
    logging.getLogger("x").warning("%s", nasty)

    assert log.text.count("\n") == 1
    assert log.text.isascii()
    assert log.lines[0]["message"] == nasty


def test_a_line_of_text_ends_with_the_id(api: Api, text_log: Logged) -> None:
    api.get("/health", {"X-Request-Id": "r-2"})

    (line,) = [line for line in text_log.text.splitlines() if "api.request_log" in line]

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO api\.request_log: "
        r"GET /health 200 in \d+\.\d ms, client testclient, key - \[r-2\]",
        line,
    )


def test_a_traceback_in_text_follows_its_line(text_log: Logged) -> None:
    try:
        raise RuntimeError("why")
    except RuntimeError:
        logging.getLogger("x").exception("failed")

    lines = text_log.text.splitlines()
    assert lines[0].endswith("ERROR x: failed")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "RuntimeError: why"


# What is not there


def told(lines: Sequence[Any]) -> str:
    return json.dumps(lines, ensure_ascii=False)


def test_nothing_of_what_users_wrote_is_logged(api: Api, log: Logged) -> None:
    dataset = api.dataset_id("suzume")
    for mode in ("embedding", "fullTextRecall", "mixedRecall"):
        api.search("suzume", SECRET_TEXT, searchMode=mode, usingReRank=True)
    chatter = new_chatter(api)
    chatter.send(SECRET_TEXT, chatId="c")
    chatter.send(SECRET_TEXT, stream=True, detail=True)
    api.upload(dataset, "t.csv", f"q,a\n{SECRET_TEXT},{SECRET_TEXT}\n".encode())
    api.upload(dataset, "bad.csv", f"q,a\n{SECRET_TEXT}\n\xff".encode("latin-1"), encoding="utf-8")
    api.post(f"{DATASETS}/searchTest", {"datasetId": SECRET_TEXT, "text": SECRET_TEXT, "limit": SECRET_TEXT})
    api.get(f"/{SECRET_TEXT}")

    lines = [line for line in log.lines if line["logger"].startswith(("api", "ingest", "retrieval"))]

    assert len([line for line in lines if line["logger"] == "api.request_log"]) == 9
    assert SECRET_TEXT not in told(lines)


def test_no_key_is_logged_not_even_one_in_a_query(api: Api, log: Logged) -> None:
    secret = api.admin["Authorization"].split()[1]
    api.client.get("/api/support/openapi/health", params={"apiKey": secret})
    api.client.get("/nowhere", params={"apiKey": secret})
    api.get("/ready")

    ours = [line for line in log.lines if line["logger"].startswith("api")]
    assert [line["route"] for line in ours] == ["/api/support/openapi/health", "unmatched", "/ready"]
    assert secret not in told(ours)
