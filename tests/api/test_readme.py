"""The README tells of everything there is."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from api.cli import app
from api.errors import STATUS
from api.schemas.apps import AppFields
from api.schemas.imports import ImportForm
from api.settings import PREFIX, Settings
from retrieval.errors import QuotebaseError
from tests.api.conftest import ROOT
from tests.api.wire import Api

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> Iterator[str]:
    """Every command, as it is typed after ``quotebase``."""
    for name, command in typer.main.get_group(app).commands.items():
        further = getattr(command, "commands", None)
        yield from (f"{name} {second}" for second in further) if further else (name,)


def options(*path: str) -> Iterator[str]:
    """How the options of a command, or of one in a group, are turned from their defaults."""
    command: Any = typer.main.get_group(app)
    for name in path:
        command = command.commands[name]
    for parameter in command.params:
        if parameter.name not in ("files", "header", "as_json"):
            yield parameter.opts[0]
        yield from parameter.secondary_opts


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert PREFIX + name.upper() in README


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_is_in_the_readme(command: str) -> None:
    assert re.search(rf"(`|quotebase ){command}\b", README)


@pytest.mark.parametrize("option", list(options("ingest")))
def test_every_option_of_an_import_is_in_the_readme(option: str) -> None:
    assert re.search(rf"`[^`]*{option}\b", README)


@pytest.mark.parametrize(
    "option", sorted({*options("apps", "create"), *options("apps", "update")} - {"name"})
)
def test_every_option_of_an_app_is_in_the_readme(option: str) -> None:
    assert re.search(rf"`[^`]*{option}\b", README)


@pytest.mark.parametrize("field", [field.alias for field in AppFields.model_fields.values()])
def test_every_field_of_an_app_is_in_the_readme(field: str) -> None:
    assert f"`{field}`" in README


@pytest.mark.parametrize("field", [field.alias for field in ImportForm.model_fields.values()])
def test_every_field_of_an_upload_is_in_the_readme(field: str) -> None:
    assert re.search(rf"[`\"]{field}\b", README)


@pytest.mark.parametrize("code", [kind.code for kind in STATUS if kind is not QuotebaseError])
def test_every_error_code_is_in_the_readme(code: str) -> None:
    assert f"`{code}`" in README


def test_every_path_is_in_the_readme(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]

    assert len(paths) > 10
    assert [path for path in paths if path not in README] == []
