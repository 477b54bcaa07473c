"""The command that measures a dataset, and chooses a similarity threshold for it."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from api.evaluation import (
    Calibrated,
    calibrate_by_itself,
    calibrate_by_labels,
    calibration_report,
    changed,
    measure,
    measured_report,
    provenance,
    query_rows,
    threshold_of,
)
from api.output import model_progress, print_json, print_line, print_note, print_rows, step_progress
from api.settings import read_settings
from api.workspace import Workspace, open_workspace
from ingest.labelled import hash_of, read_labels
from retrieval.calibration import score_type
from retrieval.errors import InvalidRequest
from retrieval.evaluation import Floor, check_measure, measures_at, missed, parse_floor
from retrieval.labels import Digest, meet
from retrieval.types import MAX_LIMIT, SearchMode, SearchRequest
from retrieval.vectors.index import OnStep

SHOWN = 5
"""Most names that are listed where there may be many."""

MUCH_SILENCE = 0.1
"""Share of the queries with an answer that get no quote, beyond which it is said in words."""

SHARES = {
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "answerable without a quote": "silent",
    "unanswerable without a quote": "refused",
}
"""Columns, and what of a point is in them."""


def evaluate_dataset(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.")],
    queries: Annotated[
        Path | None,
        typer.Option(
            help="BEIR's queries.jsonl, or a table with the columns query and q, or query and record."
        ),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(help="BEIR's qrels, whose documents are record ids, keys, or row numbers from 1."),
    ] = None,
    mode: Annotated[SearchMode, typer.Option(help="How to search.")] = "embedding",
    similarity: Annotated[
        float | None, typer.Option(help="Lowest score to keep, 0 to 1; the dataset's own by default.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Token budget of all quotes together.")] = MAX_LIMIT,
    top_k: Annotated[int, typer.Option(min=1, help="Most quotes.")] = 10,
    rerank: Annotated[bool, typer.Option("--rerank", help="Order the quotes by the reranker.")] = False,
    embedding_weight: Annotated[float, typer.Option(help="Of the embedding in mixedRecall, 0 to 1.")] = 0.5,
    against: Annotated[
        str | None,
        typer.Option(
            help="What a second configuration has other than the first, as in mode=mixedRecall,limit=500."
        ),
    ] = None,
    measures: Annotated[
        list[str] | None, typer.Option("--measure", help="One of ir_measures, such as nDCG@10.")
    ] = None,
    per_query: Annotated[Path | None, typer.Option(help="Write a CSV with a row for each query.")] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(help="Exit with 1 if the mean is less, as in nDCG@10=0.7.")
    ] = None,
    calibration: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Choose a similarity; without --queries by the dataset's own texts."
        ),
    ] = False,
    target_precision: Annotated[
        float | None, typer.Option(help="Choose the lowest similarity with this precision, not the best F1.")
    ] = None,
    curve: Annotated[Path | None, typer.Option(help="Draw what each similarity does into this PNG.")] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Make the similarity the dataset's default in this mode.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value.")] = False,
) -> None:
    """Measure searches with labelled queries, compare two configurations, choose a similarity threshold."""
    for_queries = {"--qrels": qrels, "--against": against, "--measure": measures}
    _check_together(
        "--queries", queries, {**for_queries, "--per-query": per_query, "--fail-under": fail_under}
    )
    for_calibration = {"--target-precision": target_precision, "--curve": curve, "--apply": apply}
    _check_together("--calibrate", calibration, for_calibration)
    if not queries and not calibration:
        raise InvalidRequest("there is nothing to measure: give --queries, or --calibrate")
    if calibration:
        score_type(mode, rerank)
    _check_folders(per_query, curve)
    files = [file for file in (queries, qrels) if file]
    labels, label_hash = (read_labels(*files), hash_of(files)) if files else (None, "")
    floors = [parse_floor(text, top_k) for text in fail_under or ()]
    names = [check_measure(name, top_k) for name in measures or measures_at(top_k)]
    names += [floor.measure for floor in floors if floor.measure not in names]
    request = SearchRequest(
        text="",
        dataset_ids=(),
        similarity=similarity,
        limit=limit,
        top_k=top_k,
        mode=mode,
        embedding_weight=embedding_weight,
        rerank=rerank,
    )
    with _opened() as (workspace, on_step):
        chosen = workspace.dataset_named(dataset)
        request = replace(request, dataset_ids=(chosen.id,))
        digest = Digest()
        met = meet(labels, digest.over(workspace.list_records(chosen.id))) if labels else None
        report = {
            "dataset": dataset,
            "provenance": provenance(chosen, str(digest) if met else "", label_hash),
        }
        if met:
            requests = [request, changed(request, against)] if against else [request]
            measured = measure(workspace.search, met, requests, names, on_step)
            report |= measured_report(measured)
            if per_query:
                _write_rows(query_rows(measured), per_query)
        if calibration:
            calibrated = (
                calibrate_by_labels(workspace.search, met, request, top_k, target_precision, on_step)
                if met
                else calibrate_by_itself(workspace.search_itself, request, top_k, target_precision)
            )
            report |= {"calibration": {**calibration_report(calibrated), "applied": apply}}
            if curve:
                _draw(calibrated, curve)
            if apply:
                workspace.set_threshold(threshold_of(calibrated, label_hash))
    _tell(report, floors, as_json)


@contextmanager
def _opened() -> Iterator[tuple[Workspace, OnStep]]:
    """The workspace, and what shows how many searches are done."""
    with (
        open_workspace(read_settings(), model_progress()) as workspace,
        step_progress("searching") as on_step,
    ):
        yield workspace, on_step


def _tell(report: Mapping[str, Any], floors: Sequence[Floor], as_json: bool) -> None:
    """Print the report. Exits with 1 if a mean is under its floor."""
    failed = missed(floors, report["a"]["measures"]) if floors else []
    if as_json:
        print_json({**report, "failed": [asdict(floor) for floor in failed]})
    else:
        _print_report(report)
    for floor in failed:
        mean = report["a"]["measures"][floor.measure]
        print_note(f"quotebase: {floor.measure} is {mean:.4f}, less than {floor.least}")
    if failed:
        raise typer.Exit(1)


def _check_together(needed: str, is_given: object, options: Mapping[str, object]) -> None:
    """Raises InvalidRequest for an option that does nothing without another."""
    for option, value in options.items():
        if value and not is_given:
            raise InvalidRequest(f"{option} does nothing without {needed}: give both, or neither")


def _check_folders(*files: Path | None) -> None:
    """Raises InvalidRequest before anything is searched in vain."""
    for file in files:
        if file and not file.absolute().parent.is_dir():
            raise InvalidRequest(f"{file} cannot be written: there is no folder {file.parent}")


def _write_rows(rows: Iterable[Sequence[object]], path: Path) -> None:
    with _writing(path), path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(rows)


def _draw(calibrated: Calibrated, path: Path) -> None:
    from api.curve import draw_curve

    with _writing(path):
        draw_curve(calibrated.found, f"{calibrated.request.mode} by {calibrated.texts}", path)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Raises InvalidRequest if the file cannot be written."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror or error}") from error


def _print_report(report: Mapping[str, Any]) -> None:
    source = report["provenance"]
    print_line(f"{report['dataset']}: {source['model']['name']}, quotebase {source['code']}")
    if "a" in report:
        _print_labels(report)
        _print_measures(report)
    if "calibration" in report:
        _print_calibration(report["calibration"])


def _print_labels(report: Mapping[str, Any]) -> None:
    unanswerable = f", {report['unanswerable']} of them without an answer" if report["unanswerable"] else ""
    print_line(
        f"{report['queries']} queries{unanswerable}; records are named by {report['records_named_by']}"
    )
    if unmet := report["unmet"]:
        print_note(f"no record is named {_some(unmet)}: these count as never found")
    if leaked := report["leaked"]:
        print_note(
            f"the text of {len(leaked)} queries is in the dataset, which makes them easy: {_some(leaked)}"
        )


def _print_measures(report: Mapping[str, Any]) -> None:
    rows = []
    for name, mean in report["a"]["measures"].items():
        row = {"measure": name, "mean": f"{mean:.4f}"}
        if "b" in report:
            compared = report["comparison"][name]
            row |= {
                "of b": f"{report['b']['measures'][name]:.4f}",
                "difference": f"{compared['difference']:+.4f}",
                "better/same/worse": f"{compared['wins']}/{compared['ties']}/{compared['losses']}",
                "p, t-test": _p(compared["t_test"]),
                "p, randomisation": _p(compared["randomisation"]),
            }
        rows.append(row)
    print_rows(rows, list(rows[0]), as_json=False)
    for name in ("a", "b"):
        if name in report:
            _print_trial(name, report[name])


def _print_trial(name: str, trial: Mapping[str, Any]) -> None:
    times = ", ".join(f"{share} {ms:.1f}" for share, ms in trial["search_ms"].items())
    defaults = {field.name: field.default for field in fields(SearchRequest)}
    settings = ", ".join(
        f"{setting} {value}"
        for setting, value in trial["settings"].items()
        if setting in ("mode", "similarity") or value != defaults[setting]
    )
    print_line(f"{name}: search ms {times}; {settings}")
    if trial["refused"] is not None:
        print_line(f"{name}: {trial['refused']:.1%} of the queries without an answer get no quote")
    for note in trial["notes"]:
        print_note(f"{name}: {note}")


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _print_calibration(found: Mapping[str, Any]) -> None:
    applied = "now the dataset's default" if found["applied"] else "--apply makes it the dataset's default"
    print_line(f"similarity {found['similarity']:.3f} ({found['rule']}, by {found['texts']}); {applied}")
    parts = {"chosen on": "chosen_on", "held out": "held_out", "held out, without": "held_out_without"}
    rows = [
        {
            "half": part,
            "queries": found[name]["queries"],
            **{column: _share(found[name][share]) for column, share in SHARES.items()},
        }
        for part, name in parts.items()
    ]
    print_rows(rows, ("half", "queries", *SHARES), as_json=False)
    if (silent := found["held_out"]["silent"]) > MUCH_SILENCE:
        print_note(
            f"{silent:.0%} of the queries with an answer would get no quote: with a smaller --top-k, fewer"
        )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
