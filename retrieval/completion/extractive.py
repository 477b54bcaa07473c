"""The backend that answers without any service: it says what the best quote says."""

import sys
from collections.abc import AsyncGenerator

from retrieval.completion import EXTRACTIVE, Finish, Piece, Prompt, TextDelta

NOTHING_FOUND = "知识库中没有找到相关内容。(Nothing relevant was found in the knowledge base.)"


class ExtractiveCompletion:
    """Replies with the answer of the best quote, or its text where it has no answer."""

    model = EXTRACTIVE
    context_tokens = sys.maxsize

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        best = prompt.quotes[0].record if prompt.quotes else None
        yield TextDelta((best.a or best.q) if best else NOTHING_FOUND)
        yield Finish("stop", self.model)

    async def aclose(self) -> None:
        """It has no connections."""
