"""The picture of a calibration. The only module of the service that draws, imported when there is something to draw."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retrieval.calibration import GRID, Calibration

BINS = 60


def draw_curve(calibration: Calibration, what: str, path: Path) -> None:
    """Precision, recall and F1 by threshold above the scores they come from, all of the held-out half, as PNG.

    Args:
        what: was searched, for the title; in ASCII, as the font has few letters.

    Raises:
        OSError
    """
    figure = Figure(figsize=(8, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_shares(above, calibration)
    held_out = calibration.held_out
    above.set_title(
        f"{what}, {len(calibration.searches)} held-out searches\n"
        f"similarity {held_out.similarity:.3f}: precision {held_out.precision:.3f}, recall {held_out.recall:.3f}"
    )
    relevant, others = _scores(calibration, True), _scores(calibration, False)
    low, high = _range([*relevant, *others])
    for scores, label, colour in (
        (others, "other quotes", "tab:grey"),
        (relevant, "relevant quotes", "tab:green"),
    ):
        below.hist(scores, bins=np.linspace(low, high, BINS), label=label, color=colour, alpha=0.6)
    below.set(xlabel="similarity", ylabel="quotes", xlim=(low, high), yscale="symlog")
    for axes in (above, below):
        axes.axvline(calibration.similarity, color="black", linewidth=1)
        axes.legend(loc="best")
        axes.grid(alpha=0.3)
    figure.savefig(path, format="png", dpi=120)


def _draw_shares(axes: Axes, calibration: Calibration) -> None:
    curve = calibration.curve
    keeps_nothing = (curve.precision == 1) & (curve.recall == 0)
    axes.plot(GRID, np.where(keeps_nothing, np.nan, curve.precision), label="precision")
    axes.plot(GRID, curve.recall, label="recall")
    axes.plot(GRID, curve.f1, label="F1")
    axes.plot(GRID, curve.silent, label="answerable queries without a quote", linestyle=":")
    if curve.refused is not None:
        axes.plot(GRID, curve.refused, label="unanswerable queries without a quote", linestyle="--")
    axes.set(ylabel="share", ylim=(0, 1.02))


def _scores(calibration: Calibration, hit: bool) -> list[float]:
    """Of the quotes that are relevant, or that are not, but for those that no threshold removes."""
    return [
        score
        for search in calibration.searches
        for score, is_hit in zip(search.scores, search.hits, strict=True)
        if is_hit == hit and np.isfinite(score)
    ]


def _range(scores: Iterable[float]) -> tuple[float, float]:
    """What all scores are in, with some room."""
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    return max(0.0, low - 0.02), min(1.0, high + 0.02)
