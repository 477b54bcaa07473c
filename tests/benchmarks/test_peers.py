"""The peers' jobs: what is asked of a peer, on the project itself and on small peers made here; none is installed."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.environments import Peer, PeerFailed, run_job
from benchmarks.peers.harness import (
    Job,
    Query,
    Row,
    Setting,
    Vectors,
    efforts,
    find_runs,
    measure_texts,
    measure_vectors,
    read_rows,
)
from benchmarks.peers.measure import (
    FLOORS,
    OWN,
    TEXT_PEERS,
    VECTOR_PEERS,
    Bench,
    distinct,
    draw,
    measure_peers,
    to_run,
    write_questions,
    write_table,
    write_vectors,
)
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.types import RecordDraft

DIM = 16
TOP_K = 3
COUNT = 200
ALL = {peer.module: peer for peer in (OWN, *VECTOR_PEERS, *FLOORS, *TEXT_PEERS)}


class ExactPeer:
    """Finds the ``best`` true ones and otherwise nothing right."""

    returns = "rows"
    settings: Sequence[Setting] = ({"best": 1}, {"best": 2}, {"best": 3})
    server = None

    def __init__(self) -> None:
        self.best = 0

    def add(self, vectors: Vectors, rows: Sequence[Row]) -> None:
        self.vectors = vectors

    def search(self, query: Query, top_k: int) -> list[int]:
        order = np.argsort(-(self.vectors @ query.vector), kind="stable")
        return [*order[: self.best].tolist(), *order[::-1][: top_k - self.best].tolist()]

    def use(self, setting: Setting) -> None:
        self.best = setting["best"]

    def count(self) -> int:
        return len(self.vectors)


class LastWordPeer:
    """Finds the rows whose last word is the question's."""

    def __init__(self) -> None:
        self.tables: list[str] = []

    def add(self, table: Path) -> None:
        self.tables.append(table.name)
        self.rows = read_rows(table)

    def search(self, question: str, top_k: int) -> list[int]:
        word = question.split()[-1]
        return [number for number, row in enumerate(self.rows) if row.text.split()[-1] == word][:top_k]


def unit_rows(count: int, seed: int) -> Vectors:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    vectors, queries = unit_rows(COUNT, 1).astype(np.float16), unit_rows(200, 2)
    write_vectors(folder, [RecordDraft(f"question {row}", f"answer {row}") for row in range(COUNT)], vectors)
    write_questions(folder, [f"asked {row}" for row in range(len(queries))])
    np.save(folder / "queries.npy", queries)
    truth = np.argsort(-(queries @ vectors.astype(np.float32).T), axis=1, kind="stable")[:, :TOP_K]
    np.save(folder / "truth.npy", truth)
    return folder


def job(kind: str, data: Path, least_recall: float = 0.0) -> Job:
    return Job(kind, data.parent, data, TOP_K, least_recall, round_s=30)


@pytest.mark.parametrize(("least", "best"), [(0.3, 1), (0.6, 2), (0.7, 3), (1.0, 3)])
def test_the_first_setting_that_finds_enough_is_taken(data: Path, least: float, best: int) -> None:
    measured = measure_vectors(ExactPeer(), job("vectors", data, least))

    assert measured["default"]["recall_at_10"] == 0
    assert measured["same_recall"]["setting"] == {"best": best}
    assert measured["same_recall"]["recall_at_10"] == pytest.approx(best / TOP_K, abs=1e-4)
    assert measured["same_recall"]["asked"] == 180  # all but those that it is warmed up with


@pytest.mark.parametrize(("least", "most"), [(16, 1024), (40, 1000), (100, 1600)])
def test_efforts_are_close_to_each_other(least: int, most: int) -> None:
    values = [setting["ef"] for setting in efforts("ef", least, most)]

    assert (values[0], values[-1]) == (least, most)
    assert all(1 < after / before < 1.15 for before, after in pairwise(values))


def test_a_recall_that_no_setting_reaches_is_said(data: Path) -> None:
    peer = ExactPeer()
    peer.settings = ({"best": 1}, {"best": 2})

    assert measure_vectors(peer, job("vectors", data, 0.98))["same_recall"] is None


def test_without_settings_the_default_counts(data: Path) -> None:
    peer = ExactPeer()
    peer.best, peer.settings = 2, ()

    measured = measure_vectors(peer, job("vectors", data, 0.98))

    assert measured["same_recall"] == measured["default"]


def test_texts_are_imported_after_a_warm_up_and_found(data: Path) -> None:
    drafts = [RecordDraft(f"question {row}", f"answer {row}") for row in range(50)]
    write_table(data / "rows.csv", drafts)
    write_table(data / "warm_up.csv", drafts[:5])
    write_questions(data, ["which is 7", "which is 49", "which is 50"])
    peer = LastWordPeer()

    assert find_runs(peer, job("runs", data))["found"] == [[7], [49], []]
    assert peer.tables == ["rows.csv"]
    write_questions(data, [f"which is {row}" for row in range(60)])
    assert measure_texts(peer, job("texts", data))["rows_per_s"] > 0
    assert peer.tables == ["rows.csv", "warm_up.csv", "rows.csv"]


def told(kind: str, data: Path, **others: object) -> dict[str, Any]:
    place = data.parent / "place"
    place.mkdir(exist_ok=True)
    binding = {"name": "known", "dim": DIM, "fingerprint": "f"}
    return {
        "kind": kind,
        "place": str(place),
        "data": str(data),
        "top_k": TOP_K,
        "least_recall": 0.98,
        "round_s": 5,
        "binding": binding,
        **others,
    }


def test_the_project_is_asked_as_the_peers_are(data: Path) -> None:
    measured = run_job(OWN, told("vectors", data), data, lambda _: None)

    assert measured["default"]["recall_at_10"] == measured["same_recall"]["recall_at_10"] == 1
    assert measured["returns"] == "records, scores, tokens"


def test_a_kill_of_the_project_loses_nothing(data: Path) -> None:
    added = run_job(OWN, told("kill", data, is_killed=True), data, lambda _: None)
    kept = run_job(OWN, told("count", data), data, lambda _: None)

    assert (added, kept) == ({"added": COUNT}, {"kept": COUNT})


def test_a_peer_that_does_not_run_says_why(data: Path) -> None:
    with pytest.raises(PeerFailed, match=r"No module named benchmarks\.peers\.nobody"):
        run_job(Peer("nobody", "Nobody"), told("vectors", data), data, lambda _: None)


@pytest.mark.parametrize("module", ALL)
def test_every_peer_says_how_it_is_measured(module: str) -> None:
    fairness = ALL[module].fairness

    assert "kill" in fairness or "returns" in fairness
    assert len(fairness.split()) > 50


@pytest.mark.parametrize("module", [peer.module for peer in ALL.values() if peer.packages])
def test_every_package_of_a_peer_is_pinned(module: str) -> None:
    peer = ALL[module]
    lines = peer.lock.read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if "==" not in line.split(";")[0]] == []
    assert len(peer.versions.split(", ")) == len(peer.packages)


def test_a_report_is_there_before_the_next_part_is_measured(
    monkeypatch: pytest.MonkeyPatch, bundled: BundledEmbedder
) -> None:
    def fail(bench: Bench, bulk: Path) -> dict[str, Any]:
        raise OSError(f"no {bulk}")

    monkeypatch.setattr(Bench, "vectors", lambda bench, bulk: {"passages": 3})
    monkeypatch.setattr(Bench, "texts", fail)
    here = Path()
    reports = measure_peers(["texts", "vectors"], here, [], bundled, here, True, print)
    assert next(reports) == {"passages": 3}
    with pytest.raises(OSError, match=r"no \."):
        next(reports)


def test_repeats_are_left_out() -> None:
    drafts = [RecordDraft("a", "1"), RecordDraft("b", "2"), RecordDraft("a,", " 1!"), RecordDraft("c")]

    assert distinct(drafts) == [0, 1, 3]


def test_rows_are_drawn_from_all_of_the_table_the_same_in_each_run() -> None:
    drafts = [RecordDraft(str(row)) for row in range(1000)]
    drawn = draw(drafts, 100)

    assert draw(drafts, 100) == drawn
    assert len(set(drawn)) == 100
    assert np.histogram([int(draft.q) for draft in drawn], 4, (0, 1000))[0].min() > 10


def test_what_is_found_twice_counts_once_at_its_best_place() -> None:
    run = to_run(["1", "2"], [[0, 1, 2], []], ["same", "same", "other"])

    assert run == {"1": {"same": 1.0, "other": 0.5}, "2": {}}


def test_questions_and_rows_keep_their_characters(data: Path) -> None:
    write_table(data / "rows.csv", [RecordDraft('说 "是"', "两\n行"), RecordDraft("only q")])
    write_questions(data, ["问？"])

    assert read_rows(data / "rows.csv") == [Row('说 "是"', "两\n行"), Row("only q", "")]
    assert [row.text for row in read_rows(data / "rows.csv")] == ['说 "是"\n两\n行', "only q"]
    assert json.loads((data / "questions.json").read_text(encoding="utf-8")) == ["问？"]
