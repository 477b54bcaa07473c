"""The errors, and the tree of them that the module draws."""

import re
from collections.abc import Iterator

import pytest

from retrieval import errors
from retrieval.errors import InvalidRequest, QuotebaseError


def descendants(parent: type[QuotebaseError], depth: int = 1) -> Iterator[tuple[int, type[QuotebaseError]]]:
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__:
            yield depth, child
            yield from descendants(child, depth + 1)


CLASSES = [QuotebaseError, *(child for _, child in descendants(QuotebaseError))]


def test_codes_are_snake_case_and_unique() -> None:
    codes = [error.code for error in CLASSES]
    assert len(set(codes)) == len(codes)
    for error in CLASSES:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
        assert error.code.replace("_", "") == error.__name__.lower()


def test_the_tree_that_is_drawn_is_the_tree_that_is() -> None:
    """Classes, their codes and their places, in the same order."""
    assert errors.__doc__ is not None
    drawn = [
        (len(branch) // 4, name, code)
        for branch, name, code in re.findall(
            r'^    ((?:[│├└─ ]{4})*)(\w+)\S* +(?:code )?"(\w+)"$', errors.__doc__, re.M
        )
    ]
    there = [(0, "QuotebaseError", "quotebase_error")]
    there += [(depth, child.__name__, child.code) for depth, child in descendants(QuotebaseError)]
    assert drawn == there


@pytest.mark.parametrize("error", CLASSES)
def test_a_message_is_what_was_said(error: type[QuotebaseError]) -> None:
    raised = error("the thing is broken: mend it")
    assert raised.message == str(raised) == "the thing is broken: mend it"


def test_an_invalid_value_is_named() -> None:
    assert InvalidRequest("bad", "limit").param == "limit"
    assert InvalidRequest("bad").param is None
