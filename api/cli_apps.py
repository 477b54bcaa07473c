"""The commands for apps. They work on the store, also while a server has it open."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from api.apps import Apps, Variable, check_app, new_app
from api.chat.chats import Chats
from api.cli_datasets import Datasets, dataset_ids_of
from api.keys import Keys
from api.output import print_json, print_line, print_rows
from api.removing import delete_app
from api.settings import read_settings
from api.wiring import open_documents
from retrieval.store import Store
from retrieval.types import SearchMode

apps = typer.Typer(help="Make, change and delete the apps that chat keys open.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
Name = Annotated[str, typer.Argument(help="Name of the app.")]


@apps.command("create")
def create_app(
    name: Name,
    intro: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    dataset: Datasets = None,
    search_mode: Annotated[SearchMode | None, typer.Option(help="By meaning, by words, or both.")] = None,
    similarity: Annotated[float | None, typer.Option(help="Lowest score to keep, 0 to 1, inclusive.")] = None,
    limit: Annotated[int | None, typer.Option(help="Token budget of all quotes together.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Most quotes.")] = None,
    per_source: Annotated[int | None, typer.Option(help="Most quotes of one collection.")] = None,
    embedding_weight: Annotated[
        float | None, typer.Option(help="Of the meaning in mixedRecall, 0 to 1.")
    ] = None,
    rerank: Annotated[
        bool | None, typer.Option("--rerank/--no-rerank", help="Let the reranker judge.")
    ] = None,
    rerank_weight: Annotated[
        float | None, typer.Option(help="Of its order against the one before it.")
    ] = None,
    extension: Annotated[
        bool | None,
        typer.Option("--extension/--no-extension", help="Complete the question from the chat first."),
    ] = None,
    extension_model: Annotated[str | None, typer.Option(help="Of the completion backend, for that.")] = None,
    extension_background: Annotated[
        str | None, typer.Option(help="What it is told about the questions.")
    ] = None,
    system_prompt: Annotated[str | None, typer.Option(help="A system message after the quotes.")] = None,
    limit_prompt: Annotated[str | None, typer.Option(help="A system message after that one.")] = None,
    quote_template: Annotated[
        str | None, typer.Option(help="One quote, of {{q}}, {{a}}, {{index}} and others.")
    ] = None,
    quote_prompt: Annotated[
        str | None, typer.Option(help="Around all quotes: {{quote}}, {{question}}.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Name of a completion backend of the settings.")] = None,
    model: Annotated[str | None, typer.Option(help="What to ask the completion backend for.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the completion backend, 0 to 2.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens of an answer.")] = None,
    history_turns: Annotated[
        int | None, typer.Option(help="Most turns of a chat that a question comes after.")
    ] = None,
    empty_reply: Annotated[str | None, typer.Option(help="The answer when nothing is found.")] = None,
    welcome_text: Annotated[
        str | None, typer.Option(help="What a client shows before the first question.")
    ] = None,
    variable: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[=DEFAULT]", help="A name that prompts have in braces; may be given again."),
    ] = None,
    citations: Annotated[
        bool | None, typer.Option("--citations/--no-citations", help="Send the quotes with every answer.")
    ] = None,
    search_price: Annotated[float | None, typer.Option(help="Of 1,000 tokens, for the price fields.")] = None,
    chat_price: Annotated[float | None, typer.Option(help="Of 1,000 tokens, for the price fields.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an app: datasets, prompts and limits behind one chat key."""
    options = locals()
    with open_documents(read_settings()) as store:
        given = _given(store, options)
        app = Apps(store).create(new_app(name, given.pop("dataset_ids", ()), **given))
    if as_json:
        print_json(asdict(app))
    else:
        print_line(f"app {app.name} ({app.id}); a key for it: quotebase keys create --app {app.name}")


@apps.command("update")
def update_app(
    name: Name,
    rename: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    intro: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    dataset: Datasets = None,
    search_mode: Annotated[SearchMode | None, typer.Option(help="By meaning, by words, or both.")] = None,
    similarity: Annotated[float | None, typer.Option(help="Lowest score to keep, 0 to 1, inclusive.")] = None,
    limit: Annotated[int | None, typer.Option(help="Token budget of all quotes together.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Most quotes.")] = None,
    per_source: Annotated[int | None, typer.Option(help="Most quotes of one collection.")] = None,
    embedding_weight: Annotated[
        float | None, typer.Option(help="Of the meaning in mixedRecall, 0 to 1.")
    ] = None,
    rerank: Annotated[
        bool | None, typer.Option("--rerank/--no-rerank", help="Let the reranker judge.")
    ] = None,
    rerank_weight: Annotated[
        float | None, typer.Option(help="Of its order against the one before it.")
    ] = None,
    extension: Annotated[
        bool | None,
        typer.Option("--extension/--no-extension", help="Complete the question from the chat first."),
    ] = None,
    extension_model: Annotated[str | None, typer.Option(help="Of the completion backend, for that.")] = None,
    extension_background: Annotated[
        str | None, typer.Option(help="What it is told about the questions.")
    ] = None,
    system_prompt: Annotated[str | None, typer.Option(help="A system message after the quotes.")] = None,
    limit_prompt: Annotated[str | None, typer.Option(help="A system message after that one.")] = None,
    quote_template: Annotated[
        str | None, typer.Option(help="One quote, of {{q}}, {{a}}, {{index}} and others.")
    ] = None,
    quote_prompt: Annotated[
        str | None, typer.Option(help="Around all quotes: {{quote}}, {{question}}.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Name of a completion backend of the settings.")] = None,
    model: Annotated[str | None, typer.Option(help="What to ask the completion backend for.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the completion backend, 0 to 2.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens of an answer.")] = None,
    history_turns: Annotated[
        int | None, typer.Option(help="Most turns of a chat that a question comes after.")
    ] = None,
    empty_reply: Annotated[str | None, typer.Option(help="The answer when nothing is found.")] = None,
    welcome_text: Annotated[
        str | None, typer.Option(help="What a client shows before the first question.")
    ] = None,
    variable: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY[=DEFAULT]", help="A name that prompts have in braces; may be given again."),
    ] = None,
    citations: Annotated[
        bool | None, typer.Option("--citations/--no-citations", help="Send the quotes with every answer.")
    ] = None,
    search_price: Annotated[float | None, typer.Option(help="Of 1,000 tokens, for the price fields.")] = None,
    chat_price: Annotated[float | None, typer.Option(help="Of 1,000 tokens, for the price fields.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given and nothing else; --dataset and --variable take the place of all there were."""
    options = locals()
    with open_documents(read_settings()) as store:
        apps_ = Apps(store)
        given = _given(store, options) | ({} if rename is None else {"name": rename})
        app = replace(apps_.named(name), **given)
        check_app(app)
        apps_.update(app)
    if as_json:
        print_json(asdict(app))
    else:
        print_line(f"changed {app.name}")


@apps.command("show")
def show_app(name: Name) -> None:
    """All settings of an app, as JSON."""
    with open_documents(read_settings()) as store:
        print_json(asdict(Apps(store).named(name)))


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
def remove_app(name: Name) -> None:
    """Delete an app with its chats; its keys are revoked."""
    with open_documents(read_settings()) as store:
        apps_ = Apps(store)
        delete_app(apps_, Keys(store), Chats(store), apps_.named(name).id)
    print_line(f"deleted {name}")


_NO_FIELDS = frozenset(("name", "rename", "as_json", "dataset", "variable"))


def _given(store: Store, options: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an app: the options that are not ``None``."""
    given = {name: value for name, value in options.items() if name not in _NO_FIELDS and value is not None}
    if options["dataset"]:
        given["dataset_ids"] = dataset_ids_of(store, options["dataset"])
    if options["variable"]:
        pairs = (one.partition("=") for one in options["variable"])
        given["variables"] = tuple(Variable(key, default) for key, _, default in pairs)
    return given
