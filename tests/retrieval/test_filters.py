"""Which collections a filter chooses."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.filters import choose
from retrieval.types import Collection, CollectionMatch

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
STEP = timedelta(milliseconds=1)


def collection(key: int, *tags: str, created_at: datetime = NOON) -> Collection:
    return Collection(f"{key:024x}", key, "d" * 24, f"{key}.csv", tags, False, created_at, NOON)


PLAIN = collection(1)
LAMPS = collection(2, "lamps")
PRICES = collection(3, "prices")
BOTH = collection(4, "lamps", "prices", "2026")
ALL = [PLAIN, LAMPS, PRICES, BOTH]


@pytest.mark.parametrize(
    ("match", "chosen"),
    [
        (CollectionMatch(), {1, 2, 3, 4}),
        (CollectionMatch(ids=frozenset([LAMPS.id, BOTH.id, "f" * 24])), {2, 4}),
        (CollectionMatch(ids=frozenset()), set()),
        (CollectionMatch(all_of=("lamps",)), {2, 4}),
        (CollectionMatch(all_of=("lamps", "prices")), {4}),
        (CollectionMatch(all_of=("lamps", "lamps")), {2, 4}),
        (CollectionMatch(all_of=("lamps", "Prices")), set()),
        (CollectionMatch(all_of=("lamp",)), set()),
        (CollectionMatch(all_of=("",)), set()),
        (CollectionMatch(all_of=(None,)), {1}),
        (CollectionMatch(all_of=(None, None)), {1}),
        (CollectionMatch(all_of=(None, "lamps")), set()),
        (CollectionMatch(any_of=("lamps",)), {2, 4}),
        (CollectionMatch(any_of=("lamps", "prices")), {2, 3, 4}),
        (CollectionMatch(any_of=("desks", "prices")), {3, 4}),
        (CollectionMatch(any_of=("desks",)), set()),
        (CollectionMatch(any_of=(None,)), {1}),
        (CollectionMatch(any_of=("lamps", None)), {1, 2, 4}),
        (CollectionMatch(all_of=("lamps",), any_of=("prices", "2026")), {4}),
        (CollectionMatch(all_of=(None,), any_of=("lamps",)), set()),
        (CollectionMatch(ids=frozenset([LAMPS.id]), all_of=("lamps",)), {2}),
        (CollectionMatch(ids=frozenset([LAMPS.id]), all_of=("prices",)), set()),
        (CollectionMatch(all_of=("lamps",), created_from=NOON + STEP), set()),
    ],
)
def test_tags_and_ids(match: CollectionMatch, chosen: set[int]) -> None:
    assert choose(ALL, match) == chosen


def test_both_ends_of_a_period_are_in_it() -> None:
    moments = [collection(key, created_at=NOON + key * STEP) for key in range(-2, 3)]
    assert choose(moments, CollectionMatch(created_from=NOON)) == {0, 1, 2}
    assert choose(moments, CollectionMatch(created_to=NOON)) == {-2, -1, 0}
    assert choose(moments, CollectionMatch(created_from=NOON - STEP, created_to=NOON + STEP)) == {-1, 0, 1}
    assert choose(moments, CollectionMatch(created_from=NOON, created_to=NOON)) == {0}
    assert choose(moments, CollectionMatch(created_from=NOON, created_to=NOON - STEP)) == set()


def test_moments_are_the_same_in_every_zone() -> None:
    in_china = NOON.astimezone(timezone(timedelta(hours=8)))
    assert choose([PLAIN], CollectionMatch(created_from=in_china, created_to=in_china)) == {1}
    assert choose([PLAIN], CollectionMatch(created_from=in_china + STEP)) == set()


def test_forbidden_collections_are_chosen_too() -> None:
    assert choose([replace(LAMPS, forbid=True)], CollectionMatch(all_of=("lamps",))) == {2}


def test_no_collections() -> None:
    assert choose([], CollectionMatch(all_of=("lamps",))) == frozenset()


tags = st.sampled_from(["a", "b", "c"])
tags_or_none = st.lists(tags | st.none(), max_size=3).map(tuple)
moments = st.integers(0, 3).map(lambda hours: NOON + timedelta(hours=hours))
matches = st.builds(
    CollectionMatch,
    st.none() | st.frozensets(st.integers(0, 5).map(lambda key: f"{key:024x}")),
    tags_or_none,
    tags_or_none,
    st.none() | moments,
    st.none() | moments,
)
some_collections = st.lists(st.tuples(st.lists(tags, unique=True, max_size=3), moments), max_size=6).map(
    lambda drawn: [collection(key, *names, created_at=moment) for key, (names, moment) in enumerate(drawn)]
)


def meets(one: Collection, match: CollectionMatch) -> bool:
    """The filter as one sentence about one collection."""
    has = [tag in one.tags if tag is not None else one.tags == () for tag in match.all_of]
    may_have = [tag in one.tags if tag is not None else one.tags == () for tag in match.any_of]
    return (
        (match.ids is None or one.id in match.ids)
        and all(has)
        and (any(may_have) or not match.any_of)
        and (match.created_from is None or match.created_from <= one.created_at)
        and (match.created_to is None or one.created_at <= match.created_to)
    )


@given(some_collections, matches)
def test_chosen_are_exactly_those_that_meet_everything(
    collections: list[Collection], match: CollectionMatch
) -> None:
    assert choose(collections, match) == {one.key for one in collections if meets(one, match)}
