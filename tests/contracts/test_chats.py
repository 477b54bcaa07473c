"""Chats over both stores: of two keys and two apps they never mix, and a long one is read by the page."""

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.apps import KIND as APP_KIND
from api.chat.chats import Chats
from api.chat.history import Place
from retrieval.completion import Message
from retrieval.errors import ChatItemNotFound, ChatNotFound
from retrieval.store import Store
from retrieval.store.sqlite import SqliteStore

APPS = ("a" * 24, "b" * 24)
KEYS = ("c" * 24, "d" * 24)
IDS = ("x", "x/y", "x/y/z", "/", f"{APPS[1]}/{KEYS[1]}/x", '["x"]', "晓\u2028", "x:question")

PLACES = st.builds(Place, st.sampled_from(APPS), st.sampled_from(KEYS), st.sampled_from(IDS))
ITEMS = st.sampled_from(("1", "1/", "/1", "1:question", '"1"'))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), PLACES, ITEMS, st.text(min_size=1, max_size=5)),
        st.tuples(st.just("rename"), PLACES, st.text(max_size=5)),
        st.tuples(st.just("rate"), PLACES, ITEMS),
        st.tuples(st.just("delete item"), PLACES, ITEMS),
        st.tuples(st.just("delete"), PLACES),
        st.tuples(st.just("clear app"), st.sampled_from(APPS)),
    ),
    max_size=40,
)


def with_apps(store: Store) -> Chats:
    for app in APPS:
        store.put_document(APP_KIND, app, {})
    return Chats(store)


class Expected:
    """Plain dicts: by place, the turns in order, and what the chat is called."""

    def __init__(self) -> None:
        self.turns: dict[Place, dict[str, str]] = defaultdict(dict)
        self.names: dict[Place, str] = {}

    def do(self, step: Any) -> bool:
        """Whether there is what the step is about."""
        match step:
            case ("ask", place, item, text):
                self.names.setdefault(place, "")
                # A turn that is sent again takes the place of the first.
                self.turns[place][item] = text
            case ("rename", place, name):
                if place not in self.names:
                    return False
                self.names[place] = name
            case ("rate", place, item):
                return self._meant(place, item) is not None
            case ("delete item", place, item):
                found = self._meant(place, item)
                if found is None:
                    return False
                del self.turns[place][found]
            case ("delete", place):
                if place not in self.names:
                    return False
                del self.names[place]
                self.turns.pop(place, None)
            case ("clear app", app):
                for place in [place for place in self.names if place.app_id == app]:
                    del self.names[place]
                    self.turns.pop(place, None)
        return True

    def _meant(self, place: Place, item: str) -> str | None:
        if place not in self.names:
            return None
        return next((one for one in (item, item.removesuffix(":question")) if one in self.turns[place]), None)


def do(chats: Chats, step: Any) -> bool:
    try:
        match step:
            case ("ask", place, item, text):
                chats.at(place).append(Message("user", f"q {text}"), Message("assistant", text), item, True)
            case ("rename", place, name):
                chats.at(place).update(None, name, None)
            case ("rate", place, item):
                chats.at(place).rate(item, {"userGoodFeedback": "yes"})
            case ("delete item", place, item):
                chats.at(place).delete_item(item)
            case ("delete", place):
                chats.at(place).delete()
            case ("clear app", app):
                chats.clear_app(app)
    except (ChatNotFound, ChatItemNotFound):
        return False
    return True


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_chats_of_keys_and_apps_never_mix(store: Store, steps: list[Any]) -> None:
    chats, expected = with_apps(store), Expected()
    for app in APPS:
        chats.clear_app(app)

    for step in steps:
        assert do(chats, step) == expected.do(step)

    for app in APPS:
        for key in KEYS:
            listed = {about.chat_id: about.custom_title for about in chats.list(app, key)}
            places = [place for place in expected.names if (place.app_id, place.key_id) == (app, key)]
            assert listed == {place.chat_id: expected.names[place] for place in places}
            for chat_id in IDS:
                place = Place(app, key, chat_id)
                page = chats.at(place).page_turns(0, 100)
                assert {turn.id: turn.answer for turn in page.items} == expected.turns.get(place, {})
                told = [message.content for message in chats.at(place).messages(100)]
                assert sorted(map(str, told[1::2])) == sorted(expected.turns.get(place, {}).values())


@pytest.mark.slow
def test_a_chat_of_ten_thousand_turns_is_read_by_the_page(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The MongoDB of the tests takes seven milliseconds to write a turn.
    many = 10_000 if isinstance(store, SqliteStore) else 1_000
    chat = with_apps(store).at(Place(APPS[0], KEYS[0], "long"))
    for number in range(many):
        chat.append(Message("user", f"q{number}"), Message("assistant", f"a{number}"), None, True)
    read: list[int] = []
    page_documents = store.page_documents

    def counted(*arguments: Any, **options: Any) -> Any:
        page = page_documents(*arguments, **options)
        read.append(len(page.items))
        return page

    monkeypatch.setattr(store, "page_documents", counted)

    newest, middle, oldest = (chat.page_turns(offset, 20) for offset in (0, many // 2, many - 20))
    said = chat.messages(6)

    assert [page.total for page in (newest, middle, oldest)] == [many] * 3
    assert newest.items[0].answer == f"a{many - 1}"
    assert middle.items[0].answer == f"a{many // 2 - 1}"
    assert oldest.items[-1].answer == "a0"
    assert said[-1].content == f"a{many - 1}"
    assert read == [20, 20, 20, 6]
