"""``quotebase evaluate``, on the data directory and through a server."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from PIL import Image

from api.evaluation import changed
from api.settings import Settings
from api.wiring import open_documents, open_library
from retrieval.calibration import Calibrations, Threshold
from retrieval.errors import InvalidRequest
from retrieval.types import MAX_LIMIT, SearchRequest
from tests.api.commands import Cli, RunHere, complaint, json_of
from tests.api.conftest import DATA
from tests.api.processes import Ran, Server, serving
from tests.api.wire import DATASETS, Api, data_of, error_of
from tests.openai_server import openai_server

QUERIES, QRELS = DATA / "suzume" / "queries.jsonl", DATA / "suzume" / "qrels" / "test.tsv"
LABELS = ("--queries", QUERIES, "--qrels", QRELS)

TABLE = "q,a,key\nalpha beta,one,K-1\ngamma delta,two,K-2\nepsilon zeta,three,K-3\n"


@pytest.fixture
def small(cli: Cli, tmp_path: Path) -> Cli:
    """With the dataset ``small``, whose questions are found by themselves."""
    (tmp_path / "small.csv").write_text(TABLE)
    assert cli("ingest", tmp_path / "small.csv", "--dataset", "small").code == 0
    return cli


def labels(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


BY_QUESTION = (
    "query,q\nalpha beta one!,alpha beta\ngamma delta tow,gamma delta\nepsilon zeta 3,epsilon zeta\n"
)


# Labels and measures


def test_a_table_of_labels(small: Cli, tmp_path: Path) -> None:
    report = json_of(small("evaluate", "small", "--queries", labels(tmp_path, BY_QUESTION), "--json"))

    assert report["a"]["measures"] == dict.fromkeys(
        ("nDCG@10", "R@10", "Success@10", "RR@10", "AP@10"), pytest.approx(1.0)
    )
    assert (report["queries"], report["unanswerable"], report["records_named_by"]) == (3, 0, "question")
    assert (report["unmet"], report["leaked"]) == ([], ["1"])
    assert report["failed"] == []


def test_records_by_key_and_names_that_are_not_there(small: Cli, tmp_path: Path) -> None:
    file = labels(tmp_path, "query,record\nalpha beta,K-1\ngamma,K-2\ngamma,K-9\ndelta zeta,\n")
    asked = ("evaluate", "small", "--queries", file, "--measure", "R@3", "--measure", "MRR@3", "--json")

    report = json_of(small(*asked))

    assert (report["queries"], report["unanswerable"], report["records_named_by"]) == (3, 1, "key")
    assert report["unmet"] == ["K-9"]
    assert report["a"]["measures"]["R@3"] == pytest.approx((1 + 1 / 2) / 2)
    assert list(report["a"]["measures"]) == ["R@3", "RR@3"]
    assert report["a"]["refused"] == 0.0
    assert json_of(small(*asked, "--similarity", "0.9"))["a"]["refused"] == 1.0


def test_the_report_says_where_it_comes_from(small: Cli, tmp_path: Path) -> None:
    file = labels(tmp_path, BY_QUESTION)
    one, other = (
        json_of(small("evaluate", "small", "--queries", file, "--similarity", similarity, "--json"))
        for similarity in ("0.1", "0.2")
    )
    (tmp_path / "labels.csv").write_text(BY_QUESTION + "zeta,epsilon zeta\n")
    third = json_of(small("evaluate", "small", "--queries", file, "--json"))

    assert one["provenance"]["model"] == {
        "name": "scripted",
        "dim": 64,
        "fingerprint": one["provenance"]["model"]["fingerprint"],
    }
    assert one["provenance"]["labels"] == other["provenance"]["labels"] != third["provenance"]["labels"]
    assert one["provenance"]["code"].startswith("0.1.0")
    assert re.fullmatch(r"[0-9a-f]{16}", one["provenance"]["data"])
    assert (one["a"]["settings"]["similarity"], one["a"]["settings"]["mode"]) == (0.1, "embedding")
    assert {"limit", "top_k", "rerank", "embedding_weight"} <= one["a"]["settings"].keys()


def searched_by_hand(cli: Cli) -> dict[str, dict[str, float]]:
    """A run whose documents are questions."""
    queries = [json.loads(line) for line in QUERIES.read_text(encoding="utf-8").splitlines()]
    settings = {name.lower(): value for name, value in cli.settings.items()}
    run: dict[str, dict[str, float]] = {}
    with open_library(Settings(data_dir=cli.data_dir, **settings)) as library:
        dataset_ids = (library.dataset_named("suzume").id,)
        for query in queries:
            found = library.search(SearchRequest(query["text"], dataset_ids, limit=MAX_LIMIT, top_k=10))
            run[query["_id"]] = {quote.record.q: quote.score for quote in found.quotes}
    return run


def test_measures_are_those_of_ir_measures_for_searches_by_hand(filled: Cli) -> None:
    """Row numbers of the sample's labels are those of its table."""
    with (DATA / "suzume.csv").open(encoding="utf-8", newline="") as file:
        rows = [row["q"] for row in csv.DictReader(file)]
    with QRELS.open(encoding="utf-8", newline="") as file:
        qrels: dict[str, dict[str, int]] = {}
        for row in csv.DictReader(file, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[rows[int(row["corpus-id"]) - 1]] = int(row["score"])

    report = json_of(filled("evaluate", "suzume", *LABELS, "--json"))

    measures = [ir_measures.parse_measure(name) for name in report["a"]["measures"]]
    expected = ir_measures.calc_aggregate(measures, qrels, searched_by_hand(filled))
    assert report["a"]["measures"] == {str(name): pytest.approx(value) for name, value in expected.items()}
    assert report["records_named_by"] == "row number"
    assert 0 < report["a"]["measures"]["nDCG@10"] < 1


def test_what_is_printed(small: Cli, tmp_path: Path) -> None:
    file = labels(tmp_path, BY_QUESTION + "zeta,not there\n")
    ran = small("evaluate", "small", "--queries", file, "--measure", "R@1")

    lines = ran.out.splitlines()
    assert ran.code == 0
    assert lines[1] == "4 queries; records are named by question"
    assert [line.split() for line in lines[2:4]] == [["measure", "mean"], ["R@1", "0.7500"]]
    assert "no record is named 'not there'" in ran.err
    assert "the text of 1 queries is in the dataset, which makes them easy: '1'" in ran.err


# The gate


@pytest.mark.parametrize(("least", "code"), [("1.0", 0), ("1.01", 1)])
def test_the_gate(small: Cli, tmp_path: Path, least: str, code: int) -> None:
    file = labels(tmp_path, BY_QUESTION)

    ran = small("evaluate", "small", "--queries", file, "--fail-under", f"R@5={least}", "--measure", "RR@10")

    assert ran.code == code
    assert ("quotebase: R@5 is 1.0000, less than 1.01" in ran.err) == bool(code)
    assert [line.split()[0] for line in ran.out.splitlines()[3:5]] == ["RR@10", "R@5"]


def test_the_gate_of_a_program(small: Cli, tmp_path: Path) -> None:
    ran = small(
        "evaluate", "small", "--queries", labels(tmp_path, BY_QUESTION), "--fail-under", "R@5=2", "--json"
    )
    assert ran.code == 1
    assert json.loads(ran.out)["failed"] == [{"measure": "R@5", "least": 2.0}]


# Two configurations


def test_two_configurations(filled: Cli, tmp_path: Path) -> None:
    file = tmp_path / "queries.csv"
    against = ("--against", "top-k=3, similarity=0.25")

    report = json_of(filled("evaluate", "suzume", *LABELS, *against, "--per-query", file, "--json"))

    one, other = (report[name]["measures"]["R@10"] for name in "ab")
    compared = report["comparison"]["R@10"]
    assert compared["difference"] == pytest.approx(other - one)
    assert compared["wins"] + compared["ties"] + compared["losses"] == 30
    assert 0 < compared["t_test"] < 1
    assert 0 < compared["randomisation"] < 1
    assert (report["b"]["settings"]["top_k"], report["b"]["settings"]["similarity"]) == (3, 0.25)
    with file.open(encoding="utf-8-sig", newline="") as rows:
        values = list(csv.DictReader(rows))
    assert len(values) == 30
    assert sum(float(row["R@10"]) for row in values) / 30 == pytest.approx(one)
    assert sum(float(row["R@10 (b)"]) for row in values) / 30 == pytest.approx(other)
    firsts = [int(row["first"]) for row in values if row["first"]]
    assert sum(1 / first for first in firsts) / 30 == pytest.approx(report["a"]["measures"]["RR@10"])


def test_a_configuration_beside_itself(filled: Cli) -> None:
    report = json_of(filled("evaluate", "suzume", *LABELS, "--against", "top-k=10", "--json"))

    assert report["a"]["measures"] == report["b"]["measures"]
    assert {compared["t_test"] for compared in report["comparison"].values()} == {1.0}


def test_a_configuration_is_changed() -> None:
    request = SearchRequest("", ("d",), top_k=10)
    values = "mode=mixedRecall, similarity=0.5,limit=300,top-k=5,rerank=true,embedding-weight=0.7"
    assert changed(request, values) == SearchRequest(
        "", ("d",), 0.5, 300, 5, "mixedRecall", embedding_weight=0.7, rerank=True
    )
    assert changed(request, "rerank=false") == request


@pytest.mark.parametrize("changes", ["", "x=1", "top-k", "top-k=x", "mode=x", "rerank=1", "limit=3;top-k=1"])
def test_what_is_no_change_of_a_configuration(changes: str) -> None:
    with pytest.raises(InvalidRequest, match="is no change of a configuration"):
        changed(SearchRequest("", ("d",)), changes)


# Calibration


def thresholds(cli: Cli, name: str) -> list[Threshold]:
    with open_documents(Settings(data_dir=cli.data_dir)) as store:
        dataset = store.find_dataset(name)
        assert dataset
        return Calibrations(store).list(dataset.id)


def test_a_calibration_by_labels(filled: Cli, tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"

    report = json_of(filled("evaluate", "suzume", *LABELS, "--calibrate", "--curve", picture, "--json"))

    found = report["calibration"]
    assert found["chosen_on"]["queries"] + found["held_out"]["queries"] == 30
    assert found["similarity"] == found["chosen_on"]["similarity"] == found["held_out"]["similarity"]
    assert found["held_out_without"]["similarity"] == 0.0
    assert found["held_out_without"]["recall"] >= found["held_out"]["recall"]
    assert (found["rule"], found["texts"], found["applied"]) == ("best F1", "labelled queries", False)
    with Image.open(picture) as image:
        assert (image.format, image.size) == ("PNG", (960, 840))
    assert thresholds(filled, "suzume") == []


def test_an_accepted_threshold_is_the_default_of_the_dataset(filled: Cli) -> None:
    report = json_of(filled("evaluate", "suzume", *LABELS, "--calibrate", "--apply", "--json"))

    [threshold] = thresholds(filled, "suzume")
    found = report["calibration"]["held_out"]
    assert (threshold.mode, threshold.rerank) == ("embedding", False)
    assert (threshold.similarity, threshold.precision, threshold.recall) == (
        found["similarity"],
        found["precision"],
        found["recall"],
    )
    assert threshold.labels == report["provenance"]["labels"]
    again = json_of(filled("evaluate", "suzume", *LABELS, "--json"))
    assert again["a"]["settings"]["similarity"] == threshold.similarity > 0


def test_a_calibration_by_the_dataset_itself(filled: Cli) -> None:
    found = json_of(filled("evaluate", "suzume", "--calibrate", "--json"))["calibration"]

    assert found["texts"] == "the dataset's own questions"
    assert found["held_out"]["queries"] == 44
    assert 0 <= found["held_out_without"]["refused"] <= found["held_out"]["refused"] <= 1


def test_a_calibration_for_a_precision(filled: Cli) -> None:
    ran = filled("evaluate", "suzume", *LABELS, "--calibrate", "--target-precision", "0.06", "--json")
    found = json_of(ran)["calibration"]
    assert found["chosen_on"]["precision"] >= 0.06
    assert found["rule"] == "lowest with a precision of 0.06"


def test_what_is_printed_of_a_calibration(filled: Cli) -> None:
    ran = filled("evaluate", "suzume", "--calibrate", "--apply")

    lines = ran.out.splitlines()
    assert ran.code == 0
    assert lines[1].endswith("(best F1, by the dataset's own questions); now the dataset's default")
    assert [line[:17].strip() for line in lines[2:]] == ["half", "chosen on", "held out", "held out, without"]


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "there is nothing to measure"),
        (("--qrels", QRELS), "--qrels does nothing without --queries"),
        (("--calibrate", "--fail-under", "R@1=1"), "--fail-under does nothing without --queries"),
        ((*LABELS, "--apply"), "--apply does nothing without --calibrate"),
        ((*LABELS, "--curve", "x.png"), "--curve does nothing without --calibrate"),
        ((*LABELS, "--measure", "R@100"), "R@100 looks at 100 quotes"),
        ((*LABELS, "--fail-under", "R@5"), "is no floor"),
        (("--queries", "no.csv"), "no.csv cannot be read"),
        (LABELS, "there is no dataset named 'suzume'"),
    ],
)
def test_bad_usage_is_told(cli: Cli, arguments: tuple[str | Path, ...], said: str) -> None:
    assert said in complaint(cli("evaluate", "suzume", *arguments))


def test_bad_searches_are_told(filled: Cli) -> None:
    for arguments, said in (
        ((*LABELS, "--similarity", "2"), "similarity is 2.0, it must be from 0 to 1"),
        ((*LABELS, "--against", "top-k=x"), "'top-k=x' is no change of a configuration"),
        (("--calibrate", "--mode", "mixedRecall"), "without --queries only --mode embedding"),
        ((*LABELS, "--calibrate", "--mode", "fullTextRecall"), "fullTextRecall has no score"),
    ):
        assert said in complaint(filled("evaluate", "suzume", *arguments))


def test_too_few_labels_for_a_threshold(small: Cli, tmp_path: Path) -> None:
    ran = small("evaluate", "small", "--queries", labels(tmp_path, BY_QUESTION), "--calibrate")
    assert complaint(ran) == "a threshold cannot be chosen from 3 queries: give at least 20 with an answer"


@pytest.mark.parametrize("option", ["--per-query", "--curve"])
def test_a_file_that_cannot_be_written(cli: Cli, tmp_path: Path, option: str) -> None:
    """Told before anything is searched."""
    file = tmp_path / "no" / "file"
    ran = cli("evaluate", "suzume", *LABELS, "--calibrate", option, file)
    assert complaint(ran) == f"{file} cannot be written: there is no folder {file.parent}"


# Through a server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("served") / "data"
    with openai_server() as embeddings:
        settings = {"EMBEDDING_BASE_URL": embeddings.url, "EMBEDDING_MODEL": "scripted"}
        with serving(data_dir, **settings) as server:
            yield server


def told(ran: Ran) -> Any:
    """The report without dates and times."""
    report = json_of(ran)
    del report["provenance"]["date"], report["a"]["search_ms"], report["provenance"]["model"]["fingerprint"]
    return report


def test_a_server_tells_the_same(filled: Cli, running: Server, run_here: RunHere) -> None:
    remote = Cli(run_here, running.data_dir, {})
    assert remote("ingest", DATA / "suzume.csv", "--dataset", "suzume").code == 0
    asked = ("evaluate", "suzume", *LABELS, "--calibrate", "--apply", "--json")

    assert told(remote(*asked)) == told(filled(*asked))

    by_itself = ("evaluate", "suzume", "--calibrate", "--json")
    there, here = (json_of(ask(*by_itself))["calibration"] for ask in (remote, filled))
    assert there == here
    assert "--json" in by_itself
    assert [threshold.similarity for threshold in thresholds(remote, "suzume")] == [
        threshold.similarity for threshold in thresholds(filled, "suzume")
    ]


# The paths


def test_records_are_listed(api: Api) -> None:
    suzume = api.dataset_id("suzume")

    response = api.get(f"{DATASETS}/records", datasetId=suzume)

    lines = [json.loads(line) for line in response.text.splitlines()]
    assert response.headers["content-type"] == "application/x-ndjson"
    assert [line["chunkIndex"] for line in lines] == list(range(45))
    assert lines[2]["indexes"] == ["文字脚本的作者"]
    assert lines[0].keys() == {
        *("id", "datasetId", "collectionId", "q", "a"),
        *("chunkIndex", "tokens", "updateTime", "key", "indexes"),
    }


def test_a_threshold_comes_and_goes(api: Api) -> None:
    suzume = api.dataset_id("suzume")
    path = f"{DATASETS}/calibration"
    body = {"datasetId": suzume, "similarity": 0.5, "precision": 0.9, "recall": 0.8, "labels": "abc"}

    stored = data_of(api.post(path, body))

    assert {**stored, "date": ""} == {**body, "searchMode": "embedding", "usingReRank": False, "date": ""}
    assert data_of(api.get(path, datasetId=suzume)) == [stored]
    assert data_of(api.get(path, datasetId=api.dataset_id("coffee"))) == []
    assert data_of(api.delete(path, datasetId=suzume, searchMode="mixedRecall")) is False
    assert data_of(api.delete(path, datasetId=suzume)) is True
    assert data_of(api.get(path, datasetId=suzume)) == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"similarity": 1.5}, 422),
        ({"precision": -1}, 422),
        ({"similarity": None}, 422),
        ({"searchMode": "fullTextRecall"}, 422),
        ({"datasetId": "0" * 24}, 404),
    ],
)
def test_a_threshold_that_cannot_be_stored(api: Api, change: dict[str, Any], status: int) -> None:
    body = {"datasetId": api.dataset_id("suzume"), "similarity": 0.5, "precision": 0.9, "recall": 0.8}
    response = api.post(f"{DATASETS}/calibration", {**body, **change})
    assert (response.status_code, bool(error_of(response)["message"])) == (status, True)


def test_a_key_of_one_dataset_measures_no_other(api: Api) -> None:
    headers = api.new_key("dataset", dataset_ids=(api.dataset_id("suzume"),))[1]
    coffee = api.dataset_id("coffee")
    body = {"datasetId": coffee, "similarity": 0.5, "precision": 0.9, "recall": 0.8}
    for response in (
        api.get(f"{DATASETS}/records", headers, datasetId=coffee),
        api.get(f"{DATASETS}/calibration", headers, datasetId=coffee),
        api.get(f"{DATASETS}/calibration/heldOut", headers, datasetId=coffee),
        api.post(f"{DATASETS}/calibration", body, headers),
        api.delete(f"{DATASETS}/calibration", headers, datasetId=coffee),
    ):
        assert response.status_code == 403
