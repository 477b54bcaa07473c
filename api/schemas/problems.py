"""What pydantic finds wrong in a body, in the words of the wire."""

from collections.abc import Sequence
from typing import Any

_PLACES = ("body", "query")
"""What FastAPI puts before the name of a field."""


def describe_validation(problems: Sequence[Any], whole: str = "body") -> tuple[str, str]:
    """(field, sentence) for the first problem that pydantic found in ``whole``."""
    first = problems[0]
    if first["type"] == "json_invalid":
        return whole, f"{whole}: not valid JSON ({first['ctx']['error']})"
    place = [str(part) for part in first["loc"]]
    if place in ([], ["body"]):
        return whole, f"{whole}: a JSON object is expected, with Content-Type: application/json"
    param = ".".join(place[1:] if place[0] in _PLACES else place)
    return param, f"{param}: {first['msg']}"
