"""The commands, each of which keeps one report for each thing that it measures in benchmarks/results."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, get_args

import typer

from benchmarks.report import publish
from retrieval.background import take_short_turns
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.errors import QuotebaseError
from retrieval.types import SearchMode

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
BULK = DATA / "bulk" / "qa_mixed_bulk.csv"
LABELLED = ("scifact", "medical_faq_zh", "cmrc2018", "covid_faq_en")
"""Labelled sets; the last is the smallest."""
CACHE = Path.home() / ".cache" / "quotebase"

AsJson = Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")]
Quick = Annotated[
    bool, typer.Option("--quick", help="A small measurement in under two minutes, kept in results/quick.")
]
CacheDir = Annotated[
    Path, typer.Option(envvar="QUOTEBASE_CACHE_DIR", help="Where the bundled model is unpacked.")
]

speed = typer.Typer(help="How fast it is.", no_args_is_help=True)
app.add_typer(speed, name="speed")

QUERIES = 2000
QUICK_ROWS, QUICK_QUERIES = 12_000, 500


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _labelled(is_quick: bool) -> list[Path]:
    return [DATA / "retrieval" / name for name in (LABELLED[-1:] if is_quick else LABELLED)]


@app.command()
def quality(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Labelled sets: BEIR layout, or labels of the CSV beside it; four by default."),
    ] = None,
    mode: Annotated[
        SearchMode | None, typer.Option(help="How to search; in all ways, one after another, by default.")
    ] = None,
    split: Annotated[str, typer.Option(help="Whose qrels.")] = "test",
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the imported dataset here for the next run.")
    ] = None,
    cache_dir: CacheDir = CACHE,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Import labelled sets, search all their queries, print nDCG, recall and reciprocal rank at 10."""
    from benchmarks.quality import measure_quality

    modes = (mode,) if mode else get_args(SearchMode)
    embedder = BundledEmbedder(cache_dir)
    for folder in folders or _labelled(quick):
        measured = measure_quality(folder, split, modes, embedder, data_dir, _say)
        publish(measured, quick or mode is not None, as_json)


@app.command()
def embedding(
    bulk: Annotated[Path, typer.Option(help="A CSV file with the columns q and a.")] = BULK,
    rows: Annotated[int, typer.Option(help="Most rows; every 60th of the file is taken.")] = 800,
    rounds: Annotated[int, typer.Option(help="How often each engine has its turn.")] = 3,
    cache_dir: CacheDir = CACHE,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Tokens per second and fidelity of the bundled model, beside the same weights in other engines."""
    from benchmarks.embedding import measure_embedding

    rows, rounds = (min(rows, 100), 1) if quick else (rows, rounds)
    publish(measure_embedding(bulk, BundledEmbedder(cache_dir), rows, rounds, _say), quick, as_json)


@speed.command("vectors")
def speed_vectors(
    bulk: Annotated[Path, typer.Option(help="A CSV file with the columns q and a.")] = BULK,
    most: Annotated[
        int,
        typer.Option(min=10_000, help="Stop at the last of 10, 30, 100, 300 and 1,000 thousand within this."),
    ] = 1_000_000,
    cache_dir: CacheDir = CACHE,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """The vector engine from 10,000 passages on: recall, latency, memory, start, filters, deletes, HTTP."""
    from benchmarks.corpus import REAL_PASSAGES, read_corpus
    from benchmarks.vectors import SIZES, measure_vectors
    from retrieval.embedding import binding

    embedder = BundledEmbedder(cache_dir)
    rows, queries = (QUICK_ROWS, QUICK_QUERIES) if quick else (REAL_PASSAGES, QUERIES)
    corpus = read_corpus(bulk, embedder, cache_dir, queries, _say, rows)
    sizes = [size for size in SIZES if size <= (min(SIZES) if quick else most)]
    publish(measure_vectors(bulk, corpus, binding(embedder), cache_dir, sizes, _say), quick, as_json)


@speed.command("ingest")
def speed_ingest(
    bulk: Annotated[Path, typer.Option(help="A CSV file with the columns q and a.")] = BULK,
    rows: Annotated[int, typer.Option(min=4_000, help="Most rows to import.")] = 1_000_000,
    cache_dir: CacheDir = CACHE,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """An import beside the embedding of its texts alone; again; changed; and searches beside one."""
    from benchmarks.ingest import measure_ingest

    rows = min(rows, 4_000) if quick else rows
    publish(measure_ingest(bulk, BundledEmbedder(cache_dir), rows, _say), quick, as_json)


@speed.command("search")
def speed_search(
    bulk: Annotated[Path, typer.Option(help="A CSV file with the columns q and a.")] = BULK,
    rows: Annotated[int, typer.Option(min=1_000, help="Most rows to search in.")] = 1_000_000,
    cache_dir: CacheDir = CACHE,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Whole searches in each mode, with and without embedding the question; making the full-text index."""
    from benchmarks.search import measure_search

    rows = min(rows, 4_000) if quick else rows
    publish(measure_search(bulk, BundledEmbedder(cache_dir), cache_dir, rows, _say), quick, as_json)


@speed.command("soak")
def speed_soak(
    bulk: Annotated[Path, typer.Option(help="A CSV file with the columns q and a.")] = BULK,
    seconds: Annotated[float, typer.Option(min=1, help="How long.")] = 60.0,
    clients: Annotated[int, typer.Option(min=1, help="That write, and as many that search.")] = 8,
    cache_dir: CacheDir = CACHE,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Clients that write and clients that search at once, and whether anything is lost."""
    from benchmarks.ingest import read_rows
    from benchmarks.report import make_report
    from benchmarks.server import environment_of
    from benchmarks.soak import measure_soak
    from retrieval.embedding import binding

    rows = list(dict.fromkeys(read_rows(bulk, 1_000_000)))
    with tempfile.TemporaryDirectory(prefix="quotebase-bench-") as place:
        environment = environment_of(Path(place) / "data", cache_dir)
        results = measure_soak(
            environment, rows, min(seconds, 20) if quick else seconds, clients, clients, _say
        )
    publish(make_report("speed soak", binding(BundledEmbedder(cache_dir)), bulk, results), quick, as_json)


@app.command()
def peers(
    parts: Annotated[
        list[str] | None, typer.Argument(help="vectors, texts, quality; all of them by default.")
    ] = None,
    bulk: Annotated[Path, typer.Option(help="A CSV file with the columns q and a.")] = BULK,
    cache_dir: CacheDir = CACHE,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Other systems on the same data, each installed into an environment of its own in the cache directory."""
    from benchmarks.peers.measure import Part, measure_peers

    chosen: list[Part] = [part for part in get_args(Part) if not parts or part in parts]
    if unknown := set(parts or ()) - set(chosen):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(get_args(Part))}")
    embedder = BundledEmbedder(cache_dir)
    for measured in measure_peers(chosen, bulk, _labelled(quick), embedder, cache_dir, quick, _say):
        publish(measured, quick, as_json)


@speed.command("chat")
def speed_chat(
    bulk: Annotated[Path, typer.Option(help="A CSV file with the columns q and a.")] = BULK,
    quick: Quick = False,
    cache_dir: CacheDir = CACHE,
    as_json: AsJson = False,
) -> None:
    """What the chat layer adds to a language model: to its first word, and to 32 answers at once."""
    from benchmarks.chat import FULL, QUICK, measure_chat

    scale = QUICK if quick else FULL
    publish(measure_chat(bulk, BundledEmbedder(cache_dir), cache_dir, scale, _say), quick, as_json)


@app.command()
def http(
    bulk: Annotated[Path, typer.Option(help="A CSV file with the columns q and a.")] = BULK,
    cache_dir: CacheDir = CACHE,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Searches and chats over HTTP: so many clients at once, and rates up to more than the server can do."""
    from benchmarks.http import FULL, QUICK, measure_http

    scale = QUICK if quick else FULL
    publish(measure_http(bulk, BundledEmbedder(cache_dir), cache_dir, scale, _say), quick, as_json)


@app.command()
def report() -> None:
    """Make benchmarks/README.md, its plots and the README's short table from the reports in benchmarks/results."""
    from benchmarks.readme import write_all

    write_all()


if __name__ == "__main__":
    take_short_turns()
    try:
        app()
    except QuotebaseError as error:
        _say(f"benchmarks: {error.message}")
        sys.exit(1)
