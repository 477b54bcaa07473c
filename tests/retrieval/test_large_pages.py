"""Advice about memory: it changes where the bytes are, and no byte."""

import platform
from pathlib import Path

import numpy as np
import pytest

from retrieval.vectors.codes import Codes, with_graph
from retrieval.vectors.large_pages import has_large_pages, use_large_pages
from tests.retrieval.passages import unit_rows


def huge_bytes() -> int:
    """In large pages of this process."""
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    (line,) = (line for line in rollup.splitlines() if line.startswith("AnonHugePages:"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("make", [Codes, with_graph])
def test_codes_at_rest_say_the_same_and_can_be_added_to(make: "type[Codes]") -> None:
    rows = unit_rows(3000, 1, 32).astype(np.float16)
    codes = make(32)
    codes.append(rows[:2000])
    before = codes.scan(rows[5].astype(np.float32), 10)

    codes.rest()

    after = codes.scan(rows[5].astype(np.float32), 10)
    assert np.array_equal(before.positions, after.positions)
    assert np.array_equal(before.scores, after.scores)
    codes.append(rows[2000:])
    assert np.array_equal(codes.at(slice(None)), rows)


def test_nothing_is_too_little() -> None:
    Codes(8).rest()
    with_graph(8).rest()
    use_large_pages(4096, 0)


@pytest.mark.skipif(not has_large_pages(), reason="this system has no large pages")
def test_large_codes_are_in_large_pages() -> None:
    codes = Codes(384)
    # Beyond 32 MiB the allocator never takes memory that was in use, which may be in large pages already.
    codes.append(unit_rows(50_000, 1, 384).astype(np.float16))
    before = huge_bytes()

    codes.rest()

    # Kernels before 6.1, and those short of memory, may put it off.
    assert huge_bytes() >= before
    release = tuple(map(int, platform.release().split(".")[:2]))
    if release >= (6, 1):
        assert huge_bytes() >= before + 16 * 2**20
