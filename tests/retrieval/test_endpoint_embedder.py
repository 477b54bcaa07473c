"""Embeddings from an endpoint, over a real connection to a server that does as it is told."""

import math
import time
from collections.abc import Iterator

import numpy as np
import pytest

from retrieval.embedding import EmbedderChoice, open_embedder
from retrieval.embedding.endpoint import EndpointEmbedder
from retrieval.errors import EmbedderUnavailable
from retrieval.openai_client import EndpointError, OpenAIEmbeddings
from retrieval.tokens import count_tokens
from tests.doubles import HashEmbedder
from tests.openai_server import OpenAIServer, Reply, closed_port, openai_server, refusal, text, vectors

KEY = "sk-0123456789abcdef"

DIMENSION = vectors([1.0, 0.0])
"""The answer to the text by which the embedder finds out how wide vectors are."""


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as running:
        yield running


@pytest.fixture
def endpoint(server: OpenAIServer) -> EndpointEmbedder:
    return EndpointEmbedder("scripted", server.url, KEY, max_tokens=16)


def asked(server: OpenAIServer) -> list[list[str]]:
    """The texts of each request, after the one for the dimension."""
    first, *further = [request.body["input"] for request in server.asked("embeddings")]
    assert first == ["dimension"]
    return further


def failure(endpoint: EndpointEmbedder, server: OpenAIServer, *replies: Reply) -> str:
    """What is said when two texts get these replies."""
    server.script(DIMENSION, *replies)
    with pytest.raises(EmbedderUnavailable) as caught:
        endpoint.embed_passages(["a", "b"])
    assert KEY not in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


def test_vectors_are_those_of_the_texts_in_their_order_and_of_unit_length(endpoint: EndpointEmbedder) -> None:
    texts = ["导演是谁", "grind size", "", "导演是谁"]

    for embed in (endpoint.embed_queries, endpoint.embed_passages):
        embeddings = embed(texts)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(embeddings, HashEmbedder().embed_queries(texts), atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_a_request_takes_64_texts(endpoint: EndpointEmbedder, server: OpenAIServer) -> None:
    texts = [f"text {number}" for number in range(130)]

    embeddings = endpoint.embed_passages(texts)

    assert asked(server) == [texts[:64], texts[64:128], texts[128:]]
    np.testing.assert_allclose(embeddings, HashEmbedder().embed_queries(texts), atol=1e-6)


def test_64_texts_are_one_request(endpoint: EndpointEmbedder, server: OpenAIServer) -> None:
    endpoint.embed_passages(["a"] * 64)

    assert [len(texts) for texts in asked(server)] == [64]


def test_no_texts_are_no_request(endpoint: EndpointEmbedder, server: OpenAIServer) -> None:
    assert endpoint.embed_passages([]).shape == (0, 64)
    assert asked(server) == []


def test_what_is_sent(endpoint: EndpointEmbedder, server: OpenAIServer) -> None:
    endpoint.embed_queries(["导演是谁"])

    request = server.requests[-1]
    assert request.path == "/v1/embeddings"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {"model": "scripted", "input": ["导演是谁"], "encoding_format": "float"}


def test_dimension_is_asked_for_once(endpoint: EndpointEmbedder, server: OpenAIServer) -> None:
    assert endpoint.dim == endpoint.dim == 64
    endpoint.embed_queries(["a"])

    assert asked(server) == [["a"]]


def test_fingerprint_is_of_the_name_and_the_dimension(server: OpenAIServer) -> None:
    def fingerprint(name: str, *width: Reply) -> str:
        server.script(*width)
        return EndpointEmbedder(name, server.url, KEY, 512).fingerprint

    assert fingerprint("one") == fingerprint("one")
    assert len({fingerprint("one"), fingerprint("two"), fingerprint("one", DIMENSION)}) == 3


def test_long_texts_are_cut(endpoint: EndpointEmbedder, server: OpenAIServer) -> None:
    fits, too_long = "word" + " word" * 15, "word" + " word" * 16
    assert (count_tokens(fits), count_tokens(too_long)) == (16, 17)

    endpoint.embed_passages([fits, too_long])

    assert asked(server) == [[fits, fits]]


def test_texts_are_cut_between_characters(endpoint: EndpointEmbedder, server: OpenAIServer) -> None:
    long = "铃芽🪑" * 20

    endpoint.embed_passages([long])

    ((sent,),) = asked(server)
    assert long.startswith(sent)
    assert 0 < len(sent) < len(long)


def test_no_key_is_needed(server: OpenAIServer) -> None:
    embedder = open_embedder(EmbedderChoice("scripted", server.url), cache_dir=None)  # type: ignore[arg-type]

    assert embedder.embed_queries(["a"]).shape == (1, 64)
    assert embedder.max_tokens == 512


# Trying again


def test_too_many_requests_are_sent_again_after_the_time_that_was_asked_for(
    endpoint: EndpointEmbedder, server: OpenAIServer
) -> None:
    server.script(DIMENSION, refusal(429, retry_after_s=1), vectors([0.0, 2.0]))
    assert endpoint.dim == 2
    started = time.perf_counter()

    embeddings = endpoint.embed_queries(["a"])

    # Without being asked it waits half a second at most.
    assert time.perf_counter() - started >= 1.0
    assert embeddings.tolist() == [[0.0, 1.0]]
    assert asked(server) == [["a"], ["a"]]


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503])
def test_passing_failures_are_sent_again(
    endpoint: EndpointEmbedder, server: OpenAIServer, status: int
) -> None:
    server.script(DIMENSION, refusal(status, retry_after_ms=1), vectors([0.0, 2.0]))

    assert endpoint.embed_queries(["a"]).tolist() == [[0.0, 1.0]]


def test_it_gives_up_after_four_more(endpoint: EndpointEmbedder, server: OpenAIServer) -> None:
    said = failure(endpoint, server, *[refusal(500, "broken", retry_after_ms=1)] * 5)

    assert f"{server.url} answered 500: " in said
    assert "broken" in said
    assert len(asked(server)) == 5


# Failures


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_lasting_failures_are_not_sent_again_and_name_the_settings(
    endpoint: EndpointEmbedder, server: OpenAIServer, status: int
) -> None:
    said = failure(endpoint, server, refusal(status, "no good"))

    assert said.startswith(f"the embedding endpoint failed: {server.url} answered {status}: ")
    assert "no good" in said
    for setting in ("EMBEDDING_BASE_URL", "EMBEDDING_API_KEY", "EMBEDDING_MODEL"):
        assert f"QUOTEBASE_{setting}" in said
    assert len(asked(server)) == 1


def test_a_server_that_says_the_key_does_not_make_us_say_it(
    endpoint: EndpointEmbedder, server: OpenAIServer
) -> None:
    said = failure(endpoint, server, refusal(401, f"Incorrect API key provided: {KEY}."))

    assert "Incorrect API key provided: <the key>." in said


def test_long_pages_become_one_short_line(endpoint: EndpointEmbedder, server: OpenAIServer) -> None:
    page = "<html>\n<title>403</title>\n" + "<p>no</p>\n" * 1000 + "</html>"

    assert len(failure(endpoint, server, text(page, "text/plain", 403))) < 600


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param(vectors([1, 0]), "gave 1 embeddings for 2 texts", id="too few"),
        pytest.param(vectors([1, 0], [1, 0], [1, 0]), "gave 3 embeddings for 2 texts", id="too many"),
        pytest.param(vectors([1, 0], [1, 0, 0]), "different lengths", id="ragged"),
        pytest.param(vectors([1, 0, 0], [1, 0, 0]), "3 dimensions for scripted, and of 2 before", id="wider"),
        pytest.param(vectors([1, 0], [math.nan, 0]), "without direction", id="NaN"),
        pytest.param(vectors([1, 0], [math.inf, 0]), "without direction", id="infinite"),
        pytest.param(vectors([1, 0], [None, 0]), "without direction", id="null"),
        pytest.param(vectors([1, 0], [0, 0]), "without direction", id="zero"),
        pytest.param(vectors([], []), "without direction", id="no dimension"),
        pytest.param(
            text('{"data":[{"index":0,"embedding":"AACAPw=="},{"index":1,"embedding":"AACAPw=="}]}'),
            "not of numbers",
            id="base64",
        ),
        pytest.param(text("{oops"), "not OpenAI's", id="broken JSON"),
        pytest.param(text("<html>hello</html>", "text/html"), "not OpenAI's", id="a web page"),
        pytest.param(text('{"error":{"message":"no"}}'), "not OpenAI's", id="error with status 200"),
        pytest.param(text('{"data":null}'), "not OpenAI's", id="no data"),
        pytest.param(text("[]"), "not OpenAI's", id="a list"),
        pytest.param(text("null"), "not OpenAI's", id="null"),
    ],
)
def test_replies_that_are_no_embeddings(
    endpoint: EndpointEmbedder, server: OpenAIServer, reply: Reply, said: str
) -> None:
    assert said in failure(endpoint, server, reply)


def test_unreachable_port_is_told_at_once_when_nothing_is_tried_again() -> None:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/v1"
        client = OpenAIEmbeddings(url, KEY, timeout_s=5, max_retries=0)

        with pytest.raises(EndpointError, match=f"^{url} cannot be reached or broke off: .*refused"):
            client.embed("m", ["a"])


@pytest.mark.slow
def test_unreachable_port_is_given_up_within_ten_seconds() -> None:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/v1"
        started = time.perf_counter()

        with pytest.raises(EmbedderUnavailable, match=f"{url} cannot be reached .*EMBEDDING_BASE_URL"):
            EndpointEmbedder("m", url, KEY, 512).embed_queries(["a"])

        assert time.perf_counter() - started < 10
