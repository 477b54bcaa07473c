"""The commands for apps. They work on the store, also while a server has it open."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer

from api.app_options import AppOptions, takes_app_options
from api.apps import App, Apps, Variable, new_app
from api.chat.chats import Chats
from api.cli_datasets import dataset_ids_of
from api.keys import Keys
from api.output import print_json, print_line, print_rows
from api.removing import delete_app
from api.settings import Settings, read_settings
from api.wiring import open_documents
from retrieval.errors import InvalidRequest
from retrieval.store import Store

apps = typer.Typer(help="Make, change and delete the apps that chat keys open.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
Name = Annotated[str, typer.Argument(help="Name of the app.")]


class Unset(StrEnum):
    """What an app may be without."""

    SIMILARITY = "similarity"
    TOP_K = "top-k"
    PER_SOURCE = "per-source"
    TEMPERATURE = "temperature"
    VARIABLES = "variables"

    @property
    def field(self) -> str:
        return self.value.replace("-", "_")

    @property
    def nothing(self) -> object:
        return () if self is Unset.VARIABLES else None


@apps.command("create")
@takes_app_options
def create_app(name: Name, options: AppOptions, as_json: AsJson = False) -> None:
    """Make an app: datasets, prompts and limits behind one chat key."""
    settings = read_settings()
    with open_documents(settings) as store:
        given = _fields(store, settings, options)
        app = Apps(store).create(new_app(name, given.pop("dataset_ids", ()), **given))
    if as_json:
        print_json(asdict(app))
    else:
        print_line(f"app {app.name} ({app.id}); a key for it: quotebase keys create --app {app.name}")


@apps.command("update")
@takes_app_options
def update_app(
    name: Name,
    options: AppOptions,
    rename: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    unset: Annotated[
        list[Unset] | None, typer.Option(help="Take it back, so that there is none; may be given again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given and nothing else; datasets and variables take the place of all there were."""
    settings = read_settings()
    with open_documents(settings) as store:
        apps_ = Apps(store)
        app = apps_.named(name)
        changes = _fields(store, settings, options, app)
        if both := [item for item in unset or () if item.field in changes]:
            raise InvalidRequest(f"{both[0]} is both given and to be unset: choose one")
        changes |= {item.field: item.nothing for item in unset or ()}
        changes |= {} if rename is None else {"name": rename}
        if not changes:
            raise InvalidRequest(f"say what to change of {name!r}: see quotebase apps update --help")
        app = apps_.change(app.id, changes)
    if as_json:
        print_json(asdict(app))
    else:
        print_line(f"changed {app.name}")


@apps.command("list")
def list_apps(as_json: AsJson = False) -> None:
    """Name, datasets and model of every app."""
    with open_documents(read_settings()) as store:
        rows = [{**asdict(app), "datasets": _names_of(store, app)} for app in Apps(store).list()]
    print_rows(rows, ("name", "datasets", "model", "id"), as_json)


@apps.command("show")
def show_app(name: Name, as_json: AsJson = False) -> None:
    """All settings of an app."""
    with open_documents(read_settings()) as store:
        app = Apps(store).named(name)
        shown = {**asdict(app), "datasets": _names_of(store, app)}
    if as_json:
        print_json(shown)
        return
    shown["variables"] = ", ".join(f"{variable.key}={variable.default}" for variable in app.variables)
    del shown["dataset_ids"]
    print_rows(
        [{"setting": setting, "value": "" if value is None else value} for setting, value in shown.items()],
        ("setting", "value"),
        as_json,
    )


@apps.command("delete")
def remove_app(name: Name) -> None:
    """Delete an app with its chats; its keys open nothing any more."""
    with open_documents(read_settings()) as store:
        apps_ = Apps(store)
        delete_app(apps_, Keys(store), Chats(store), apps_.named(name).id)
    print_line(f"deleted {name}")


def _names_of(store: Store, app: App) -> str:
    """The names of its datasets; the id of one that is gone."""
    names = {dataset.id: dataset.name for dataset in store.list_datasets()}
    return ", ".join(names.get(dataset_id, dataset_id) for dataset_id in app.dataset_ids)


def _fields(store: Store, settings: Settings, options: AppOptions, app: App | None = None) -> dict[str, Any]:
    """The fields of an app that were given. Variables that ``app`` has keep their labels.

    Raises:
        DatasetNotFound, InvalidRequest: a dataset or a backend that is named is not there.
    """
    fields = options.given
    if options.dataset_ids is not None:
        fields["dataset_ids"] = dataset_ids_of(store, options.dataset_ids)
    if options.variables is not None:
        labels = {variable.key: variable.label for variable in app.variables} if app else {}
        pairs = (one.partition("=") for one in options.variables)
        fields["variables"] = tuple(Variable(key, default, labels.get(key, "")) for key, _, default in pairs)
    if options.backend:
        # With it come the clients of the endpoints.
        from retrieval.completion.backends import open_backends

        open_backends(settings.backends).named(options.backend)
    return fields
