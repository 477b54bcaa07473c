"""The command line in this process, and what it printed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.api.processes import Ran

RunHere = Callable[..., Ran]
"""See the fixture ``run_here``."""


class Cli:
    """``quotebase`` on an empty directory of our own; ``settings`` may be added to."""

    def __init__(self, run_here: RunHere, data_dir: Path, settings: dict[str, str]) -> None:
        self._run_here = run_here
        self.data_dir = data_dir
        self.settings = settings

    def __call__(self, *arguments: str | Path) -> Ran:
        return self._run_here(*arguments, data_dir=self.data_dir, **self.settings)


def json_of(ran: Ran) -> Any:
    """What a command printed that went well: one JSON value."""
    assert (ran.code, ran.err) == (0, "")
    return json.loads(ran.out)


def complaint(ran: Ran) -> str:
    """What a command said that failed: one line."""
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("quotebase: ")
    assert ran.err.endswith("\n")
    assert ran.err.count("\n") == 1
    return ran.err.removeprefix("quotebase: ").rstrip("\n")
