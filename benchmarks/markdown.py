"""Tables in Markdown, and the line that says where figures come from."""

from collections.abc import Mapping
from typing import Any


def table(*rows: tuple[object, ...]) -> str:
    """The first row is the head."""
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def provenance(report: Mapping[str, Any], command: str) -> str:
    """The command, the revision and the machine; how loaded it was, where that was told."""
    told = report["provenance"]
    loaded = f", load average {told['load_average']}" if "load_average" in told else ""
    return (
        f"`python -m benchmarks {command}` at revision {told['revision']}, {told['date'][:10]}, "
        f"{told['cores']} cores of {told['cpu']}{loaded}."
    )


def image(name: str) -> str:
    """A plot, as benchmarks/README.md links to it."""
    return f"![{name}](results/{name}.png)"
