"""The backend that answers without any service: it says what the best quote says."""

from collections.abc import Iterator

from retrieval.completion import EXTRACTIVE, Piece, Prompt, TextDelta

NOTHING_FOUND = "知识库中没有找到相关内容。(Nothing relevant was found in the knowledge base.)"


class ExtractiveCompletion:
    """Replies with the answer of the best quote, or its text where it has no answer."""

    model = EXTRACTIVE

    def stream(self, prompt: Prompt) -> Iterator[Piece]:
        if prompt.quotes:
            best = prompt.quotes[0].record
            yield TextDelta(best.a or best.q)
        else:
            yield TextDelta(NOTHING_FOUND)
