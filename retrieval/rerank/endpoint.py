"""Relevance from a ``/rerank`` endpoint in the form of Jina's and Cohere's, which most servers of rerankers have."""

from collections.abc import Sequence

import httpx2
from pydantic import BaseModel, FiniteFloat, ValidationError

from retrieval.errors import RerankFailed
from retrieval.rerank import to_relevance

TIMEOUT_S = 30.0
"""How long the endpoint may stay silent."""

MAX_QUOTED = 300
"""Characters of a server's own words that go into a message."""


class _Result(BaseModel, strict=True):
    index: int
    relevance_score: FiniteFloat


class _Reply(BaseModel, strict=True):
    results: list[_Result]


class EndpointReranker:
    """A reranking model behind an endpoint. All texts of a query are one request."""

    def __init__(self, url: str, model: str, key: str, timeout_s: float = TIMEOUT_S) -> None:
        self.name = model or url
        self._url = url
        self._model = model
        self._key = key
        self._timeout_s = timeout_s
        self._client = httpx2.Client(timeout=timeout_s)

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        body = {"model": self._model, "query": query, "documents": list(texts), "top_n": len(texts)}
        results = self._ask(body)
        if sorted(result.index for result in results) != list(range(len(texts))):
            raise self._failed(f"did not give each of {len(texts)} texts one score")
        scores = [result.relevance_score for result in sorted(results, key=lambda result: result.index)]
        if all(0 <= score <= 1 for score in scores):
            return scores
        # Some servers give what the model says, without a sigmoid.
        return [to_relevance(score) for score in scores]

    def _ask(self, body: dict[str, object]) -> list[_Result]:
        try:
            reply = self._post(body)
        except httpx2.TimeoutException as error:
            raise self._failed(f"was silent for {self._timeout_s:g} s") from error
        except (httpx2.LocalProtocolError, UnicodeError) as error:
            # What the library says of it has the key in it.
            raise self._failed(
                "cannot be asked: the key or a text has characters that cannot be sent"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._failed("cannot be reached or broke off", str(error)) from error
        if not reply.is_success:
            raise self._failed(f"answered {reply.status_code}", reply.text)
        try:
            return _Reply.model_validate_json(reply.content).results
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the reply"
            raise self._failed("gave a reply of another form", f"{place}: {first['msg']}") from error

    def _post(self, body: dict[str, object]) -> httpx2.Response:
        """Once more if the connection fails: it may have been kept open for too long."""
        try:
            return self._send(body)
        except (httpx2.NetworkError, httpx2.RemoteProtocolError):
            return self._send(body)

    def _send(self, body: dict[str, object]) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return self._client.post(self._url, json=body, headers=headers)

    def _failed(self, what: str, quoted: str = "") -> RerankFailed:
        line = " ".join(quoted.split())
        if self._key:
            line = line.replace(self._key, "<the key>")
        said = f"{what}: {line[:MAX_QUOTED]}" if line else what
        return RerankFailed(
            f"the rerank endpoint failed: {self._url} {said}; check QUOTEBASE_RERANK_URL, QUOTEBASE_RERANK_KEY "
            "and QUOTEBASE_RERANK_MODEL"
        )
