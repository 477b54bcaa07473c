"""The README tells of everything there is."""

import re
from collections.abc import Iterator

import pytest
import typer

from api.cli import app
from api.settings import PREFIX, Settings
from tests.api.conftest import ROOT
from tests.api.wire import Api

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> Iterator[str]:
    """Every command, as it is typed after ``quotebase``."""
    for name, command in typer.main.get_group(app).commands.items():
        further = getattr(command, "commands", None)
        yield from (f"{name} {second}" for second in further) if further else (name,)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert PREFIX + name.upper() in README


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_is_in_the_readme(command: str) -> None:
    assert re.search(rf"(`|quotebase ){command}\b", README)


def test_every_path_is_in_the_readme(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]

    assert len(paths) > 10
    assert [path for path in paths if path not in README] == []
