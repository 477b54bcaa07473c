"""FastGPT's paths of chats and apps in each of their forms, and the whole reply, field by field; and which were sent."""

import json
from collections.abc import Callable

from api.app import create_app
from tests.api.test_paths import STEPS, Step, at, plain, send
from tests.api.wire import CHAT, DATASETS, Api, new_chatter

CORE = "/api/core/chat"
APPS = "/api/core/app"
MOVES = f"{DATASETS}/training"

QUESTION = {"role": "user", "content": "文字脚本的作者"}


def asked(chat_id: str) -> Step:
    body = {"chatId": chat_id, "responseChatItemId": f"answer in {chat_id}", "messages": [QUESTION]}
    return Step(f"a turn of {chat_id}", "POST", CHAT, body)


def of_chat(chat_id: str, **fields: object) -> dict[str, object]:
    return {"appId": "{app}", "chatId": chat_id, **fields}


def both(title: str, method: str, paths: tuple[str, ...], body: object, query: dict[str, str]) -> list[Step]:
    """The same with a body on each path, and with a query on each."""
    return [
        *(Step(f"{title}, {path}", method, f"{CORE}/{path}", body) for path in paths),
        *(Step(f"{title}, {path}, by query", "GET", f"{CORE}/{path}", query=query) for path in paths),
    ]


LISTS = ("getHistories", "history/getHistories")
UPDATES = ("updateHistory", "history/updateHistory")
DELETES = ("delHistory", "history/delHistory")
CLEARS = ("clearHistories", "history/clearHistories")

CHAT_STEPS = (
    *(asked(f"chat {letter}") for letter in "abcdef"),
    *both(
        "list",
        "POST",
        LISTS,
        {"appId": "{app}", "offset": 0, "pageSize": 2, "source": "api"},
        {"appId": "{app}", "pageNum": "1", "pageSize": "2"},
    ),
    *both(
        "records",
        "POST",
        ("getPaginationRecords",),
        of_chat("chat a", offset=0, pageSize=10, loadCustomFeedbacks=True),
        {"appId": "{app}", "chatId": "chat a", "pageSize": "1"},
    ),
    *both("init", "POST", ("init",), of_chat("chat a"), {"appId": "{app}", "chatId": "a new one"}),
    *(
        Step(f"{method} {path}", method, f"{CORE}/{path}", of_chat("chat a", **change))
        for path in UPDATES
        for method, change in (("POST", {"customTitle": "my title"}), ("PUT", {"top": True}))
    ),
    Step(
        "feedback",
        "POST",
        f"{CORE}/feedback/updateUserFeedback",
        of_chat("chat a", dataId="answer in chat a", userGoodFeedback="yes"),
    ),
    Step("what came of these", "POST", f"{CORE}/getPaginationRecords", of_chat("chat a")),
    Step("what it is called", "POST", f"{CORE}/getHistories", {"appId": "{app}", "pageSize": 1}),
    Step("an item", "POST", f"{CORE}/item/delete", of_chat("chat a", contentId="answer in chat a")),
    Step(
        "an item by query",
        "DELETE",
        f"{CORE}/item/delete",
        query={"appId": "{app}", "chatId": "chat b", "contentId": "answer in chat b"},
    ),
    *(
        Step(f"POST {path}", "POST", f"{CORE}/{path}", of_chat(chat_id))
        for path, chat_id in zip(DELETES, ("chat c", "chat d"), strict=True)
    ),
    *(
        Step(f"DELETE {path}", "DELETE", f"{CORE}/{path}", query={"appId": "{app}", "chatId": chat_id})
        for path, chat_id in zip(DELETES, ("chat e", "chat f"), strict=True)
    ),
    *(Step(f"POST {path}", "POST", f"{CORE}/{path}", {"appId": "{app}"}) for path in CLEARS),
    *(Step(f"DELETE {path}", "DELETE", f"{CORE}/{path}", query={"appId": "{app}"}) for path in CLEARS),
    Step("nothing is left", "POST", f"{CORE}/getHistories", {"appId": "{app}"}),
)

APP_STEPS = (
    Step(
        "create an app",
        "POST",
        f"{APPS}/create",
        {
            "name": "films",
            "type": "simple",
            "datasetIds": ["{dataset}"],
            "searchMode": "mixedRecall",
            "topK": 5,
            "variables": [{"key": "name", "defaultValue": "Ada", "label": "Your name"}],
        },
        saved_as="made",
    ),
    Step("an app of that name", "POST", f"{APPS}/create", {"name": "films", "datasetIds": ["{dataset}"]}),
    Step("list apps", "POST", f"{APPS}/list", {"searchKey": "FILM"}),
    Step("list apps by query", "GET", f"{APPS}/list", query={"searchKey": "none of this name"}),
    Step("update an app", "PUT", f"{APPS}/update", {"welcomeText": "hello"}, query={"appId": "{made}"}),
    Step("update an app by POST", "POST", f"{APPS}/update", {"appId": "{made}", "topK": None}),
    Step("app detail", "GET", f"{APPS}/detail", query={"appId": "{made}"}),
    Step("what its chats begin with", "POST", f"{CORE}/init", {"appId": "{made}", "chatId": "a new one"}),
    *(
        Step(f"{path} for an admin", "GET", path)
        for path in ("/v1/models", "/api/v1/models", "/v1/models/films", "/api/v1/models/films")
    ),
    Step("delete an app", "DELETE", f"{APPS}/del", query={"appId": "{made}"}),
    Step("delete it again", "DELETE", f"{APPS}/delete", query={"appId": "{made}"}),
)

MOVE_STEPS = (
    Step("move", "POST", f"{MOVES}/rebuildEmbedding", {"datasetId": "{dataset}", "vectorModel": "nowhere"}),
    Step("back", "POST", f"{MOVES}/rollbackEmbedding", {"datasetId": "{dataset}"}),
    Step("discard", "POST", f"{MOVES}/discardEmbedding", {"datasetId": "{dataset}"}),
    Step("state", "GET", f"{MOVES}/rebuildState", query={"datasetId": "{dataset}"}),
)


def test_every_path_replies_as_it_did(api: Api, golden: Callable[[str, str], None]) -> None:
    chatter = new_chatter(api, welcome_text="hello")
    (app,) = api.service.apps.list()
    saved = {"app": app.id, "dataset": api.dataset_id("suzume")}
    told = []
    for step in (*CHAT_STEPS, *APP_STEPS, *MOVE_STEPS):
        response = send(api, step, saved, chatter.headers if step in CHAT_STEPS else api.admin)
        reply = response.json()
        if step.saved_as:
            saved[step.saved_as] = at(reply, step.saved_from)
        told.append(
            {
                "step": step.title,
                "request": f"{step.method} {step.path}",
                "status": response.status_code,
                "reply": reply,
            }
        )
    names = {value: f"<{name}>" for name, value in saved.items()}
    text = plain(json.dumps(told, ensure_ascii=False, indent=1), names)
    golden("chat-paths.json", text + "\n")


def test_every_path_of_fastgpts_was_sent() -> None:
    documented = {
        (method.upper(), path)
        for path, methods in create_app(None).openapi()["paths"].items()  # type: ignore[arg-type]
        for method in methods
        if path.startswith(
            ("/api/core/dataset/", "/api/core/app/", "/api/core/chat/", "/api/support/wallet/")
        )
    }
    sent = {(step.method, step.path) for step in (*STEPS, *CHAT_STEPS, *APP_STEPS, *MOVE_STEPS)}

    assert documented - sent == ELSEWHERE


ELSEWHERE = {
    *((method, f"{DATASETS}/calibration") for method in ("GET", "POST", "DELETE")),
    *(("GET", f"{DATASETS}/{path}") for path in ("calibration/heldOut", "index/status", "records")),
    *(("GET", f"{DATASETS}/job/{path}") for path in ("list", "detail", "rejects")),
    *(("POST", f"{DATASETS}/{path}") for path in ("index/rebuild", "index/verify", "job/cancel")),
    ("GET", f"{DATASETS}/exportAll"),
    ("POST", f"{DATASETS}/collection/create/link"),
}
"""Paths that FastGPT does not have, one whose reply is a table, and one that takes a server to fetch from: each has
tests of its own."""
