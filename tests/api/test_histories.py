"""The chats of a key over the wire: lists, records, titles, deleting, feedback; whose they are; many at once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.apps import Variable
from api.chat.history import ABOUT_KIND, KIND, Place
from api.keys import Key
from retrieval.completion import Message
from retrieval.types import Document
from tests.api.wire import Api, Chatter, data_of, error_of, new_chatter
from tests.openai_server import OpenAIServer, cut_off

PATH = "/api/core/chat"
LISTS = (f"{PATH}/getHistories", f"{PATH}/history/getHistories")

FORMS = (
    *(("POST", path) for path in LISTS),
    *(("GET", path) for path in LISTS),
    *((method, f"{PATH}/getPaginationRecords") for method in ("POST", "GET")),
    *((method, f"{PATH}/init") for method in ("POST", "GET")),
    *((method, f"{PATH}{at}/updateHistory") for method in ("POST", "PUT") for at in ("", "/history")),
    *((method, f"{PATH}{at}/delHistory") for method in ("POST", "DELETE") for at in ("", "/history")),
    *((method, f"{PATH}{at}/clearHistories") for method in ("POST", "DELETE") for at in ("", "/history")),
    *((method, f"{PATH}/item/delete") for method in ("POST", "DELETE")),
    ("POST", f"{PATH}/feedback/updateUserFeedback"),
)
"""Every path in each of its forms."""

LOOKS = [form for form in FORMS if form[1] in (*LISTS, f"{PATH}/getPaginationRecords", f"{PATH}/init")]
CHANGES = [form for form in FORMS if form not in LOOKS]


def ask(chatter: Chatter, form: tuple[str, str], **fields: Any) -> Any:
    """The response: fields go in the query of GET and DELETE, else in the body."""
    method, path = form
    place = "params" if method in ("GET", "DELETE") else "json"
    return chatter.api.client.request(method, path, headers=chatter.headers, **{place: fields})


def got(chatter: Chatter, form: tuple[str, str], **fields: Any) -> Any:
    return data_of(ask(chatter, form, **fields))


def chats(chatter: Chatter, **fields: Any) -> list[str]:
    return [chat["chatId"] for chat in got(chatter, ("POST", LISTS[0]), **fields)["list"]]


def records(chatter: Chatter, chat_id: str, **fields: Any) -> Any:
    return got(chatter, ("POST", f"{PATH}/getPaginationRecords"), chatId=chat_id, **fields)


def texts(chatter: Chatter, chat_id: str, **fields: Any) -> list[str]:
    return [item["value"][0]["text"]["content"] for item in records(chatter, chat_id, **fields)["list"]]


def whole_key(chatter: Chatter) -> Key:
    key = chatter.api.service.keys.find(chatter.headers["Authorization"].removeprefix("Bearer "))
    assert key is not None
    return key


def app_of(chatter: Chatter) -> str:
    return whole_key(chatter).app_id


def key_of(chatter: Chatter) -> str:
    return whole_key(chatter).id


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a second after the one before."""
    moments = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(10_000))
    monkeypatch.setattr("api.chat.history.now", lambda: next(moments))


# Lists


@pytest.mark.parametrize("form", [form for form in FORMS if form[1] in LISTS])
@pytest.mark.usefixtures("later")
def test_chats_are_listed_latest_first(chatter: Chatter, form: tuple[str, str]) -> None:
    for chat_id in ("a", "b", "c", "a"):
        chatter.answer("文字脚本的作者", chatId=chat_id)

    page = got(chatter, form, appId=app_of(chatter), offset=0, pageSize=2, source="api")

    assert page["total"] == 3
    assert [chat["chatId"] for chat in page["list"]] == ["a", "c"]
    assert page["list"][0] == {
        "chatId": "a",
        "updateTime": "2026-01-01T00:00:03.000Z",
        "appId": app_of(chatter),
        "customTitle": "",
        "title": "文字脚本的作者",
        "top": False,
        "keyId": key_of(chatter),
    }


@pytest.mark.usefixtures("later")
def test_pages_go_by_offset_or_by_number(chatter: Chatter) -> None:
    for chat_id in "abcde":
        chatter.answer("作者", chatId=chat_id)

    assert chats(chatter, offset=1, pageSize=2) == ["d", "c"]
    assert chats(chatter, pageNum=2, pageSize=2) == ["c", "b"]
    assert chats(chatter, pageNum=3, pageSize=2) == ["a"]
    assert chats(chatter, offset=5, pageSize=2) == []
    assert chats(chatter) == list("edcba")


def test_all_chats_come_from_the_api(chatter: Chatter) -> None:
    chatter.answer("作者", chatId="a")

    assert chats(chatter, source="online") == []


@pytest.mark.parametrize(
    ("question", "title"), [("问" * 20, "问" * 20), ("问" * 21, "问" * 20), (" 作者\n", "作者")]
)
def test_a_title_is_the_beginning_of_the_first_question(chatter: Chatter, question: str, title: str) -> None:
    chatter.answer(question, chatId="a")
    chatter.answer("another", chatId="a")

    (chat,) = got(chatter, ("POST", LISTS[0]))["list"]

    assert chat["title"] == title


def test_without_a_chat_id_there_is_no_chat(chatter: Chatter) -> None:
    chatter.answer("作者")

    assert got(chatter, ("POST", LISTS[0])) == {"list": [], "total": 0}


# Titles and the top


@pytest.mark.parametrize("form", [form for form in FORMS if form[1].endswith("updateHistory")])
def test_a_chat_is_renamed(chatter: Chatter, form: tuple[str, str]) -> None:
    chatter.answer("作者", chatId="a")

    assert got(chatter, form, appId=app_of(chatter), chatId="a", customTitle="mine") is None

    (chat,) = got(chatter, ("POST", LISTS[0]))["list"]
    assert (chat["title"], chat["customTitle"], chat["top"]) == ("作者", "mine", False)
    chatter.answer("another", chatId="a")
    assert got(chatter, ("POST", f"{PATH}/init"), chatId="a")["title"] == "mine"
    got(chatter, form, chatId="a", customTitle="")
    assert got(chatter, ("POST", f"{PATH}/init"), chatId="a")["title"] == "作者"


@pytest.mark.usefixtures("later")
def test_the_top_comes_first_and_can_be_left_again(chatter: Chatter) -> None:
    for chat_id in "abc":
        chatter.answer("作者", chatId=chat_id)
    form = ("POST", f"{PATH}/updateHistory")

    got(chatter, form, chatId="a", top=True)
    chatter.answer("作者", chatId="b")
    assert chats(chatter) == ["a", "b", "c"]

    got(chatter, form, chatId="a", top=False)
    got(chatter, form, chatId="c", customTitle="latest")
    assert chats(chatter) == ["c", "a", "b"]


# Records


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.usefixtures("later")
def test_a_turn_is_two_records(chatter: Chatter, method: str) -> None:
    reply = chatter.answer("文字脚本的作者", chatId="a", responseChatItemId="item-1")

    form = (method, f"{PATH}/getPaginationRecords")
    page = got(chatter, form, appId=app_of(chatter), chatId="a", offset=0, pageSize=10)

    question, answer = page["list"]
    assert page["total"] == 2
    assert len({question.pop("_id"), answer.pop("_id")}) == 2
    assert question == {
        "dataId": "item-1:question",
        "obj": "Human",
        "value": [{"type": "text", "text": {"content": "文字脚本的作者"}}],
        "time": "2026-01-01T00:00:00.000Z",
        "customFeedbacks": [],
    }
    assert answer == {
        "dataId": "item-1",
        "obj": "AI",
        "value": [{"type": "text", "text": {"content": reply}}],
        "time": "2026-01-01T00:00:00.000Z",
        "customFeedbacks": [],
        "complete": True,
    }


def filled(chatter: Chatter, count: int, chat_id: str = "a") -> None:
    """q0, a0, q1, a1, … in the store."""
    chat = chatter.api.service.chats.at(Place(app_of(chatter), key_of(chatter), chat_id))
    for n in range(count):
        chat.append(Message("user", f"q{n}"), Message("assistant", f"a{n}"), f"i{n}", is_complete=True)


def test_pages_of_records_are_counted_from_the_latest(chatter: Chatter) -> None:
    filled(chatter, 4)
    whole = [f"{kind}{n}" for n in range(4) for kind in "qa"]

    for offset in range(10):
        for size in range(1, 10):
            page = texts(chatter, "a", offset=offset, pageSize=size)
            assert page == whole[::-1][offset : offset + size][::-1], (offset, size)
    assert texts(chatter, "a", pageNum=2, pageSize=3) == ["q1", "a1", "q2"]
    assert records(chatter, "a", offset=99)["total"] == 8


def test_a_new_chat_has_no_records(chatter: Chatter) -> None:
    assert records(chatter, "new") == {"list": [], "total": 0}


def test_what_broke_off_is_marked(backed_chatter: Chatter, backend: OpenAIServer) -> None:
    backend.script(cut_off("half an ", "ans"))
    backed_chatter.send("first", chatId="a")
    backed_chatter.answer("second", chatId="a")

    answers = [item for item in records(backed_chatter, "a")["list"] if item["obj"] == "AI"]

    assert [item["complete"] for item in answers] == [False, True]
    assert answers[0]["value"][0]["text"]["content"] == "half an ans"


def test_questions_in_parts(backed_chatter: Chatter) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "file_url", "name": "b.pdf", "url": "https://example.org/b.pdf"},
        {"type": "text", "text": "what is this?"},
    ]
    backed_chatter.answer(parts, chatId="a")

    question = records(backed_chatter, "a")["list"][0]

    assert question["value"] == [
        {"type": "file", "file": {"type": "image", "name": "", "url": "https://example.org/a.png"}},
        {"type": "file", "file": {"type": "file", "name": "b.pdf", "url": "https://example.org/b.pdf"}},
        {"type": "text", "text": {"content": "what is this?"}},
    ]
    assert got(backed_chatter, ("GET", LISTS[0]))["list"][0]["title"] == "what is this?"


# The beginning of a chat


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_init_tells_of_the_app(chatter: Chatter, method: str) -> None:
    start = got(chatter, (method, f"{PATH}/init"), appId=app_of(chatter), chatId="a")

    assert (start["chatId"], start["appId"], start["title"]) == ("a", app_of(chatter), "")
    assert start["app"] == {
        "chatConfig": {"welcomeText": "", "variables": [], "questionGuide": False},
        "chatModels": ["extractive"],
        "name": "app 0",
        "avatar": "",
        "intro": "",
        "type": "simple",
        "pluginInputs": [],
    }


def test_init_tells_what_to_show_and_to_ask_for_before_the_first_question(api: Api) -> None:
    variables = (Variable("name", "Ada", "Your name"), Variable("city"))
    asked = new_chatter(
        api, intro="about films", welcome_text="hello", variables=variables, system_prompt="a secret"
    )

    start = got(asked, ("GET", f"{PATH}/init"), chatId="a")

    assert start["app"]["intro"] == "about films"
    assert start["app"]["chatConfig"] == {
        "welcomeText": "hello",
        "variables": [
            {
                "id": "name",
                "key": "name",
                "label": "Your name",
                "defaultValue": "Ada",
                "type": "input",
                "required": False,
            },
            {
                "id": "city",
                "key": "city",
                "label": "city",
                "defaultValue": "",
                "type": "input",
                "required": False,
            },
        ],
        "questionGuide": False,
    }
    assert "a secret" not in str(start)


def test_init_makes_up_a_chat_id(chatter: Chatter) -> None:
    ids = [got(chatter, ("GET", f"{PATH}/init"))["chatId"] for _ in range(2)]

    assert [len(chat_id) for chat_id in ids] == [24, 24]
    assert ids[0] != ids[1]
    assert chats(chatter) == []


# Deleting


@pytest.mark.parametrize("form", [form for form in FORMS if form[1].endswith("delHistory")])
def test_a_chat_is_deleted_with_its_turns(chatter: Chatter, form: tuple[str, str]) -> None:
    filled(chatter, 3)
    filled(chatter, 1, "b")

    assert got(chatter, form, appId=app_of(chatter), chatId="a") is None

    assert chats(chatter) == ["b"]
    assert len(chatter.api.service.library.store.list_documents(KIND)) == 1
    assert error_of(ask(chatter, form, chatId="a"))["code"] == "chat_not_found"


@pytest.mark.parametrize("form", [form for form in FORMS if form[1].endswith("clearHistories")])
def test_all_chats_of_the_key_are_deleted(api: Api, form: tuple[str, str]) -> None:
    app = api.new_app("suzume")
    one, other = (Chatter(api, api.new_key("app", app_id=app.id)[1]) for _ in range(2))
    for chat_id in "abc":
        filled(one, 2, chat_id)
    filled(other, 1)

    assert got(one, form, appId=app.id) is None

    assert (chats(one), chats(other)) == ([], ["a"])
    assert len(api.service.library.store.list_documents(KIND)) == 1


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("data_id", ["i1", "i1:question"])
def test_an_item_is_deleted_with_its_other_half(chatter: Chatter, method: str, data_id: str) -> None:
    filled(chatter, 3)

    form = (method, f"{PATH}/item/delete")
    assert got(chatter, form, appId=app_of(chatter), chatId="a", contentId=data_id) is None

    assert texts(chatter, "a") == ["q0", "a0", "q2", "a2"]
    error = error_of(ask(chatter, form, chatId="a", contentId=data_id))
    assert (error["code"], error["type"]) == ("chat_item_not_found", "not_found_error")


def test_an_item_is_deleted_by_the_id_that_it_was_given_here(chatter: Chatter) -> None:
    chatter.answer("作者", chatId="a")
    data_id = records(chatter, "a")["list"][1]["dataId"]

    got(chatter, ("DELETE", f"{PATH}/item/delete"), chatId="a", contentId=data_id)

    assert records(chatter, "a") == {"list": [], "total": 0}
    assert chats(chatter) == ["a"]


def test_what_is_deleted_is_no_history_of_the_next_question(
    backed_chatter: Chatter, backend: OpenAIServer
) -> None:
    for n in range(2):
        backed_chatter.answer(f"question {n}", chatId="a", responseChatItemId=f"i{n}")
    got(backed_chatter, ("DELETE", f"{PATH}/item/delete"), chatId="a", contentId="i0")

    backed_chatter.answer("last", chatId="a")

    asked = backend.asked("chat/completions")[-1].body["messages"]
    assert [one["content"] for one in asked if one["role"] == "user"] == ["question 1", "last"]


# Feedback


def test_feedback_is_kept_and_taken_back(chatter: Chatter) -> None:
    filled(chatter, 2)
    form = ("POST", f"{PATH}/feedback/updateUserFeedback")

    def feedback() -> list[tuple[Any, Any]]:
        items = records(chatter, "a")["list"]
        return [(item.get("userGoodFeedback"), item.get("userBadFeedback")) for item in items]

    assert got(chatter, form, appId=app_of(chatter), chatId="a", dataId="i0", userGoodFeedback="yes") is None
    assert feedback() == [(None, None), ("yes", None), (None, None), (None, None)]
    got(chatter, form, chatId="a", dataId="i0", userBadFeedback="wrong")
    assert feedback()[1] == (None, "wrong")
    got(chatter, form, chatId="a", dataId="i0")
    assert feedback()[1] == (None, None)
    assert texts(chatter, "a") == ["q0", "a0", "q1", "a1"]


def test_feedback_on_what_is_not_there(chatter: Chatter) -> None:
    filled(chatter, 1)
    form = ("POST", f"{PATH}/feedback/updateUserFeedback")

    assert error_of(ask(chatter, form, chatId="a", dataId="i9"))["code"] == "chat_item_not_found"
    assert error_of(ask(chatter, form, chatId="b", dataId="i0"))["code"] == "chat_not_found"


# Whose they are


@pytest.mark.parametrize("is_one_app", [True, False])
def test_keys_never_see_one_anothers_chats(api: Api, is_one_app: bool) -> None:
    app = api.new_app("suzume")
    one = Chatter(api, api.new_key("app", app_id=app.id)[1])
    other = Chatter(api, api.new_key("app", app_id=app.id)[1]) if is_one_app else new_chatter(api)
    filled(one, 1)

    assert chats(other) == []
    assert records(other, "a", keyId=key_of(one))["total"] == 0
    assert got(other, ("POST", f"{PATH}/init"), chatId="a", keyId=key_of(one))["title"] == ""
    for form in CHANGES:
        if not form[1].endswith("clearHistories"):
            fields = {"chatId": "a", "contentId": "i0", "dataId": "i0", "customTitle": "theirs"}
            response = ask(other, form, **fields)
            assert (response.status_code, error_of(response)["code"]) == (404, "chat_not_found"), form
    got(other, ("DELETE", f"{PATH}/clearHistories"))
    assert texts(one, "a") == ["q0", "a0"]
    assert got(one, ("POST", LISTS[0]))["list"][0]["customTitle"] == ""


@pytest.mark.parametrize("form", FORMS)
def test_another_apps_id_is_refused(api: Api, form: tuple[str, str]) -> None:
    one, other = new_chatter(api), new_chatter(api)
    filled(other, 1)

    response = ask(one, form, appId=app_of(other), chatId="a", contentId="i0", dataId="i0")

    assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")
    assert texts(other, "a") == ["q0", "a0"]


@pytest.mark.parametrize("form", FORMS)
def test_dataset_keys_and_strangers_are_refused(api: Api, form: tuple[str, str]) -> None:
    fields = {"appId": "0" * 24, "chatId": "a", "contentId": "i0", "dataId": "i0"}

    of_dataset = ask(Chatter(api, api.new_key("dataset")[1]), form, **fields)
    stranger = ask(Chatter(api, {}), form, **fields)

    assert (of_dataset.status_code, error_of(of_dataset)["code"]) == (403, "forbidden")
    assert (stranger.status_code, error_of(stranger)["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("form", CHANGES)
def test_an_admin_key_changes_nothing(chatter: Chatter, form: tuple[str, str]) -> None:
    filled(chatter, 1)
    admin = Chatter(chatter.api, chatter.api.admin)

    response = ask(admin, form, appId=app_of(chatter), chatId="a", contentId="i0", dataId="i0")

    assert (response.status_code, error_of(response)["code"]) == (403, "forbidden")
    assert texts(chatter, "a") == ["q0", "a0"]


@pytest.mark.usefixtures("later")
def test_an_admin_key_looks_at_the_chats_of_all_keys_of_an_app(api: Api) -> None:
    app = api.new_app("suzume")
    one, other = (Chatter(api, api.new_key("app", app_id=app.id)[1]) for _ in range(2))
    filled(one, 1)
    filled(new_chatter(api), 1, "elsewhere")
    filled(other, 2)
    admin = Chatter(api, api.admin)

    page = got(admin, ("POST", LISTS[0]), appId=app.id)

    assert [(chat["chatId"], chat["keyId"]) for chat in page["list"]] == [
        ("a", key_of(other)),
        ("a", key_of(one)),
    ]
    assert records(admin, "a", appId=app.id)["total"] == 4
    assert records(admin, "a", appId=app.id, keyId=key_of(one))["total"] == 2
    assert got(admin, ("GET", f"{PATH}/init"), appId=app.id, chatId="a")["title"] == "q0"


@pytest.mark.parametrize("form", LOOKS)
def test_an_admin_key_names_an_app(api: Api, form: tuple[str, str]) -> None:
    admin = Chatter(api, api.admin)

    missing = ask(admin, form, chatId="a")
    unknown = ask(admin, form, chatId="a", appId="0" * 24)

    assert (missing.status_code, error_of(missing)["param"]) == (422, "appId")
    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "app_not_found")


@pytest.mark.parametrize("chat_id", ["", "x" * 250])
def test_a_chat_id_out_of_range_is_refused(chatter: Chatter, chat_id: str) -> None:
    response = ask(chatter, ("POST", f"{PATH}/getPaginationRecords"), chatId=chat_id)

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_chat_id")


# Many


def test_twenty_turns_at_once_are_all_kept(chatter: Chatter) -> None:
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda n: chatter.answer(f"question {n}", chatId="a"), range(20)))

    page = records(chatter, "a", pageSize=100)
    (chat,) = got(chatter, ("POST", LISTS[0]))["list"]
    questions = texts(chatter, "a", pageSize=100)[::2]
    assert page["total"] == 40
    assert sorted(questions) == sorted(f"question {n}" for n in range(20))
    assert chat["title"] in questions


@pytest.fixture
def hesitant(chatter: Chatter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading a document of a chat and writing it there is time for others."""
    store = chatter.api.service.library.store
    find_document = store.find_document

    def find_and_wait(kind: str, document_id: str) -> Document | None:
        found = find_document(kind, document_id)
        if kind in (KIND, ABOUT_KIND):
            time.sleep(0.02)
        return found

    monkeypatch.setattr(store, "find_document", find_and_wait)


@pytest.mark.usefixtures("hesitant")
def test_renames_and_turns_at_once_lose_nothing(chatter: Chatter) -> None:
    filled(chatter, 1)
    rename = ("POST", f"{PATH}/updateHistory")
    steps: list[Callable[[], object]] = [
        lambda: got(chatter, rename, chatId="a", customTitle="mine"),
        lambda: chatter.answer("more", chatId="a"),
        lambda: got(chatter, rename, chatId="a", top=True),
        lambda: chatter.answer("more", chatId="a"),
    ]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda step: step(), steps))

    (chat,) = got(chatter, ("POST", LISTS[0]))["list"]
    assert (chat["title"], chat["customTitle"], chat["top"]) == ("q0", "mine", True)
    assert records(chatter, "a")["total"] == 6


@pytest.mark.usefixtures("hesitant")
def test_first_turns_at_once_agree_on_one_title(chatter: Chatter) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: chatter.answer(f"question {n}", chatId="a"), range(4)))

    (chat,) = got(chatter, ("POST", LISTS[0]))["list"]
    assert chat["title"] == texts(chatter, "a")[0]


def test_a_page_of_a_long_chat_reads_that_page_only(
    chatter: Chatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(chatter, 300)
    store = chatter.api.service.library.store
    read: list[int] = []
    page_documents = store.page_documents

    def counting(*given: Any, **named: Any) -> Any:
        page = page_documents(*given, **named)
        read.append(len(page.items))
        return page

    monkeypatch.setattr(store, "page_documents", counting)
    assert texts(chatter, "a", offset=300, pageSize=10)[-1] == "a149"
    assert chats(chatter) == ["a"]
    assert read == [5]
