"""The commands that ask something of a dataset."""

import sys
from typing import Annotated

import typer

from api.output import model_progress, print_explanation, print_json, print_line, print_note, print_quotes
from api.settings import read_settings
from api.workspace import open_workspace
from retrieval.types import CollectionMatch, Extension, Fusion, SearchMode, SearchRequest, SearchResult

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]
Similarity = Annotated[
    float | None,
    typer.Option(help="Lowest score to keep, 0 to 1, inclusive; what it was calibrated to by default."),
]
Limit = Annotated[int, typer.Option(help="Token budget of all quotes together.")]


def search_dataset(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.")],
    text: Annotated[str, typer.Argument(help="What to look for.")],
    similarity: Similarity = None,
    limit: Limit = 1500,
    top_k: Annotated[int | None, typer.Option(help="Most quotes.")] = None,
    per_source: Annotated[int | None, typer.Option(help="Most quotes of one collection.")] = None,
    mode: Annotated[SearchMode, typer.Option(help="By meaning, by words, or both.")] = "embedding",
    embedding_weight: Annotated[float, typer.Option(help="Of the meaning in mixedRecall, 0 to 1.")] = 0.5,
    fusion: Annotated[
        Fusion, typer.Option(help="What mixedRecall joins its two orders by; ranks is FastGPT's way.")
    ] = "scores",
    rerank: Annotated[bool, typer.Option("--rerank", help="Let the reranker of the settings judge.")] = False,
    rerank_weight: Annotated[float, typer.Option(help="Of its order against the one before it.")] = 0.5,
    extend: Annotated[
        bool, typer.Option("--extend", help="Search with other phrasings too, by the completion backend.")
    ] = False,
    background: Annotated[str, typer.Option(help="What that is told about the questions.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Only collections with all of these tags.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each quote is there, or not.")] = False,
    why: Annotated[str | None, typer.Option(help="Id of a record: say why it is not there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find quotes for a text."""
    with open_workspace(read_settings(), model_progress()) as workspace:
        request = SearchRequest(
            text=text,
            dataset_ids=(workspace.dataset_named(dataset).id,),
            similarity=similarity,
            limit=limit,
            top_k=top_k,
            mode=mode,
            embedding_weight=embedding_weight,
            fusion=fusion,
            per_source=per_source,
            collections=CollectionMatch(all_of=tuple(tag)) if tag else None,
            rerank=rerank,
            rerank_weight=rerank_weight,
            extension=Extension(background) if extend or background else None,
            explain=explain or why is not None,
            explain_record=why,
        )
        reply = workspace.search_reply(request)
    if as_json:
        print_json(reply)
        return
    print_quotes(reply["list"])
    if "explain" in reply:
        print_explanation(reply["explain"], why)
    for note in reply["notes"]:
        print_note(note)
    print_note(f"{len(reply['list'])} quotes in {float(reply['duration'].rstrip('s')) * 1000:.0f} ms")


def ask_dataset(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    similarity: Annotated[float, typer.Option(help="Lowest score to keep, 0 to 1, inclusive.")] = 0.0,
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
        from api.schemas.search import search_reply

        print_json({"answer": answer, "quotes": search_reply(found)["list"]})
        return
    print_line("" if was_streamed else answer)
    print_note("")
    for place, quote in enumerate(found.quotes, start=1):
        print_note(f"{place}. {quote.score:.4f}  {quote.record.q}  ({quote.collection_name})")
