"""The commands for apps and keys. They work on the store, also while a server has it open."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from api.apps import DEFAULT_QUOTE_PROMPT, DEFAULT_QUOTE_TEMPLATE, Apps, new_app
from api.keys import CAPABILITIES, Keys
from api.output import print_json, print_line, print_note, print_rows
from api.settings import read_settings
from api.wiring import open_documents
from retrieval.errors import DatasetNotFound, InvalidRequest
from retrieval.library import no_dataset_named
from retrieval.store import Store

apps = typer.Typer(help="Make, list and delete the apps that chat keys open.", no_args_is_help=True)
keys = typer.Typer(help="Make, list and revoke keys.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
Datasets = Annotated[
    list[str] | None, typer.Option("--dataset", help="Name of a dataset; may be given again.")
]


class May(StrEnum):
    """The capabilities once more: Typer takes a list of these, and none of literals."""

    SEARCH = "search"
    WRITE = "write"
    EXPORT = "export"


@apps.command("create")
def create_app(
    name: Annotated[str, typer.Argument(help="Name of the app.")],
    dataset: Datasets = None,
    system_prompt: Annotated[str, typer.Option(help="A system message after the quotes.")] = "",
    limit_prompt: Annotated[str, typer.Option(help="A system message after that one.")] = "",
    quote_template: Annotated[str, typer.Option(help="One quote, of {{q}}, {{a}}, {{index}} and others.")] = (
        DEFAULT_QUOTE_TEMPLATE
    ),
    quote_prompt: Annotated[str, typer.Option(help="Around all quotes: {{quote}}, {{question}}.")] = (
        DEFAULT_QUOTE_PROMPT
    ),
    model: Annotated[str, typer.Option(help="What to ask the completion backend for.")] = "",
    temperature: Annotated[float | None, typer.Option(help="Of the completion backend, 0 to 2.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 2000,
    similarity: Annotated[float, typer.Option(help="Lowest score to keep, 0 to 1, inclusive.")] = 0.0,
    limit: Annotated[int, typer.Option(help="Token budget of all quotes together.")] = 1500,
    empty_reply: Annotated[str, typer.Option(help="The answer when nothing is found.")] = "",
    search_price: Annotated[float, typer.Option(min=0, help="Of 1,000 tokens, for the price fields.")] = 0.0,
    chat_price: Annotated[float, typer.Option(min=0, help="Of 1,000 tokens, for the price fields.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Make an app: datasets, prompts and limits behind one chat key."""
    with open_documents(read_settings()) as store:
        app = new_app(
            name,
            _dataset_ids(store, dataset or []),
            system_prompt=system_prompt,
            limit_prompt=limit_prompt,
            quote_template=quote_template,
            quote_prompt=quote_prompt,
            model=model,
            temperature=temperature,
            max_tokens=max_tokens,
            similarity=similarity,
            limit=limit,
            empty_reply=empty_reply,
            search_price=search_price,
            chat_price=chat_price,
        )
        Apps(store).create(app)
    if as_json:
        print_json(asdict(app))
    else:
        print_line(f"app {app.name} ({app.id}); a key for it: quotebase keys create --app {app.name}")


@apps.command("list")
def list_apps(as_json: AsJson = False) -> None:
    """Name, datasets and model of every app."""
    with open_documents(read_settings()) as store:
        names = {dataset.id: dataset.name for dataset in store.list_datasets()}
        rows = [asdict(app) for app in Apps(store).list()]
    for row in rows:
        row["datasets"] = ", ".join(names.get(dataset_id, dataset_id) for dataset_id in row["dataset_ids"])
    print_rows(rows, ("name", "datasets", "model", "id"), as_json)


@apps.command("delete")
def delete_app(name: Annotated[str, typer.Argument(help="Name of the app.")]) -> None:
    """Delete an app; its keys open nothing any more."""
    with open_documents(read_settings()) as store:
        apps_ = Apps(store)
        apps_.delete(apps_.named(name).id)
    print_line(f"deleted {name}")


@keys.command("create")
def create_key(
    app: Annotated[str | None, typer.Option("--app", help="A key for the chat of this app.")] = None,
    datasets: Annotated[bool, typer.Option("--datasets", help="A key for all datasets.")] = False,
    dataset: Datasets = None,
    admin: Annotated[bool, typer.Option("--admin", help="A key for everything but chat.")] = False,
    may: Annotated[
        list[May] | None,
        typer.Option(help="What a dataset key may do: all three by default; may be given again."),
    ] = None,
    name: Annotated[str, typer.Option(help="A note of what it is for.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    if [bool(app), datasets or bool(dataset), admin].count(True) != 1:
        raise InvalidRequest("say what the key is for: --app NAME, --datasets, --dataset NAME, or --admin")
    if may and (app or admin):
        raise InvalidRequest(
            "--may is for dataset keys: an admin key may do everything but chat, an app key may chat; leave it out, "
            "or make a key by --datasets or --dataset NAME"
        )
    with open_documents(read_settings()) as store:
        if app:
            key, secret = Keys(store).create("app", name, app_id=Apps(store).named(app).id)
        elif admin:
            key, secret = Keys(store).create("admin", name)
        else:
            dataset_ids = _dataset_ids(store, dataset or [])
            capabilities = tuple(
                capability for capability in CAPABILITIES if not may or May(capability) in may
            )
            key, secret = Keys(store).create(
                "dataset", name, dataset_ids=dataset_ids, capabilities=capabilities
            )
    if as_json:
        print_json({**asdict(key), "key": secret})
    else:
        print_line(secret)
        print_note("keep it: only its hash is stored, it cannot be shown again")


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """What each key is for, and its last use, by a server up to a minute ago; the keys themselves are not known."""
    with open_documents(read_settings()) as store:
        keys_ = Keys(store)
        last_uses = keys_.uses.last()
        rows = [
            {
                **asdict(key),
                "may": ", ".join(key.allowed) or "chat",
                "last_used_at": last_uses.get(key.id, ""),
            }
            for key in keys_.list()
        ]
    print_rows(rows, ("id", "kind", "may", "prefix", "name", "created_at", "last_used_at"), as_json)


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The id that keys list shows.")]) -> None:
    """From now on the key opens nothing."""
    with open_documents(read_settings()) as store:
        Keys(store).revoke(key_id)
    print_line(f"revoked {key_id}")


def _dataset_ids(store: Store, names: list[str]) -> tuple[str, ...]:
    """Raises DatasetNotFound for the first name that no dataset has."""
    found = {dataset.name: dataset.id for dataset in store.list_datasets()}
    for name in names:
        if name not in found:
            raise DatasetNotFound(no_dataset_named(name, store.list_datasets()))
    return tuple(found[name] for name in names)
