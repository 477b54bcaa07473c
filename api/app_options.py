"""The settings of an app as options of commands. Those of its search are called as in ``quotebase search``."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

from typer import Option

from retrieval.types import SearchMode


@dataclass(frozen=True, slots=True, kw_only=True)
class AppOptions:
    """An option for each field of an :class:`~api.apps.App`; ``None`` where it was not given."""

    dataset_ids: Annotated[
        list[str] | None, Option("--dataset", help="Name of a dataset; may be given again.")
    ]
    intro: Annotated[str | None, Option(help="What it is for.")]
    search_mode: Annotated[SearchMode | None, Option("--mode", help="By meaning, by words, or both.")]
    similarity: Annotated[
        float | None,
        Option(
            help="Lowest score to keep, 0 to 1, inclusive; what the datasets are calibrated to by default."
        ),
    ]
    limit: Annotated[int | None, Option(help="Token budget of all quotes together.")]
    top_k: Annotated[int | None, Option(help="Most quotes.")]
    per_source: Annotated[int | None, Option(help="Most quotes of one collection.")]
    embedding_weight: Annotated[float | None, Option(help="Of the meaning in mixedRecall, 0 to 1.")]
    rerank: Annotated[
        bool | None, Option("--rerank/--no-rerank", help="Let the reranker of the settings judge.")
    ]
    rerank_weight: Annotated[float | None, Option(help="Of its order against the one before it.")]
    extension: Annotated[
        bool | None,
        Option(
            "--extend/--no-extend",
            help="Complete the question from the chat, and search with other phrasings.",
        ),
    ]
    extension_model: Annotated[str | None, Option(help="What to ask the completion backend for to do that.")]
    extension_background: Annotated[
        str | None, Option("--background", help="What that is told about the questions.")
    ]
    system_prompt: Annotated[str | None, Option(help="A system message after the quotes.")]
    limit_prompt: Annotated[str | None, Option(help="A system message after that one.")]
    quote_template: Annotated[str | None, Option(help="One quote, of {{q}}, {{a}}, {{index}} and others.")]
    quote_prompt: Annotated[str | None, Option(help="Around all quotes: {{quote}}, {{question}}.")]
    backend: Annotated[str | None, Option(help="Name of a completion backend of the settings.")]
    model: Annotated[str | None, Option(help="What to ask the completion backend for.")]
    temperature: Annotated[float | None, Option(help="Of the completion backend, 0 to 2.")]
    max_tokens: Annotated[int | None, Option(help="Most tokens of an answer.")]
    history_turns: Annotated[int | None, Option(help="Most turns of a chat that a question is asked after.")]
    empty_reply: Annotated[str | None, Option(help="The answer when nothing is found.")]
    welcome_text: Annotated[str | None, Option(help="What a client shows before the first question.")]
    variables: Annotated[
        list[str] | None,
        Option(
            "--variable",
            metavar="KEY=DEFAULT",
            help="A name that the prompts have in braces; may be given again.",
        ),
    ]
    citations: Annotated[
        bool | None, Option("--citations/--no-citations", help="Send the quotes with every answer.")
    ]
    search_price: Annotated[float | None, Option(help="Of 1,000 tokens, for the price fields.")]
    chat_price: Annotated[float | None, Option(help="Of 1,000 tokens, for the price fields.")]

    @property
    def given(self) -> dict[str, Any]:
        """Those that were given, by the names of the fields."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in every.items() if value is not None}


def takes_app_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options, which it gets as ``options``: Typer reads the signature and nothing else."""
    hints = get_type_hints(AppOptions, include_extras=True)
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[field.name]
        )
        for field in fields(AppOptions)
    ]
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]

    @wraps(command)
    def run(**given: Any) -> None:
        command(options=AppOptions(**{one.name: given.pop(one.name) for one in options}), **given)

    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    # The name and what is of this command first, --json last.
    run.__signature__ = signature.replace(parameters=[*keyword_only[:-1], *options, keyword_only[-1]])  # type: ignore[attr-defined]
    return run
