"""Plots of the reports, and the power that a figure grows with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def exponent(sizes: Sequence[float], values: Sequence[float | None]) -> float | None:
    """b of the best a · n^b through the values above 0, by least squares of logarithms; ``None`` of fewer than two."""
    points = [(size, value) for size, value in zip(sizes, values, strict=True) if value]
    if len(points) < 2:
        return None
    logarithms = np.log(np.array(points))
    # Added to -0.0, 0 gives 0.0.
    return round(float(np.polyfit(logarithms[:, 0], logarithms[:, 1], 1)[0]), 4) + 0.0


def plot_growth(report: Mapping[str, Any], path: Path) -> None:
    """Latency, start, bytes and time to build against passages, both axes logarithmic, with exponents, as PNG."""
    growth = report["results"]["growth"]
    sizes = [one["passages"] for one in growth]
    lines = {
        "search p50, ms": [one["p50_ms"] for one in growth],
        "search p99, ms": [one["p99_ms"] for one in growth],
        "start, s": [one["start_s"] for one in growth],
        "adds and folds, s": [one["add_s"] + one["fold_s"] for one in growth],
        "index, MB": [one["index_bytes_per_passage"] * one["passages"] / 1e6 for one in growth],
        "resident, MB": [one["resident_bytes_per_passage"] * one["passages"] / 1e6 for one in growth],
        "database, MB": [one["database_bytes"] / 1e6 for one in growth],
    }
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(7.5, 5))
    for label, values in lines.items():
        power = exponent(sizes, values)
        axes.loglog(sizes, values, marker="o", label=label if power is None else f"{label}: n^{power:.2f}")
    axes.set_xlabel("passages")
    _save(pyplot, figure, axes, path)


def plot_peers(report: Mapping[str, Any], path: Path) -> None:
    """Queries a second against recall, by default and at the same recall, a colour for each peer, as PNG."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(7.5, 5))
    for answer in report["results"]["peers"].values():
        points = [answer[name] for name in ("default", "same_recall") if answer.get(name)]
        if points:
            axes.plot(
                [point["recall_at_10"] for point in points],
                [point["queries_per_s"] for point in points],
                marker="o",
                label=answer["name"],
            )
    axes.axvline(report["results"]["least_recall"], color="grey", linestyle=":")
    axes.set_yscale("log")
    axes.set_xlabel("recall@10")
    axes.set_ylabel("queries a second, one client")
    _save(pyplot, figure, axes, path)


def plot_http(report: Mapping[str, Any], path: Path) -> None:
    """Milliseconds against the rate that questions come at, a colour for each load, dashes for p99, as PNG."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(7.5, 5))
    for place, (name, load) in enumerate(report["results"]["loads"].items()):
        rates = [one["rate"] for one in load["open"]]
        for field, style in (("p50_ms", "-"), ("p99_ms", "--")):
            values = [one[field] for one in load["open"]]
            label = f"{name.replace('_', ', ')} questions: {field.removesuffix('_ms')}"
            axes.plot(rates, values, style, marker="o", color=f"C{place}", label=label)
    axes.set_yscale("log")
    axes.set_xlabel("questions a second")
    axes.set_ylabel("ms to the answer")
    _save(pyplot, figure, axes, path)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(pyplot: Any, figure: Any, axes: Any, path: Path) -> None:
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
