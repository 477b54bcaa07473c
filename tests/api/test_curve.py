"""The picture of a calibration."""

import math
from pathlib import Path

import pytest
from PIL import Image

from api.curve import draw_curve
from retrieval.calibration import JudgedSearch, calibrate

LINES = {(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)}
"""Colours: precision, recall, F1, answerable and unanswerable queries without a quote."""


def colours(picture: Path) -> set[tuple[int, ...]]:
    with Image.open(picture) as image:
        assert (image.format, image.size) == ("PNG", (960, 840))
        found = image.convert("RGB").getcolors(maxcolors=1 << 24)
    assert found
    return {colour for _, colour in found if isinstance(colour, tuple)}


@pytest.mark.filterwarnings("error")
def test_a_calibration_is_drawn(tmp_path: Path) -> None:
    """With queries that nothing answers, and quotes that no threshold removes."""
    answered = JudgedSearch((0.9, math.inf, 0.5), (True, False, False), 1)
    unanswered = JudgedSearch((0.6,), (False,), 0)
    searches = [answered] * 20 + [unanswered] * 20

    draw_curve(calibrate(searches, 3), "embedding by labelled queries", tmp_path / "both.png")
    draw_curve(calibrate(searches[:20], 3), "embedding by labelled queries", tmp_path / "answered.png")

    assert colours(tmp_path / "both.png") >= LINES
    assert LINES - colours(tmp_path / "answered.png") == {(148, 103, 189)}
