"""Where in a long list a page lies, seen from the nearer end."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """``count`` items after ``skip`` others, counted from the end if ``is_from_end``."""

    skip: int
    count: int
    is_from_end: bool


def stretch(total: int, offset: int, limit: int) -> Stretch:
    """The way to ``limit`` items, or as many as there are, after ``offset`` others."""
    count = max(0, min(limit, total - offset))
    after = total - offset - count
    return Stretch(after, count, True) if count and after < offset else Stretch(offset, count, False)
