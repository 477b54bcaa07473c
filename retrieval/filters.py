"""Filters by what is known of a collection: which of them a search looks in."""

from collections.abc import Sequence

from retrieval.types import Collection, CollectionMatch


def choose(collections: Sequence[Collection], match: CollectionMatch) -> frozenset[int]:
    """Keys of those that match, forbidden ones included; takes time in proportion to their number."""
    found = collections
    if (ids := match.ids) is not None:
        found = [one for one in found if one.id in ids]
    if (first := match.created_from) is not None:
        found = [one for one in found if one.created_at >= first]
    if (last := match.created_to) is not None:
        found = [one for one in found if one.created_at <= last]
    if match.all_of:
        found = _with_all(found, frozenset(match.all_of))
    if match.any_of:
        found = _with_any(found, frozenset(match.any_of))
    return frozenset([one.key for one in found])


def _with_all(collections: Sequence[Collection], tags: frozenset[str | None]) -> list[Collection]:
    if None in tags:
        return [one for one in collections if not one.tags] if len(tags) == 1 else []
    return [one for one in collections if tags.issubset(one.tags)]


def _with_any(collections: Sequence[Collection], tags: frozenset[str | None]) -> list[Collection]:
    takes_untagged = None in tags
    return [one for one in collections if not tags.isdisjoint(one.tags) or (takes_untagged and not one.tags)]
