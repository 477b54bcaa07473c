"""The wire's ``collectionFilterMatch``: what is read, and what is said where it cannot be."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.filters import FILTER, ID_LIST, PERIOD, TAG_LIST, TAGS, TIME, parse_filter
from retrieval.errors import InvalidRequest
from retrieval.types import CollectionMatch

ID = "653279b16cd42ab509e766e8"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


# Reading


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"tags": {"$and": ["a", "b"]}}, CollectionMatch(all_of=("a", "b"))),
        ({"tags": {"$and": ["b", "a", "b"]}}, CollectionMatch(all_of=("b", "a"))),
        ({"tags": {"$or": ["a", None]}}, CollectionMatch(any_of=("a", None))),
        ({"tags": {"$and": [None]}}, CollectionMatch(all_of=(None,))),
        ({"tags": {"$and": [], "$or": ["a"]}}, CollectionMatch(any_of=("a",))),
        ({"tags": {"$and": None, "$or": ["a"]}}, CollectionMatch(any_of=("a",))),
        ({"tags": {"$and": ["a"], "$or": ["b"]}}, CollectionMatch(all_of=("a",))),
        ({"tags": {"$and": ["nobody has this"]}}, CollectionMatch(all_of=("nobody has this",))),
        ({"collectionIds": [ID, ID]}, CollectionMatch(ids=frozenset([ID]))),
        (
            {"tags": {"$or": ["标签"]}, "createTime": {"$lte": "2026-01-31"}, "collectionIds": [ID]},
            CollectionMatch(frozenset([ID]), (), ("标签",), None, utc(2026, 1, 31)),
        ),
        (
            {"tags": None, "createTime": {"$gte": "2026-01-31 08:00", "$lte": None}},
            CollectionMatch(created_from=utc(2026, 1, 31, 8)),
        ),
    ],
)
def test_filters(given: dict[str, Any], match: CollectionMatch) -> None:
    assert parse_filter(given) == match
    assert parse_filter(json.dumps(given)) == match
    assert parse_filter(f"\n {json.dumps(given, ensure_ascii=False, indent=2)} ") == match


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-01-31 08:00", utc(2026, 1, 31, 8)),
        (" 2026-01-31 08:00 ", utc(2026, 1, 31, 8)),
        ("2026-01-31 08:00:59", utc(2026, 1, 31, 8, 0, 59)),
        ("2026-01-31T08:00", utc(2026, 1, 31, 8)),
        ("2026-01-31T08:00:00Z", utc(2026, 1, 31, 8)),
        ("2026-01-31T08:00:00.123Z", utc(2026, 1, 31, 8, 0, 0, 123_000)),
        ("2026-01-31T08:00:00+08:00", utc(2026, 1, 31, 0)),
        ("2026-01-31 00:00-01:30", utc(2026, 1, 31, 1, 30)),
        ("2026-01-31", utc(2026, 1, 31)),
    ],
)
def test_times(written: str, moment: datetime) -> None:
    match = parse_filter({"createTime": {"$gte": written, "$lte": written}})
    assert match == CollectionMatch(created_from=moment, created_to=moment)
    assert match.created_from is not None
    assert match.created_from.tzinfo is UTC


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own zone is eight hours ahead of UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC-8")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_the_zone_of_the_machine_does_not_matter() -> None:
    match = parse_filter({"createTime": {"$gte": "2026-01-31 08:00", "$lte": "2026-01-31"}})
    assert match == CollectionMatch(created_from=utc(2026, 1, 31, 8), created_to=utc(2026, 1, 31))


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        " \n",
        "null",
        "{}",
        {},
        {"tags": {}},
        {"tags": None, "createTime": None, "collectionIds": None},
        {"tags": {"$and": [], "$or": []}, "createTime": {"$gte": "", "$lte": None}, "collectionIds": []},
    ],
)
def test_a_filter_that_asks_for_nothing_is_none(given: object) -> None:
    assert parse_filter(given) is None


# Refusing


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "collectionFilterMatch is a list"),
        (0, "collectionFilterMatch is a number"),
        (False, "collectionFilterMatch is a truth value"),
        ("[]", "collectionFilterMatch is a list"),
        ('"tags"', "collectionFilterMatch is 'tags'"),
        ({"tag": {}}, "collectionFilterMatch has no 'tag'"),
        ({"$and": ["a"]}, "collectionFilterMatch has no '$and'"),
        ({"tags": ["a"]}, "collectionFilterMatch.tags is a list"),
        ({"tags": "a"}, "collectionFilterMatch.tags is 'a'"),
        ({"tags": {"$in": ["a"]}}, "collectionFilterMatch.tags has no '$in'"),
        ({"tags": {"$and": "a"}}, "collectionFilterMatch.tags.$and is 'a'"),
        ({"tags": {"$or": {"a": True}}}, "collectionFilterMatch.tags.$or is an object"),
        ({"tags": {"$and": ["a", 1.5]}}, "collectionFilterMatch.tags.$and[1] is a number"),
        ({"tags": {"$and": ["a"], "$or": [["b"]]}}, "collectionFilterMatch.tags.$or[0] is a list"),
        ({"tags": {"$and": [{"a": {"$eq": "b"}}]}}, "collectionFilterMatch.tags.$and[0] is an object"),
        ({"createTime": "2026-01-31"}, "collectionFilterMatch.createTime is '2026-01-31'"),
        ({"createTime": {"$gt": "2026-01-31"}}, "collectionFilterMatch.createTime has no '$gt'"),
        ({"createTime": {"$gte": "yesterday"}}, "collectionFilterMatch.createTime.$gte is 'yesterday'"),
        ({"createTime": {"$gte": "2026-02-30"}}, "collectionFilterMatch.createTime.$gte is '2026-02-30'"),
        ({"createTime": {"$lte": 1769846400000}}, "collectionFilterMatch.createTime.$lte is a number"),
        ({"createTime": {"$lte": "9999-12-31T23:59-01:00"}}, "collectionFilterMatch.createTime.$lte is '9999"),
        ({"collectionIds": ID}, f"collectionFilterMatch.collectionIds is '{ID}'"),
        ({"collectionIds": [None]}, "collectionFilterMatch.collectionIds[0] is null"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_named(given: object, said: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_filter(given)
    assert raised.value.message.startswith(said)
    assert ": it looks like " in raised.value.message
    assert raised.value.param == "collectionFilterMatch"


@pytest.mark.parametrize("given", ["{", "{'tags': {}}", '{"tags": {},}', "tags", "[" * 100_000])
def test_what_is_no_json_is_refused(given: str) -> None:
    with pytest.raises(InvalidRequest, match="collectionFilterMatch cannot be read as JSON"):
        parse_filter(given)


def test_every_example_is_right() -> None:
    assert parse_filter(FILTER) is not None
    for tags in TAGS.split(" or "):
        assert parse_filter({"tags": json.loads(tags)}) is not None
    assert parse_filter({"createTime": json.loads(PERIOD)}) is not None
    assert parse_filter({"tags": {"$and": json.loads(TAG_LIST.split(", with")[0])}}) is not None
    assert parse_filter({"collectionIds": json.loads(ID_LIST)}) is not None
    for moment in TIME.split(" or "):
        assert parse_filter({"createTime": {"$gte": json.loads(moment)}}) is not None


def test_a_message_is_short_and_can_be_sent() -> None:
    half = '"\\ud83d' + "x" * 10_000 + '"'
    for text in (f'{{"tags": {half}}}', f"{{{half}: 1}}", f'{{"createTime": {{"$gte": {half}}}}}', half):
        with pytest.raises(InvalidRequest) as raised:
            parse_filter(text)
        assert len(raised.value.message.encode()) < 300


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
names = st.sampled_from(["tags", "createTime", "collectionIds", "$and", "$or", "$gte", "$lte"]) | st.text(
    max_size=3
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)


@given(values | st.fixed_dictionaries({}, optional=dict.fromkeys(["tags", "createTime"], values)))
def test_whatever_is_given_is_read_or_refused(value: object) -> None:
    try:
        match = parse_filter(value)
    except InvalidRequest:
        return
    assert match is None or match != CollectionMatch()
