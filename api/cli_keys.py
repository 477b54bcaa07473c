"""The commands for keys. They work on the store, also while a server has it open."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from api.apps import Apps
from api.cli_datasets import Datasets, dataset_ids_of
from api.keys import CAPABILITIES, Keys
from api.output import print_json, print_line, print_note, print_rows
from api.settings import read_settings
from api.wiring import open_documents
from retrieval.errors import InvalidRequest

keys = typer.Typer(help="Make, list and revoke keys.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


class May(StrEnum):
    """The capabilities once more: Typer takes a list of these, and none of literals."""

    SEARCH = "search"
    WRITE = "write"
    EXPORT = "export"


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
            opened = dataset_ids_of(store, dataset or [])
            capabilities = tuple(
                capability for capability in CAPABILITIES if not may or May(capability) in may
            )
            key, secret = Keys(store).create("dataset", name, dataset_ids=opened, capabilities=capabilities)
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
