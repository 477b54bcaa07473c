"""Which reranker is opened, what a relevance is, and relevances from an endpoint over a real connection."""

import json
import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import RerankFailed
from retrieval.rerank import RerankChoice, Reranker, open_reranker, to_relevance
from retrieval.rerank.cross_encoder import CrossEncoderReranker
from retrieval.rerank.endpoint import EndpointReranker
from tests.openai_server import Handler, OpenAIServer, Reply, closed_port, openai_server, refusal, text

KEY = "rr-0123456789abcdef"
SETTINGS = ("QUOTEBASE_RERANK_URL", "QUOTEBASE_RERANK_KEY", "QUOTEBASE_RERANK_MODEL")
TEXTS = ["铃芽之旅", "grind size", "导演是新海诚"]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with openai_server() as running:
        yield running


@pytest.fixture
def endpoint(server: OpenAIServer) -> EndpointReranker:
    return EndpointReranker(f"{server.url}/rerank", "scripted", KEY)


def results(*found: object) -> Reply:
    """A reply with these results, whatever was asked; NaN and infinity are written as Python does."""
    return lambda handler, _: handler.send_json({"id": "1", "results": found, "usage": {"total_tokens": 7}})


def result(index: object, score: object) -> Mapping[str, object]:
    return {"index": index, "document": {"text": "…"}, "relevance_score": score}


def ranking(*scores: float) -> Reply:
    """Scores of the documents in order, listed best first as servers do."""
    listed = [result(index, score) for index, score in enumerate(scores)]
    return results(*sorted(listed, key=lambda one: one["relevance_score"], reverse=True))


def dropped(handler: Handler, _: Any) -> None:
    """The connection closes without an answer."""
    handler.close_connection = True


def broken_off(handler: Handler, _: Any) -> None:
    """The connection closes in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"results": [')
    handler.close_connection = True


def silent(until: threading.Event) -> Reply:
    def reply(handler: Handler, _: Any) -> None:
        until.wait()
        handler.close_connection = True

    return reply


def failure(endpoint: Reranker, server: OpenAIServer, *replies: Reply) -> str:
    """What is said when three texts get these replies."""
    server.script(*replies)
    with pytest.raises(RerankFailed) as caught:
        endpoint.score("导演是谁", TEXTS)
    message = caught.value.message
    assert message.startswith(f"the rerank endpoint failed: {server.url}/rerank ")
    assert all(setting in message for setting in SETTINGS)
    assert KEY not in message
    assert "\n" not in message
    return message


# Choice


def test_nothing_chosen_is_no_reranker() -> None:
    assert open_reranker(RerankChoice()) is None
    assert open_reranker(RerankChoice(key=KEY)) is None


def test_a_model_alone_is_a_cross_encoder_that_is_not_loaded_yet() -> None:
    opened = open_reranker(RerankChoice("/nowhere/some-reranker"))

    assert isinstance(opened, CrossEncoderReranker)
    assert opened.name == "some-reranker"


def test_an_address_is_an_endpoint_whatever_the_model() -> None:
    named = open_reranker(RerankChoice("rerank-3", "http://127.0.0.1:1/rerank", KEY))
    nameless = open_reranker(RerankChoice(url="http://127.0.0.1:1/rerank"))

    assert isinstance(named, EndpointReranker)
    assert isinstance(nameless, EndpointReranker)
    assert (named.name, nameless.name) == ("rerank-3", "http://127.0.0.1:1/rerank")


def test_a_key_is_not_shown() -> None:
    assert KEY not in repr(RerankChoice("m", "http://host/rerank", KEY))


# Relevance


@pytest.mark.parametrize(
    ("logit", "relevance"),
    [
        (0.0, 0.5),
        (math.log(3), 0.75),
        (-math.log(3), 0.25),
        (1e308, 1.0),
        (-1e308, 0.0),
        (-700.0, math.exp(-700)),
    ],
)
def test_relevance_of_a_logit(logit: float, relevance: float) -> None:
    assert to_relevance(logit) == pytest.approx(relevance, rel=1e-12)


@given(st.floats(-30, 20), st.floats(1e-9, 10))
def test_a_higher_logit_is_a_higher_relevance(logit: float, more: float) -> None:
    assert 0 < to_relevance(logit) <= to_relevance(logit + more) < 1


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_logit_has_a_relevance_and_its_opposite_the_rest(logit: float) -> None:
    assert 0 <= to_relevance(logit) <= 1
    assert to_relevance(logit) + to_relevance(-logit) == pytest.approx(1, abs=1e-15)


def test_high_logits_stay_apart() -> None:
    """In float32 these two are equal."""
    assert to_relevance(20.0) < to_relevance(20.001) < 1


# Endpoint


def test_scores_are_those_of_the_texts_in_their_order(
    endpoint: EndpointReranker, server: OpenAIServer
) -> None:
    server.script(ranking(0.2, 0.001, 0.93))

    assert endpoint.score("导演是谁", TEXTS) == [0.2, 0.001, 0.93]


def test_what_is_sent(endpoint: EndpointReranker, server: OpenAIServer) -> None:
    server.script(ranking(0.2, 0.1, 0.9))
    endpoint.score("导演是谁", TEXTS)

    (request,) = server.requests
    assert request.path == "/v1/rerank"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.body == {"model": "scripted", "query": "导演是谁", "documents": TEXTS, "top_n": 3}


def test_no_key_is_needed(server: OpenAIServer) -> None:
    server.script(ranking(0.2, 0.1, 0.9))
    opened = open_reranker(RerankChoice(url=f"{server.url}/rerank"))

    assert opened is not None
    assert opened.score("q", TEXTS) == [0.2, 0.1, 0.9]
    assert "authorization" not in server.requests[0].headers


def test_no_texts_are_no_request(endpoint: EndpointReranker, server: OpenAIServer) -> None:
    assert endpoint.score("导演是谁", []) == []
    assert server.requests == []


def test_whole_numbers_are_scores_too(endpoint: EndpointReranker, server: OpenAIServer) -> None:
    server.script(ranking(0, 1, 0.5))

    assert endpoint.score("q", TEXTS) == [0.0, 1.0, 0.5]


@pytest.mark.parametrize(
    "scores", [(-4.2, 8.4, 0.5), (1.000001, 0.5, 0.1), (0.3, 0.2, -0.000001), (-900.0, 900.0, 0.0)]
)
def test_scores_beyond_0_and_1_are_logits_all_of_them(
    endpoint: EndpointReranker, server: OpenAIServer, scores: tuple[float, ...]
) -> None:
    server.script(ranking(*scores))

    assert endpoint.score("q", TEXTS) == [to_relevance(score) for score in scores]


def test_any_finite_scores_become_relevances_in_the_same_order(
    endpoint: EndpointReranker, server: OpenAIServer
) -> None:
    @settings(max_examples=30)
    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
    def check(scores: list[float]) -> None:
        server.script(ranking(*scores))
        found = endpoint.score("q", ["text"] * len(scores))

        assert all(0 <= relevance <= 1 for relevance in found)
        ranked = [found[place] for place in sorted(range(len(scores)), key=scores.__getitem__)]
        assert ranked == sorted(ranked)

    check()


# Trying again


@pytest.mark.parametrize("lost", [dropped, broken_off])
def test_a_lost_connection_is_tried_again_once(
    endpoint: EndpointReranker, server: OpenAIServer, lost: Reply
) -> None:
    server.script(lost, ranking(0.2, 0.1, 0.9))

    assert endpoint.score("q", TEXTS) == [0.2, 0.1, 0.9]
    assert [request.body for request in server.requests] == [server.requests[0].body] * 2


def test_a_connection_lost_twice_is_told(endpoint: EndpointReranker, server: OpenAIServer) -> None:
    assert "cannot be reached or broke off: " in failure(endpoint, server, dropped, dropped, ranking(0, 0, 0))
    assert len(server.requests) == 2


def test_a_closed_port_is_told() -> None:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/rerank"
        with pytest.raises(
            RerankFailed, match=f"{url} cannot be reached or broke off: .*refused.*RERANK_URL"
        ):
            EndpointReranker(url, "m", KEY).score("q", TEXTS)


def test_silence_is_told_and_not_tried_again(server: OpenAIServer) -> None:
    over = threading.Event()
    endpoint = EndpointReranker(f"{server.url}/rerank", "m", KEY, timeout_s=0.2)
    try:
        assert "was silent for 0.2 s;" in failure(endpoint, server, silent(over))
        assert len(server.requests) == 1
    finally:
        over.set()


# Failures


@pytest.mark.parametrize(
    "url", ["nonsense", "ftp://host/rerank", "http://[::1/rerank", "http://host:port/rerank"]
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(RerankFailed, match="check QUOTEBASE_RERANK_URL"):
        EndpointReranker(url, "m", KEY).score("q", TEXTS)


@pytest.mark.parametrize(
    ("key", "query"), [("secret\n", "q"), ("secret\nsecret", "q"), ("secret引号", "q"), ("secret", "\ud800")]
)
def test_what_cannot_be_sent_is_told_and_the_key_is_not_said(
    server: OpenAIServer, key: str, query: str
) -> None:
    with pytest.raises(RerankFailed, match=r"characters that cannot be sent; check .*RERANK_KEY") as caught:
        EndpointReranker(f"{server.url}/rerank", "m", key).score(query, TEXTS)

    assert "secret" not in caught.value.message
    assert server.requests == []


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503])
def test_refusals_are_told_and_not_sent_again(
    endpoint: EndpointReranker, server: OpenAIServer, status: int
) -> None:
    said = failure(endpoint, server, refusal(status, "no good"))

    assert f" answered {status}: " in said
    assert "no good" in said
    assert len(server.requests) == 1


def test_an_answer_of_another_address_is_not_followed(
    endpoint: EndpointReranker, server: OpenAIServer
) -> None:
    def elsewhere(handler: Handler, _: Any) -> None:
        handler.send_text("", "text/plain", 307, {"Location": f"{server.url}/elsewhere"})

    assert " answered 307;" in failure(endpoint, server, elsewhere)
    assert [request.path for request in server.requests] == ["/v1/rerank"]


def test_a_server_that_says_the_key_does_not_make_us_say_it(
    endpoint: EndpointReranker, server: OpenAIServer
) -> None:
    assert "wrong key <the key>" in failure(endpoint, server, refusal(401, f"wrong key {KEY}"))


def test_long_pages_become_one_short_line(endpoint: EndpointReranker, server: OpenAIServer) -> None:
    page = "<html>\n<title>403</title>\n" + "<p>no</p>\n" * 1000 + "</html>"

    assert len(failure(endpoint, server, text(page, "text/html", 403))) < 600


ONE_SCORE = "did not give each of 3 texts one score"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param(results(result(0, 0.5), result(2, 0.5)), ONE_SCORE, id="one missing"),
        pytest.param(results(), ONE_SCORE, id="all missing"),
        pytest.param(results(*(result(place, 0.5) for place in (0, 1, 1))), ONE_SCORE, id="one twice"),
        pytest.param(results(*(result(place, 0.5) for place in (0, 1, 2, 2))), ONE_SCORE, id="one too many"),
        pytest.param(results(*(result(place, 0.5) for place in (1, 2, 3))), ONE_SCORE, id="counted from 1"),
        pytest.param(results(*(result(place, 0.5) for place in (-1, 0, 1))), ONE_SCORE, id="negative index"),
        pytest.param(results(result(True, 0.5)), "results.0.index", id="index is a boolean"),
        pytest.param(results(result("0", 0.5)), "results.0.index", id="index is a text"),
        pytest.param(results({"relevance_score": 0.5}), "results.0.index", id="no index"),
        pytest.param(results({"index": 0}), "results.0.relevance_score", id="no score"),
        pytest.param(results(result(0, math.nan)), "results.0.relevance_score", id="NaN"),
        pytest.param(results(result(0, math.inf)), "results.0.relevance_score", id="infinite"),
        pytest.param(results(result(0, 10**400)), "results.0.relevance_score", id="beyond a float"),
        pytest.param(results(result(0, None)), "results.0.relevance_score", id="null"),
        pytest.param(results(result(0, "0.5")), "results.0.relevance_score", id="score is a text"),
        pytest.param(results(result(0, True)), "results.0.relevance_score", id="score is a boolean"),
        pytest.param(results(0.1, 0.2, 0.3), "results.0", id="bare numbers"),
        pytest.param(text('{"results": null}'), "results", id="no results"),
        pytest.param(text('{"data": []}'), "results", id="results under another name"),
        pytest.param(text('{"error": {"message": "no"}}'), "results", id="error with status 200"),
        pytest.param(text('[{"index": 0, "score": 0.5}]'), "another form", id="a list"),
        pytest.param(text("{oops"), "another form", id="broken JSON"),
        pytest.param(text("<html>hello</html>", "text/html"), "another form", id="a web page"),
        pytest.param(text("null"), "another form", id="null"),
        pytest.param(text(""), "another form", id="nothing"),
        pytest.param(text("[" * 100_000), "another form", id="deep"),
    ],
)
def test_replies_that_are_no_scores(
    endpoint: EndpointReranker, server: OpenAIServer, reply: Reply, said: str
) -> None:
    assert said in failure(endpoint, server, reply)


def test_one_client_serves_several_threads(endpoint: EndpointReranker, server: OpenAIServer) -> None:
    """Each gets the answer to its own question, in which the text that repeats it is the relevant one."""

    def matching(handler: Handler, body: Any) -> None:
        scores = [float(document == body["query"]) for document in body["documents"]]
        handler.send_json({"results": [result(place, score) for place, score in enumerate(scores)]})

    problems: list[str] = []
    server.script(*[matching] * 80)

    def work(query: str) -> None:
        for _ in range(10):
            found = endpoint.score(query, [str(number) for number in range(8)])
            if found != [float(str(number) == query) for number in range(8)]:
                problems.append(json.dumps(found))

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(server.requests) == 80
