"""The wire's ``collectionFilterMatch``: which collections a search looks in, by tags, time of creation and id."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from retrieval.errors import InvalidRequest
from retrieval.types import CollectionMatch

FIELD = "collectionFilterMatch"

FILTER = '{"tags": {"$and": ["lamps"]}, "createTime": {"$gte": "2026-01-31 08:00"}}'
TAGS = '{"$and": ["lamps", "prices"]} or {"$or": ["lamps", null]}'
PERIOD = '{"$gte": "2026-01-31 08:00", "$lte": "2026-02-28T23:59:59Z"}'
TAG_LIST = '["lamps", "prices"], with null for a collection without tags'
ID_LIST = '["653279b16cd42ab509e766e8"]'
TIME = '"2026-01-31 08:00" or "2026-01-31T08:00:00+08:00"'
"""What each part looks like."""

MAX_QUOTED = 50
"""Characters of a value that go into a message."""

_KINDS = {dict: "an object", list: "a list", bool: "a truth value", int: "a number", float: "a number"}


def parse_filter(given: object) -> CollectionMatch | None:
    """The filter in an object, or in a text that is the JSON of one; ``None`` if it asks for nothing.

    ``tags`` has ``$and``, or else ``$or``, with null for collections without tags: as in FastGPT, where both
    are given ``$or`` does not count. ``createTime`` has ``$gte`` and ``$lte``, inclusive, in UTC where they name
    no zone. ``collectionIds`` lists ids. Empty parts and null are as if left out.

    Raises:
        InvalidRequest: a part is unknown or malformed; the message names it and shows a right one.
    """
    parts = _object(_decoded(given), FIELD, ("tags", "createTime", "collectionIds"), FILTER)
    tags = _object(parts.get("tags"), f"{FIELD}.tags", ("$and", "$or"), TAGS)
    period = _object(parts.get("createTime"), f"{FIELD}.createTime", ("$gte", "$lte"), PERIOD)
    all_of, any_of = (_tags(tags.get(name), f"{FIELD}.tags.{name}") for name in ("$and", "$or"))
    first, last = (_time(period.get(name), f"{FIELD}.createTime.{name}") for name in ("$gte", "$lte"))
    ids = frozenset(_ids(parts.get("collectionIds"), f"{FIELD}.collectionIds"))
    match = CollectionMatch(ids or None, all_of, () if all_of else any_of, first, last)
    return None if match == CollectionMatch() else match


def _decoded(given: object) -> object:
    if not isinstance(given, str):
        return given
    if not given.strip():
        return None
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"{FIELD} cannot be read as JSON ({error}): give an object or its JSON, such as {FILTER}", FIELD
        ) from None


def _object(value: object, part: str, names: Collection[str], example: str) -> dict[str, Any]:
    """An object with no other names than these; empty if there is none."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _malformed(part, value, example)
    for name in value:
        if name not in names:
            raise InvalidRequest(f"{part} has no {_told(name)}: it looks like {example}", FIELD)
    return value


def _tags(value: object, part: str) -> tuple[str | None, ...]:
    return tuple(_list(value, part, (str, type(None)), TAG_LIST))


def _ids(value: object, part: str) -> list[str]:
    return _list(value, part, (str,), ID_LIST)


def _list(value: object, part: str, kinds: tuple[type, ...], example: str) -> list[Any]:
    """The distinct items, all of these kinds; empty if there is none."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise _malformed(part, value, example)
    for place, item in enumerate(value):
        if not isinstance(item, kinds):
            raise _malformed(f"{part}[{place}]", item, example)
    return list(dict.fromkeys(value))


def _time(value: object, part: str) -> datetime | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _malformed(part, value, TIME)
    try:
        moment = datetime.fromisoformat(value.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _malformed(part, value, TIME) from None


def _malformed(part: str, value: object, example: str) -> InvalidRequest:
    return InvalidRequest(f"{part} is {_told(value)}: it looks like {example}", FIELD)


def _told(value: object) -> str:
    """A short text in quotes, anything else by its kind."""
    return repr(value[:MAX_QUOTED]) if isinstance(value, str) else _KINDS.get(type(value), "null")
