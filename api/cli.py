"""The command line. Results go to stdout, everything else to stderr.

Exit codes: 0, 1 for an error in one line, 2 for bad usage, 130 when interrupted.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from api.cli_apps import apps
from api.cli_evaluate import evaluate_dataset
from api.cli_keys import keys
from api.cli_mcp import serve_mcp
from api.cli_search import ask_dataset, search_dataset
from api.output import (
    COUNTS,
    describe_differences,
    describe_index,
    import_progress,
    model_progress,
    print_json,
    print_line,
    print_note,
    print_preview,
    print_report,
    print_rows,
    step_progress,
)
from api.settings import Settings, read_settings
from api.wiring import open_documents
from api.workspace import Workspace, list_statuses, open_workspace
from ingest.chunking import ChunkOptions
from ingest.folders import find_files
from ingest.inputs import check_file
from ingest.jobs import ImportReport, ImportSettings, Jobs, Mode
from ingest.mapping import ColumnChoice
from ingest.preview import preview_file
from ingest.rows import TableOptions
from ingest.sources import Reading
from retrieval.background import take_short_turns
from retrieval.embedding import open_embedder
from retrieval.errors import (
    DatasetNotFound,
    InvalidRequest,
    MissingColumn,
    QuotebaseError,
    UnreadableFile,
)
from retrieval.types import Dataset, IndexStatus, VerifyReport

app = typer.Typer(
    help="Knowledge-base retrieval: CSV q/a datasets in, scored quotes out.", no_args_is_help=True
)
datasets = typer.Typer(help="List, delete, export, verify and rebuild datasets.", no_args_is_help=True)
jobs = typer.Typer(help="List and cancel imports.", no_args_is_help=True)
app.add_typer(datasets, name="datasets")
app.add_typer(jobs, name="jobs")
app.add_typer(apps, name="apps")
app.add_typer(keys, name="keys")

INTERRUPTED = 130

CHUNKS = ChunkOptions()

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


def main() -> None:
    """Run a command; an expected failure is one line on stderr and exit code 1."""
    take_short_turns()
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
        list[str],
        typer.Argument(
            help="Tables (CSV of any kind, XLSX, JSONL), documents (md, txt, html, pdf, docx), folders of them, "
            "http(s) links."
        ),
    ],
    dataset: Annotated[
        str | None, typer.Option(help="Name of the dataset; made if missing. Not needed for --dry-run.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="Name of the collection; the file's by default.")
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="Upsert goes by --key; replace makes the collection what the file says.")
    ] = "append",
    q: Annotated[str | None, typer.Option("--q", help="Column of questions, by name or position.")] = None,
    a: Annotated[str | None, typer.Option("--a", help="Column of answers.")] = None,
    index: Annotated[list[str] | None, typer.Option(help="Column of further texts to find it by.")] = None,
    key: Annotated[str | None, typer.Option(help="Column that a row is known by.")] = None,
    tags: Annotated[str | None, typer.Option(help="Column of tags, kept with the record.")] = None,
    meta: Annotated[list[str] | None, typer.Option(help="Column to keep with the record.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of the file; detected by default.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="One character or tab; detected by default.")] = None,
    errors: Annotated[
        Literal["strict", "replace"],
        typer.Option(help="Where bytes cannot be decoded: fail, or put U+FFFD in."),
    ] = "strict",
    header: Annotated[
        bool, typer.Option("--header/--no-header", help="Whether the first row names the columns.")
    ] = True,
    sheet: Annotated[
        str | None, typer.Option(help="Of a workbook; the one it opens with by default.")
    ] = None,
    chunk_size: Annotated[int, typer.Option(help="Most tokens of a chunk of a document.")] = CHUNKS.size,
    overlap: Annotated[int, typer.Option(help="Most tokens that a chunk repeats.")] = CHUNKS.overlap,
    splitter: Annotated[str, typer.Option(help="Where documents are always cut: a text or /regex/.")] = "",
    qa: Annotated[
        bool, typer.Option("--qa", help="Let the completion backend make q/a pairs of documents.")
    ] = False,
    qa_prompt: Annotated[str, typer.Option(help="What it is told to do, instead of our words.")] = "",
    vectors: Annotated[
        Path | None,
        typer.Option(help="A .npy file of ready-made embeddings, one for each text of each row, in order."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; write nothing.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(help="Write rejected rows here, to be mended and imported again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import files. What is there already costs nothing; the same command goes on with what was cut off."""
    table = TableOptions(encoding, delimiter, errors, header, sheet)
    columns = ColumnChoice(q, a, tuple(index or ()), key, tags, tuple(meta or ()))
    reading = Reading(
        table, columns, ChunkOptions(chunk_size, overlap, splitter), qa or bool(qa_prompt), qa_prompt
    )
    with tempfile.TemporaryDirectory(prefix="quotebase-") as folder:
        _ingest(
            _found(files, Path(folder)),
            dataset,
            collection,
            mode,
            reading,
            vectors,
            dry_run,
            rejects,
            as_json,
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """A file to import, what to call it, and the name of its collection."""

    path: Path
    shown: str
    collection: str


def _found(named: list[str], folder: Path) -> list[_Found]:
    """Files, those in folders, and what links lead to, which is fetched into ``folder``."""
    links = [name for name in named if name.lower().startswith(("http://", "https://"))]
    files = find_files([Path(name) for name in named if name not in links])
    found = [_Found(file, str(file), name) for file, name in files]
    if links:
        from ingest.links import LinkLimits, fetch_link

        limits = LinkLimits(allow_private=read_settings().private_links)
        for link in dict.fromkeys(links):
            fetched = fetch_link(link, folder, limits)
            found.append(_Found(fetched.path, fetched.name, link))
    return found


def _ingest(
    found: list[_Found],
    dataset: str | None,
    collection: str | None,
    mode: Mode,
    reading: Reading,
    vectors: Path | None,
    dry_run: bool,
    rejects: Path | None,
    as_json: bool,
) -> None:
    for option, value in (("--collection", collection), ("--vectors", vectors), ("--rejects", rejects)):
        if value and len(found) > 1:
            raise InvalidRequest(f"{option} takes one file: import the files one by one, or leave it out")
    imports = [
        ImportSettings(
            one.shown, collection or one.collection, mode, reading, vectors.name if vectors else ""
        )
        for one in found
    ]
    if mode == "replace" and len({one.collection for one in imports}) < len(imports):
        raise InvalidRequest(
            "files of the same name would replace each other: import them one by one, each with --collection"
        )
    if dry_run:
        _preview(found, imports, vectors, as_json)
        return
    if dataset is None:
        raise InvalidRequest("no dataset was named: give --dataset, or --dry-run")
    reports = []
    with open_workspace(read_settings(), model_progress(), say_wait=print_note) as workspace:
        into = _dataset_for(workspace, dataset, found, imports, vectors)
        for one, settings in zip(found, imports, strict=True):
            report = _import_one(workspace, into, one.path, settings, vectors, is_alone=len(found) == 1)
            reports.append(report)
            if rejects:
                with _writing(rejects):
                    workspace.save_rejects(report, rejects)
            if not as_json:
                print_report(report)
    if as_json:
        totals = {count: sum(getattr(report, count) for report in reports) for count in COUNTS}
        seconds = sum(report.seconds for report in reports)
        print_json({**totals, "seconds": seconds, "files": [asdict(report) for report in reports]})
    if failed := [report.file for report in reports if report.state == "failed"]:
        raise InvalidRequest(f"{len(failed)} of {len(reports)} files were not imported: {', '.join(failed)}")


def _import_one(
    workspace: Workspace,
    dataset: Dataset,
    file: Path,
    settings: ImportSettings,
    vectors: Path | None,
    *,
    is_alone: bool,
) -> ImportReport:
    """A file that cannot be read does not keep others from being imported."""
    try:
        with import_progress(Path(settings.file).name) as on_progress:
            return workspace.import_file(dataset, file, settings, vectors, on_progress)
    except (UnreadableFile, MissingColumn) as error:
        if is_alone:
            raise
        return ImportReport(
            settings.file, dataset.name, settings.collection, state="failed", error=error.message
        )


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Raises InvalidRequest if the file cannot be written."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror or error}") from error


def _preview(files: list[_Found], imports: list[ImportSettings], vectors: Path | None, as_json: bool) -> None:
    settings = read_settings()
    embedder = open_embedder(settings.embedder, settings.cache_dir, model_progress())
    previews, failed = [], []
    for file, chosen in zip(files, imports, strict=True):
        try:
            previews.append(preview_file(file.path, chosen, embedder, vectors))
        except (UnreadableFile, MissingColumn) as error:
            if len(files) == 1:
                raise
            failed.append(file.shown)
            print_note(f"{file.shown}: {error}")
    if as_json:
        print_json({"files": [asdict(preview) for preview in previews]})
    else:
        for preview in previews:
            print_preview(preview)
    if failed:
        raise InvalidRequest(f"{len(failed)} of {len(files)} files cannot be imported: {', '.join(failed)}")


def _dataset_for(
    workspace: Workspace,
    name: str,
    files: list[_Found],
    imports: list[ImportSettings],
    vectors: Path | None,
) -> Dataset:
    """The dataset of that name; made if missing, but not for a file that cannot be imported."""
    with suppress(DatasetNotFound):
        return workspace.dataset_named(name)
    problems: list[QuotebaseError] = []
    for file, settings in zip(files, imports, strict=True):
        try:
            check_file(file.path, settings, vectors)
        except (UnreadableFile, MissingColumn) as error:
            problems.append(error)
    if len(problems) == len(files):
        raise problems[0]
    return workspace.create_dataset(name)


app.command("search")(search_dataset)
app.command("ask")(ask_dataset)
app.command("evaluate")(evaluate_dataset)
app.command("mcp")(serve_mcp)


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


@datasets.command("export")
def export(
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    file: Annotated[Path, typer.Argument(help="CSV file to write.")],
) -> None:
    """Write all records to a CSV file that can be imported again."""
    with open_workspace(read_settings(), model_progress()) as workspace:
        dataset = workspace.dataset_named(name)
        with _writing(file):
            workspace.export(dataset.id, file)
    print_line(f"exported {name} to {file}")


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
        print_line(f"{name}: {count} passages{''.join(_described(report, name))}")
    mended = f"{report.repaired_batches} half-written batches and {report.orphans_removed} orphans mended"
    print_line("clean" if report.is_clean else mended)


def _described(report: VerifyReport, name: str) -> Iterator[str]:
    for index, found in (
        ("its index", report.differences.get(name)),
        ("its full-text index", report.text_differences.get(name)),
    ):
        if found:
            yield describe_differences(found, index)


@datasets.command("rebuild")
def rebuild(
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    model: Annotated[
        str | None, typer.Option(help="Embed it by this model of QUOTEBASE_EMBEDDING_MODELS.")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the former model.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the index of a dataset again from the store, or all of it by another embedding model.

    A server goes on searching meanwhile.
    """
    if model and rollback:
        raise typer.BadParameter("either --model or --rollback")
    settings = read_settings()
    if model or rollback:
        _move(settings, name, model, as_json)
        return
    with open_workspace(settings, model_progress()) as workspace, step_progress(name) as on_step:
        status = workspace.rebuild(workspace.dataset_named(name).id, on_step)
    if as_json:
        print_json(asdict(status))
    else:
        print_line(f"{name}: {status.passages} passages, {describe_index(status)}")


def _move(settings: Settings, name: str, model: str | None, as_json: bool) -> None:
    with open_workspace(settings, model_progress()) as workspace, step_progress(name) as on_step:
        present = workspace.move(workspace.dataset_named(name).id, model, on_step)
    if as_json:
        print_json({"dataset": name, "model": present})
    else:
        print_line(f"{name}: searched by {present}")


@jobs.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """Imports, oldest first: how far they are, or what became of them."""
    with open_documents(read_settings()) as store:
        found = Jobs(store).list()
    rows = [{"id": job.id, "created": job.created_at.isoformat(), **asdict(job.report)} for job in found]
    print_rows(rows, ("id", "state", "dataset", "collection", "file", "read", "rejected", "error"), as_json)


@jobs.command("cancel")
def cancel_job(job_id: Annotated[str, typer.Argument(help="Id of the job.")]) -> None:
    """End an import after the batch in hand; what is done stays."""
    with open_workspace(read_settings(), model_progress()) as workspace:
        job = workspace.cancel_job(job_id)
    print_line(f"{job.id} {job.state}")
