"""The commands for apps."""

from dataclasses import MISSING, asdict, fields
from typing import Any

import pytest

from api.app_options import AppOptions
from api.apps import App, Apps
from api.chat.chats import LOCAL, Chats
from api.chat.history import Place
from api.settings import Settings
from api.wiring import open_documents
from retrieval.completion import Message
from tests.api.commands import Cli, complaint, json_of
from tests.api.conftest import DATA
from tests.api.processes import Ran

EVERYTHING: dict[str, tuple[tuple[str, ...], Any]] = {
    "intro": (("--intro", "about films"), "about films"),
    "search_mode": (("--mode", "mixedRecall"), "mixedRecall"),
    "similarity": (("--similarity", "0.25"), 0.25),
    "limit": (("--limit", "900"), 900),
    "top_k": (("--top-k", "7"), 7),
    "per_source": (("--per-source", "3"), 3),
    "embedding_weight": (("--embedding-weight", "0.75"), 0.75),
    "rerank": (("--rerank",), True),
    "rerank_weight": (("--rerank-weight", "0.125"), 0.125),
    "extension": (("--extend",), True),
    "extension_model": (("--extension-model", "small"), "small"),
    "extension_background": (("--background", "films"), "films"),
    "system_prompt": (("--system-prompt", "be brief"), "be brief"),
    "limit_prompt": (("--limit-prompt", "be kind"), "be kind"),
    "quote_template": (("--quote-template", "{{q}}"), "{{q}}"),
    "quote_prompt": (("--quote-prompt", "{{quote}}"), "{{quote}}"),
    "backend": (("--backend", "extractive"), "extractive"),
    "model": (("--model", "large"), "large"),
    "temperature": (("--temperature", "0.5"), 0.5),
    "max_tokens": (("--max-tokens", "99"), 99),
    "history_turns": (("--history-turns", "2"), 2),
    "empty_reply": (("--empty-reply", "nothing"), "nothing"),
    "welcome_text": (("--welcome-text", "hello"), "hello"),
    "variables": (
        ("--variable", "name=Ada=x", "--variable", "city"),
        [
            {"key": "name", "default": "Ada=x", "label": ""},
            {"key": "city", "default": "", "label": ""},
        ],
    ),
    "citations": (("--citations",), True),
    "search_price": (("--search-price", "0.5"), 0.5),
    "chat_price": (("--chat-price", "1.5"), 1.5),
}
"""For each setting but the datasets: how it is given, and what it is then, which no app has by itself."""

CREATE = ("apps", "create", "film", "--dataset", "suzume")


def shown(cli: Cli, name: str = "film") -> Any:
    return json_of(cli("apps", "show", name, "--json"))


def of_app(row: dict[str, Any]) -> dict[str, Any]:
    """Without what is looked up for the person."""
    return {name: value for name, value in row.items() if name != "datasets"}


def test_there_is_an_option_for_every_setting() -> None:
    of_apps = {field.name: field.default for field in fields(App)}
    options = {field.name for field in fields(AppOptions)}

    assert options == of_apps.keys() - {"id", "name", "created_at"}
    assert options == {*EVERYTHING, "dataset_ids"}
    assert all(of_apps[name] not in (MISSING, value) for name, (_, value) in EVERYTHING.items())


def test_an_app_is_made_with_every_setting(filled: Cli) -> None:
    options = [option for given, _ in EVERYTHING.values() for option in given]

    made = json_of(filled(*CREATE, *options, "--json"))

    (dataset,) = json_of(filled("datasets", "list", "--json"))
    assert {name: made[name] for name in EVERYTHING} == {
        name: value for name, (_, value) in EVERYTHING.items()
    }
    assert (made["name"], made["dataset_ids"]) == ("film", [dataset["id"]])
    assert shown(filled) == {**made, "datasets": "suzume"}


def test_what_is_not_given_is_what_an_app_has_by_itself(filled: Cli) -> None:
    made = json_of(filled(*CREATE, "--json"))

    own = asdict(App(made["id"], "film", tuple(made["dataset_ids"]), created_at=made["created_at"]))
    assert made == {**own, "dataset_ids": made["dataset_ids"], "variables": []}


@pytest.mark.parametrize("name", EVERYTHING)
def test_an_update_changes_what_is_given_and_nothing_else(filled: Cli, name: str) -> None:
    made = json_of(filled(*CREATE, "--json"))
    options, value = EVERYTHING[name]

    changed = json_of(filled("apps", "update", "film", *options, "--json"))

    assert changed == {**made, name: value} == of_app(shown(filled))


def test_an_update_takes_back_what_an_app_may_be_without(filled: Cli) -> None:
    options = [option for given, _ in EVERYTHING.values() for option in given]
    made = json_of(filled(*CREATE, *options, "--json"))
    unset = ("similarity", "top-k", "per-source", "temperature", "variables")

    ran = filled("apps", "update", "film", *(word for what in unset for word in ("--unset", what)))

    assert ran == Ran(0, "changed film\n", "")
    nothing = {"similarity": None, "top_k": None, "per_source": None, "temperature": None, "variables": []}
    assert of_app(shown(filled)) == {**made, **nothing}


def test_an_update_turns_things_off(filled: Cli) -> None:
    filled(*CREATE, "--rerank", "--extend", "--citations")

    filled("apps", "update", "film", "--no-rerank", "--no-extend", "--no-citations", "--intro", "")

    assert [shown(filled)[name] for name in ("rerank", "extension", "citations")] == [False] * 3


def test_an_update_renames_and_exchanges_the_datasets(filled: Cli) -> None:
    filled("ingest", DATA / "coffee.csv", "--dataset", "coffee")
    filled(*CREATE)

    ran = filled("apps", "update", "film", "--rename", "drinks", "--dataset", "coffee", "--dataset", "coffee")

    assert ran == Ran(0, "changed drinks\n", "")
    assert shown(filled, "drinks")["datasets"] == "coffee"
    assert len(json_of(filled("apps", "list", "--json"))) == 1


def test_variables_keep_the_labels_that_they_have(filled: Cli) -> None:
    made = json_of(filled(*CREATE, "--variable", "name=Ada", "--variable", "city", "--json"))
    with open_documents(Settings()) as store:
        app = Apps(store).get(made["id"])
        labelled = [type(one)(one.key, one.default, f"your {one.key}") for one in app.variables]
        Apps(store).change(app.id, {"variables": tuple(labelled)})

    filled("apps", "update", "film", "--variable", "name=Grace", "--variable", "age=7")

    assert shown(filled)["variables"] == [
        {"key": "name", "default": "Grace", "label": "your name"},
        {"key": "age", "default": "7", "label": ""},
    ]


def test_an_app_is_shown_to_people(filled: Cli) -> None:
    filled(*CREATE, "--top-k", "7", "--variable", "name=Ada", "--variable", "city")

    lines = filled("apps", "show", "film").out.splitlines()

    cells = dict(line.strip().split(maxsplit=1) for line in lines if " " in line.strip())
    assert cells["setting"] == "value"
    assert [cells[name] for name in ("name", "datasets", "top_k", "variables")] == [
        *("film", "suzume", "7", "name=Ada, city=")
    ]
    assert "None" not in cells.values()


def test_an_app_whose_dataset_is_gone_is_listed_and_says_so_when_it_is_asked(filled: Cli) -> None:
    made = json_of(filled(*CREATE, "--json"))
    filled("datasets", "delete", "suzume")

    (row,) = json_of(filled("apps", "list", "--json"))

    (gone,) = made["dataset_ids"]
    assert row["datasets"] == shown(filled)["datasets"] == gone
    assert repr(gone) in complaint(filled("ask", "--app", "film", "导演是谁"))


def test_a_deleted_app_leaves_nothing(filled: Cli) -> None:
    made = json_of(filled(*CREATE, "--json"))
    filled("keys", "create", "--app", "film")
    filled("keys", "create", "--datasets")
    assert filled("ask", "--app", "film", "--chat", "c", "文字脚本的作者").code == 0
    with open_documents(Settings()) as store:
        chat = Chats(store).at(Place(made["id"], LOCAL, "d"))
        chat.append(Message("user", "q"), Message("assistant", "a"), None, is_complete=True)
        assert len(Chats(store).list(made["id"])) == 2

    assert filled("apps", "delete", "film") == Ran(0, "deleted film\n", "")

    assert [key["kind"] for key in json_of(filled("keys", "list", "--json"))] == ["dataset"]
    with open_documents(Settings()) as store:
        assert [store.list_documents(kind) for kind in ("app", "chat", "turn")] == [[], [], []]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("update", "film"), "say what to change of 'film': see quotebase apps update --help"),
        (("update", "nope", "--intro", "x"), "there is no app named 'nope' (there are: film, other)"),
        (("show", "nope"), "there is no app named 'nope' (there are: film, other)"),
        (
            ("update", "film", "--rename", "other"),
            "there is an app named 'other' already: choose another name",
        ),
        (("update", "film", "--rename", " "), "an app needs a name"),
        (
            ("update", "film", "--dataset", "nope"),
            "there is no dataset named 'nope' (there are: suzume): create it by importing a file into it",
        ),
        (
            ("update", "film", "--top-k", "3", "--unset", "top-k"),
            "top-k is both given and to be unset: choose one",
        ),
        (("update", "film", "--history-turns", "101"), "historyTurns is 101, it must be from 0 to 100"),
        (("update", "film", "--similarity", "1.5"), "similarity is 1.5, it must be from 0 to 1"),
        (("update", "film", "--chat-price", "nan"), "chatPrice is nan, it must be from 0 to 2147483647"),
        (
            ("update", "film", "--variable", "a b=c"),
            "'a b' is no name of a variable: letters, digits, dots, hyphens and underscores",
        ),
        (
            ("update", "film", "--variable", "q=x"),
            "'q' stands for something else in quotes: choose another name",
        ),
        (
            ("create", "new", "--dataset", "suzume", "--backend", "big"),
            "there is no completion backend 'big' (there are: default, extractive)",
        ),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(filled: Cli, arguments: tuple[str, ...], said: str) -> None:
    filled(*CREATE)
    filled("apps", "create", "other", "--dataset", "suzume")
    before = json_of(filled("apps", "list", "--json"))

    assert complaint(filled("apps", *arguments)) == said

    assert json_of(filled("apps", "list", "--json")) == before


def test_a_backend_of_the_settings_can_be_named(filled: Cli) -> None:
    filled.settings["COMPLETION_BACKENDS"] = (
        '[{"name": "big", "base_url": "http://127.0.0.1:9/v1", "model": "large"}]'
    )

    assert json_of(filled(*CREATE, "--backend", "big", "--json"))["backend"] == "big"


def test_what_cannot_be_unset_is_bad_usage(filled: Cli) -> None:
    filled(*CREATE)

    ran = filled("apps", "update", "film", "--unset", "name")

    assert (ran.code, ran.out) == (2, "")
    assert "--unset" in ran.err
