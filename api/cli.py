"""The command line. Results go to stdout, everything else to stderr.

Exit codes: 0, 1 for an error in one line, 2 for bad usage, 130 when interrupted.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api.cli_access import apps, keys
from api.output import (
    COUNTS,
    describe_differences,
    describe_index,
    import_progress,
    model_progress,
    print_json,
    print_line,
    print_note,
    print_quotes,
    print_report,
    print_rows,
    step_progress,
)
from api.settings import read_settings
from api.workspace import Workspace, list_statuses, open_workspace
from ingest.jobs import check_file
from retrieval.errors import DatasetNotFound, InvalidRequest, QuotebaseError
from retrieval.types import Dataset, IndexStatus, SearchRequest, SearchResult

app = typer.Typer(
    help="Knowledge-base retrieval: CSV q/a datasets in, scored quotes out.", no_args_is_help=True
)
datasets = typer.Typer(help="List, delete, verify and rebuild datasets.", no_args_is_help=True)
app.add_typer(datasets, name="datasets")
app.add_typer(apps, name="apps")
app.add_typer(keys, name="keys")

INTERRUPTED = 130

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
Similarity = Annotated[float, typer.Option(help="Lowest score to keep, 0 to 1, inclusive.")]
Limit = Annotated[int, typer.Option(help="Token budget of all quotes together.")]


def main() -> None:
    """Run a command; an expected failure is one line on stderr and exit code 1."""
    try:
        _check_arguments(sys.argv[1:])
        app()
    except QuotebaseError as error:
        print_note(f"quotebase: {' '.join(error.message.splitlines())}")
        sys.exit(1)
    except SystemExit as end:
        # Typer has made this out of a KeyboardInterrupt.
        if end.code == INTERRUPTED:
            print_note(
                "quotebase: interrupted; what was committed stays, the same command goes on from there"
            )
        raise


def _check_arguments(arguments: list[str]) -> None:
    """Raises InvalidRequest for the first that is no text: it could be neither stored nor sent."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(f"{argument!a} is not UTF-8: give it, and name the file, in UTF-8") from None


@app.command()
def ingest(
    files: Annotated[
        list[Path],
        typer.Argument(help="CSV files with the header q,a[,indexes] or index,content, or JSONL files."),
    ],
    dataset: Annotated[str, typer.Option(help="Name of the dataset; made if missing.")],
    collection: Annotated[
        str | None, typer.Option(help="Name of the collection; the file's by default.")
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(help="A .npy file of ready-made embeddings, one for each text of each row, in order."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import CSV files. Rows that are there already cost nothing."""
    for option, value in (("--collection", collection), ("--vectors", vectors)):
        if value and len(files) > 1:
            raise InvalidRequest(f"{option} takes one file: import the files one by one, or leave it out")
    reports = []
    with open_workspace(read_settings(), model_progress()) as workspace:
        into = _dataset_for(workspace, dataset, files, vectors)
        for file in files:
            with import_progress(file.name) as on_progress:
                report = workspace.import_file(into, file, collection, vectors, on_progress)
            reports.append(report)
            if not as_json:
                print_report(report)
    if as_json:
        totals = {count: sum(getattr(report, count) for report in reports) for count in COUNTS}
        seconds = sum(report.seconds for report in reports)
        print_json({**totals, "seconds": seconds, "files": [asdict(report) for report in reports]})


def _dataset_for(workspace: Workspace, name: str, files: list[Path], vectors: Path | None) -> Dataset:
    """The dataset of that name; made if missing, but not for a file that cannot be imported."""
    for file in files:
        if file.is_dir():
            raise InvalidRequest(f"{file} is a folder: name the CSV files in it")
        if not file.is_file():
            raise InvalidRequest(f"there is no file {file}")
    try:
        return workspace.dataset_named(name)
    except DatasetNotFound:
        for file in files:
            check_file(file, vectors)
        return workspace.create_dataset(name)


@app.command()
def search(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.")],
    text: Annotated[str, typer.Argument(help="What to look for.")],
    similarity: Similarity = 0.0,
    limit: Limit = 1500,
    top_k: Annotated[int | None, typer.Option(help="Most quotes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find quotes for a text."""
    with open_workspace(read_settings(), model_progress()) as workspace:
        dataset_id = workspace.dataset_named(dataset).id
        result = workspace.search(SearchRequest(text, (dataset_id,), similarity, limit, top_k))
    if as_json:
        from api.schemas.datasets import search_reply

        print_json(search_reply(result))
    else:
        print_quotes(result.quotes)
        print_note(f"{len(result.quotes)} quotes in {result.seconds * 1000:.0f} ms")


@app.command()
def ask(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    similarity: Similarity = 0.0,
    limit: Limit = 1500,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer as it comes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer a question from a dataset, by the completion backend of the settings."""
    from api.apps import new_app
    from api.chat.turn import AnswerPart, Question, Turn, run_turn
    from retrieval.completion import Message, open_completion

    settings = read_settings()
    with open_workspace(settings, model_progress()) as workspace:
        asked = new_app("ask", (workspace.dataset_named(dataset).id,), similarity=similarity, limit=limit)
        completion = open_completion(settings.completion)
        for event in run_turn(asked, Question(Message("user", question)), workspace.search, completion):
            if isinstance(event, AnswerPart) and stream and not as_json:
                sys.stdout.write(event.text)
                sys.stdout.flush()
            if isinstance(event, Turn):
                _print_turn(event.answer, event.found, as_json, was_streamed=stream)


def _print_turn(answer: str, found: SearchResult, as_json: bool, was_streamed: bool) -> None:
    if as_json:
        from api.schemas.datasets import search_reply

        print_json({"answer": answer, "quotes": search_reply(found)["list"]})
        return
    print_line("" if was_streamed else answer)
    print_note("")
    for place, quote in enumerate(found.quotes, start=1):
        print_note(f"{place}. {quote.score:.4f}  {quote.record.q}  ({quote.collection_name})")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; QUOTEBASE_HOST by default.")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port, 0 for a free one; QUOTEBASE_PORT by default."),
    ] = None,
) -> None:
    """Serve the HTTP API. The first start on an empty directory makes an admin key and prints it once."""
    from api.serving import serve_http

    settings = read_settings()
    chosen = settings.model_copy(
        update={"host": host or settings.host, "port": settings.port if port is None else port}
    )
    serve_http(chosen, print_line, model_progress())


@datasets.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """Records, passages and model of every dataset, and where its index stands."""
    rows = [
        {
            "id": status.dataset.id,
            "name": status.dataset.name,
            "records": status.records,
            "passages": status.index.passages,
            "bytes_per_passage": _per_passage(status.index),
            "index": describe_index(status.index),
            "model": status.dataset.model.name,
            "parts": asdict(status.index),
        }
        for status in list_statuses(read_settings())
    ]
    print_rows(rows, ("name", "records", "passages", "bytes_per_passage", "index", "model", "id"), as_json)


def _per_passage(index: IndexStatus) -> int:
    """Bytes of the loaded index, else of its files."""
    return round((index.memory_bytes or index.disk_bytes) / max(1, index.passages))


@datasets.command("delete")
def delete_dataset(name: Annotated[str, typer.Argument(help="Name of the dataset.")]) -> None:
    """Delete a dataset with everything in it."""
    with open_workspace(read_settings()) as workspace:
        workspace.delete_dataset(workspace.dataset_named(name).id)
    print_line(f"deleted {name}")


@datasets.command("verify")
def verify(as_json: AsJson = False) -> None:
    """Compare the indexes with the store, passage by passage, and mend what differs."""
    settings = read_settings()
    with open_workspace(settings, model_progress()) as workspace, step_progress("comparing") as on_step:
        report = workspace.verify(on_step)
    if as_json:
        print_json({"clean": report.is_clean, **asdict(report)})
        return
    for name, count in report.passages.items():
        found = report.differences.get(name)
        print_line(f"{name}: {count} passages{describe_differences(found) if found else ''}")
    mended = f"{report.repaired_batches} half-written batches and {report.orphans_removed} orphans mended"
    print_line("clean" if report.is_clean else mended)


@datasets.command("rebuild")
def rebuild(
    name: Annotated[str, typer.Argument(help="Name of the dataset.")], as_json: AsJson = False
) -> None:
    """Make the index of a dataset again from the store; a server goes on searching meanwhile."""
    settings = read_settings()
    with open_workspace(settings, model_progress()) as workspace, step_progress(name) as on_step:
        status = workspace.rebuild(workspace.dataset_named(name).id, on_step)
    if as_json:
        print_json(asdict(status))
    else:
        print_line(f"{name}: {status.passages} passages, {describe_index(status)}")
