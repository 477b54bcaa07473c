"""Dify's ``metadata_condition``: which collections a retrieval looks in, by title, tags, id and time of creation."""

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import ConfigDict, Field

from api.schemas import Wire
from retrieval.errors import InvalidRequest
from retrieval.types import Collection

Test = TypeVar("Test")

FIELD = "metadata_condition"

_TEXTS: Mapping[str, Callable[[Collection], Sequence[str]]] = {
    "title": lambda collection: (collection.name,),
    "collectionId": lambda collection: (collection.id,),
    "tags": lambda collection: collection.tags,
}
_TIME = "createTime"

_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "start with": str.startswith,
    "end with": str.endswith,
    "is": operator.eq,
    "=": operator.eq,
    "in": operator.eq,
}
_DENIALS = {"not contains": "contains", "is not": "is", "≠": "is", "not in": "in"}
_WITHOUT_VALUE = ("empty", "not empty")
_TIME_TESTS: Mapping[str, Callable[[datetime, datetime], bool]] = {
    "before": operator.lt,
    "<": operator.lt,
    "≤": operator.le,
    "after": operator.gt,
    ">": operator.gt,
    "≥": operator.ge,
}


class Condition(Wire):
    """One comparison. ``name`` may be a list, and ``value`` too: one of each is enough."""

    model_config = ConfigDict(alias_generator=None)

    name: str | list[str]
    comparison_operator: str
    value: str | float | list[str] | None = None

    def holds_for(self, collection: Collection) -> bool:
        """Raises InvalidRequest for a field or operator that there is none of."""
        names = [self.name] if isinstance(self.name, str) else self.name
        if names == [_TIME]:
            return self._holds_for_time(collection.created_at)
        texts = [text for name in names for text in _texts_of(collection, name)]
        if self.comparison_operator in _WITHOUT_VALUE:
            return any(texts) == (self.comparison_operator == "not empty")
        is_denial = self.comparison_operator in _DENIALS
        test = self._test(_TESTS, _DENIALS.get(self.comparison_operator, self.comparison_operator))
        return is_denial != any(test(text, value) for text in texts for value in self._values())

    @property
    def is_complete(self) -> bool:
        """One without the value that it needs does not count, as in Dify."""
        return self.value is not None or self.comparison_operator in _WITHOUT_VALUE

    def _values(self) -> list[str]:
        return self.value if isinstance(self.value, list) else [str(self.value)]

    def _holds_for_time(self, created_at: datetime) -> bool:
        return self._test(_TIME_TESTS, self.comparison_operator)(created_at, self._moment())

    def _moment(self) -> datetime:
        """Seconds since 1970, or ISO 8601, in UTC where that names no zone."""
        try:
            if isinstance(self.value, int | float):
                return datetime.fromtimestamp(self.value, UTC)
            moment = datetime.fromisoformat(self._values()[0])
        except (ValueError, OverflowError, IndexError):
            raise InvalidRequest(
                f"{FIELD}: {_TIME} is compared with {self.value!r}: give a time such as 2026-01-31T08:00:00Z",
                FIELD,
            ) from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _test(self, tests: Mapping[str, Test], name: str) -> Test:
        if name not in tests:
            raise InvalidRequest(
                f"{FIELD}: {self.name} cannot be compared by {name!r}: use one of {', '.join(tests)}", FIELD
            )
        return tests[name]


class MetadataCondition(Wire):
    """Conditions on collections, all of which have to hold, or one of them."""

    model_config = ConfigDict(alias_generator=None)

    logical_operator: Literal["and", "or"] = "and"
    conditions: list[Condition] = Field(default_factory=list)

    def choose(self, collections: Sequence[Collection]) -> frozenset[str] | None:
        """The ids of those that meet it; ``None`` if it asks for nothing. Raises InvalidRequest."""
        conditions = [condition for condition in self.conditions if condition.is_complete]
        if not conditions:
            return None
        enough = all if self.logical_operator == "and" else any
        return frozenset(
            collection.id
            for collection in collections
            if enough([condition.holds_for(collection) for condition in conditions])
        )


def _texts_of(collection: Collection, name: str) -> Sequence[str]:
    if name not in _TEXTS:
        raise InvalidRequest(
            f"{FIELD}: there is no filter by {name!r}, only by {', '.join((*_TEXTS, _TIME))}: leave it out",
            FIELD,
        )
    return _TEXTS[name](collection)
