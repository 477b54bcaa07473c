"""The commands that ask something of a dataset."""

import sys
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from api.output import model_progress, print_explanation, print_json, print_line, print_note, print_quotes
from api.settings import read_settings
from api.wiring import open_documents
from api.workspace import Workspace, open_workspace
from retrieval.errors import InvalidRequest
from retrieval.types import CollectionMatch, Extension, Fusion, SearchMode, SearchRequest

if TYPE_CHECKING:
    from api.apps import App
    from api.chat.history import Chat
    from api.chat.turn import Events, Turn
    from retrieval.completion import Completion

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
    dataset: Annotated[
        str, typer.Argument(metavar="[DATASET]", help="Name of the dataset, unless there is --app.")
    ],
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="What to ask.")] = None,
    app: Annotated[
        str | None, typer.Option(help="Name of an app, which says where and how to search.")
    ] = None,
    chat: Annotated[
        str | None, typer.Option(help="Id of a chat with that app, to go on with or to begin.")
    ] = None,
    similarity: Annotated[
        float | None, typer.Option(help="Lowest score to keep, 0 to 1, inclusive; without --app.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Token budget of all quotes; without --app.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer as it comes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer a question from a dataset, or as an app does, by the completion backends of the settings."""
    import asyncio

    from api.apps import Apps, new_app
    from api.chat.chats import LOCAL, Chats
    from api.chat.history import Place
    from retrieval.completion.backends import open_backends

    settings = read_settings()
    with open_documents(settings) as store, open_workspace(settings, model_progress()) as workspace:
        if app is None:
            if question is None or chat is not None:
                raise InvalidRequest(
                    "say which dataset and what to ask, or give --app NAME; a chat is with an app"
                )
            chosen = {} if limit is None else {"limit": limit}
            asked = new_app("ask", (workspace.dataset_named(dataset).id,), similarity=similarity, **chosen)
        else:
            if question is not None or similarity is not None or limit is not None:
                raise InvalidRequest(
                    "the app says where and how to search: give --app and the question alone"
                )
            asked, question = Apps(store).named(app), dataset
        conversation = Chats(store).at(Place(asked.id, LOCAL, chat)) if chat is not None else None
        completion = open_backends(settings.backends).named(asked.backend)
        answering = _answer(asked, question, conversation, workspace, completion)
        turn = asyncio.run(_printed(answering, shows_pieces=stream and not as_json))
    _print_turn(turn, as_json, was_streamed=stream)


def _answer(
    app: "App", question: str, chat: "Chat | None", workspace: Workspace, completion: "Completion"
) -> "Events":
    from api.chat.remembered import remembered
    from api.chat.turn import Question, run_turn
    from retrieval.completion import Message

    message = Message("user", question)
    asked = Question(message, chat.messages(app.history_turns) if chat else ())
    events = run_turn(app, asked, workspace.search, completion)
    return remembered(events, chat, message, None) if chat else events


async def _printed(events: "Events", *, shows_pieces: bool) -> "Turn":
    from api.chat.turn import AnswerPart, Turn

    async with aclosing(events):
        async for event in events:
            if isinstance(event, AnswerPart) and shows_pieces:
                sys.stdout.write(event.text)
                sys.stdout.flush()
            if isinstance(event, Turn):
                return event
    raise AssertionError("a turn ends with itself, or with an error")


def _print_turn(turn: "Turn", as_json: bool, was_streamed: bool) -> None:
    if as_json:
        from api.schemas.search import search_reply

        print_json(
            {"answer": turn.answer, "quotes": search_reply(replace(turn.found, quotes=turn.quotes))["list"]}
        )
        return
    print_line("" if was_streamed else turn.answer)
    print_note("")
    for place, quote in enumerate(turn.quotes, start=1):
        print_note(f"{place}. {quote.score:.4f}  {quote.record.q}  ({quote.collection_name})")
