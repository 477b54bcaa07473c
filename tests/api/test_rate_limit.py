"""How many requests a key may make."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import repeat

import pytest
from httpx2 import Response

from api.limiting import RateLimit, network_of
from api.wiring import service_of
from retrieval.completion.backends import Backends
from retrieval.completion.extractive import ExtractiveCompletion
from retrieval.errors import RateLimited
from retrieval.library import Library
from tests.api.test_permissions import OPENAPI
from tests.api.wire import CHAT, DATASETS, Api, Headers, bearer, data_of, error_of


@pytest.fixture
def limited(sampled: Library) -> Iterator[Api]:
    """Three requests an hour for each key."""
    service = service_of(sampled, Backends(ExtractiveCompletion()), rate_limit="3/hour")
    with closing(service.runner):
        yield Api(service)


def ask(api: Api, headers: Headers) -> Response:
    return api.post(f"{DATASETS}/list", {}, headers)


def statuses(api: Api, headers: Headers, count: int) -> list[int]:
    return [ask(api, headers).status_code for _ in range(count)]


def test_a_key_has_so_many_requests_and_no_more(limited: Api) -> None:
    (_, one), (_, other) = (limited.new_key("dataset") for _ in range(2))

    assert statuses(limited, one, 5) == [200, 200, 200, 429, 429]
    assert statuses(limited, other, 4) == [200, 200, 200, 429]


def test_a_refusal_says_how_long_to_wait(limited: Api) -> None:
    statuses(limited, limited.admin, 3)

    refused = ask(limited, limited.admin)

    wait_s = int(refused.headers["retry-after"])
    assert 3500 < wait_s <= 3600
    assert error_of(refused) == {
        "message": f"more requests than 3/hour came from here: wait {wait_s} s, or have QUOTEBASE_RATE_LIMIT raised",
        "type": "rate_limit_error",
        "code": "rate_limited",
        "param": None,
    }


def test_refused_requests_do_not_count_as_uses(limited: Api) -> None:
    key, headers = limited.new_key("dataset")
    statuses(limited, headers, 3)
    used = limited.service.keys.uses.last()[key.id]

    assert ask(limited, headers).status_code == 429

    assert limited.service.keys.uses.last()[key.id] == used


def test_chat_is_limited(limited: Api) -> None:
    headers = limited.new_key("app", app_id=limited.new_app("suzume").id)[1]
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True, "detail": True}

    assert [limited.post(CHAT, body, headers).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_what_a_key_may_not_do_counts(limited: Api) -> None:
    headers = limited.new_key("dataset", capabilities=("search",))[1]

    found = [limited.post(f"{DATASETS}/create", {"name": "n"}, headers).status_code for _ in range(4)]

    assert found == [403, 403, 403, 429]


def test_guesses_are_limited_by_address_whatever_is_guessed(limited: Api) -> None:
    secrets = [f"qb-admin-{number}" for number in range(3)]

    assert [ask(limited, bearer(secret)).status_code for secret in secrets] == [401, 401, 401]
    assert ask(limited, bearer("another")).status_code == 429
    assert ask(limited, {}).status_code == 429
    assert limited.get(f"{OPENAPI}/health", {}, apiKey="another").status_code == 429
    # Others come from the same address, as behind a proxy.
    assert ask(limited, limited.admin).status_code == 200


def test_asking_whether_a_key_is_known_counts_for_the_key(limited: Api) -> None:
    secret = limited.service.keys.create("dataset")[1]

    assert all(data_of(limited.get(f"{OPENAPI}/health", {}, apiKey=secret))["valid"] for _ in range(3))

    assert ask(limited, bearer(secret)).status_code == 429
    assert statuses(limited, bearer("a guess"), 4) == [401, 401, 401, 429]


def test_the_health_of_the_server_is_told_to_all(limited: Api) -> None:
    statuses(limited, {}, 4)

    assert [limited.client.get("/health").status_code for _ in range(20)] == [200] * 20


def test_the_command_line_on_this_machine_is_not_limited(limited: Api) -> None:
    assert statuses(limited, bearer(limited.service.local_token), 10) == [200] * 10


def test_without_the_setting_nothing_is_limited(api: Api) -> None:
    assert api.service.rate_limit is None
    assert statuses(api, api.admin, 50) == [200] * 50
    assert statuses(api, {}, 50) == [401] * 50


def test_there_may_be_more_after_the_wait() -> None:
    limit = RateLimit("2/second")
    with pytest.raises(RateLimited) as refused:
        deque(map(limit.count, repeat("a", 10_000)), maxlen=0)
    assert refused.value.retry_after_s == 1

    time.sleep(1)

    limit.count("a")


def test_threads_together_get_no_more() -> None:
    limit = RateLimit("100/hour")

    def is_let_in(_: int) -> bool:
        try:
            limit.count("a")
        except RateLimited:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(is_let_in, range(400))) == 100


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_who_has_one_address_of_a_network_has_them_all(host: str, network: str) -> None:
    assert network_of(host) == network
