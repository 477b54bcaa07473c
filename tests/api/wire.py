"""Speaking to the application over a library of our own, and reading what it says."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

from api.app import create_app
from api.apps import App, new_app
from api.keys import Key, KeyKind
from api.wiring import Service

CHAT = "/api/v1/chat/completions"
DATASETS = "/api/core/dataset"

SCORE_DIGITS = 6
"""The further ones depend on the order in which a processor adds up."""

Headers = dict[str, str]


def bearer(secret: str) -> Headers:
    return {"Authorization": f"Bearer {secret}"}


class Api:
    """The application, with an admin key at hand."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.client = TestClient(create_app(service), raise_server_exceptions=False)
        self.admin = self.new_key("admin")[1]

    def new_key(self, kind: KeyKind, **opens: Any) -> tuple[Key, Headers]:
        key, secret = self.service.keys.create(kind, **opens)
        return key, bearer(secret)

    def new_app(self, *datasets: str, **settings: Any) -> App:
        """An app over the datasets of these names."""
        ids = tuple(self.dataset_id(name) for name in datasets)
        count = len(self.service.apps.list())
        return self.service.apps.create(new_app(f"app {count}", ids, **settings))

    def dataset_id(self, name: str) -> str:
        return self.service.library.dataset_named(name).id

    def post(self, path: str, body: object = None, headers: Headers | None = None) -> Response:
        return self.client.post(path, json=body, headers=self.admin if headers is None else headers)

    def get(self, path: str, headers: Headers | None = None, **params: str) -> Response:
        return self.client.get(path, params=params, headers=self.admin if headers is None else headers)

    def delete(self, path: str, headers: Headers | None = None, **params: str) -> Response:
        return self.client.delete(path, params=params, headers=self.admin if headers is None else headers)

    def upload(
        self, dataset_id: str, file_name: str, content: bytes, headers: Headers | None = None, **data: str
    ) -> Response:
        return self.client.post(
            f"{DATASETS}/collection/create/template",
            files={"file": (file_name, content, "text/csv")},
            data={"data": json.dumps({"datasetId": dataset_id, **data})},
            headers=self.admin if headers is None else headers,
        )

    def search(self, dataset: str, text: str, **fields: Any) -> Any:
        """The data of a searchTest that succeeds."""
        body = {"datasetId": self.dataset_id(dataset), "text": text, **fields}
        return data_of(self.post(f"{DATASETS}/searchTest", body))


@dataclass(frozen=True)
class Chatter:
    """Whoever has an app key."""

    api: Api
    headers: Headers

    def send(self, question: object, **fields: Any) -> Response:
        """A question, or with ``messages`` whole conversations."""
        body = {"messages": [{"role": "user", "content": question}], **fields}
        return self.api.post(CHAT, body, self.headers)

    def answer(self, question: object, **fields: Any) -> str:
        """The answer of a chat that succeeds."""
        response = self.send(question, **fields)
        assert response.status_code == 200, response.text
        text: str = response.json()["choices"][0]["message"]["content"]
        return text


def new_chatter(api: Api, *datasets: str, **settings: Any) -> Chatter:
    """A fresh app over the datasets, ``suzume`` by default, and a key to it."""
    app = api.new_app(*(datasets or ("suzume",)), **settings)
    return Chatter(api, api.new_key("app", app_id=app.id)[1])


@dataclass(frozen=True)
class Event:
    """A server-sent event; ``name`` is ``None`` where it has no ``event:`` line."""

    name: str | None
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def events_of(text: str) -> list[Event]:
    """Events of a stream, which has nothing else in it: ``[event: NAME⏎]data: DATA⏎⏎`` each."""
    pattern = re.compile(r"(?:event: (\w+)\n)?data: ([^\n]*)\n\n")
    events, place = [], 0
    while place < len(text):
        found = pattern.match(text, place)
        assert found, f"no event begins at {text[place : place + 80]!r}"
        events.append(Event(found[1], found[2]))
        place = found.end()
    return events


def said(events: list[Event]) -> str:
    """The pieces of the answer put together."""
    chunks = [event.json for event in events if event.name in (None, "answer") and event.data != "[DONE]"]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if "choices" in chunk)


def data_of(response: Response) -> Any:
    """What is in the envelope of a success."""
    body = response.json()
    assert response.status_code == 200, body
    assert list(body) == ["code", "statusText", "message", "data"]
    assert (body["code"], body["statusText"], body["message"]) == (200, "", "")
    return body["data"]


def error_of(response: Response) -> Mapping[str, Any]:
    """The ``error`` object of a failure, after a look at the envelope around it."""
    body = response.json()
    assert list(body) == ["code", "statusText", "message", "data", "error"]
    assert list(body["error"]) == ["message", "type", "code", "param"]
    assert body["code"] == response.status_code
    assert body["statusText"] == body["error"]["code"]
    assert body["message"] == body["error"]["message"] != ""
    assert body["data"] is None
    error: Mapping[str, Any] = body["error"]
    return error


def normalised(text: str) -> str:
    """Ids numbered as they appear, times 0, scores to six digits; else to the letter."""
    ids: dict[str, int] = {}
    text = re.sub(r'"[0-9a-f]{24}"', lambda found: f'"<id {ids.setdefault(found[0], len(ids) + 1)}>"', text)
    text = re.sub(r'"(created|runningTime)":\d+(\.\d+)?', r'"\1":0', text)
    return re.sub(r'"score":(\d\.\d+)', lambda found: f'"score":{round(float(found[1]), SCORE_DIGITS)}', text)
