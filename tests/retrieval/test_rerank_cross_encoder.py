"""Any cross-encoder of sentence-transformers as a reranker, shown on tiny ones of random weights."""

import json
import math
import shutil
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest

from retrieval import torch_models
from retrieval.errors import RerankFailed
from retrieval.rerank import RerankChoice, Reranker, cross_encoder, open_reranker
from retrieval.rerank.cross_encoder import CrossEncoderReranker
from tests.retrieval.test_sentence_transformers import LINES, NEEDS_TORCH, POSITIONS, save_tokenizer

pytestmark = NEEDS_TORCH

CLOSE = 1e-5

QUERY = "how do I store coffee"
TEXTS = [
    "coffee beans in a jar",
    "放在密封罐里",
    "four weeks",
    "how do I store coffee",
    "咖啡豆怎么保存 " * 3,
    "in a jar for four weeks, in a jar for four weeks",
]
SETTING = "set QUOTEBASE_RERANK_MODEL to the folder or the hub id of a cross-encoder that gives one score"


def save_model(folder: Path, kind: str = "BertForSequenceClassification", **config: object) -> Path:
    """Two layers of random weights, large enough that scores differ."""
    import torch
    import transformers

    tokens = save_tokenizer(folder)
    torch.manual_seed(0)
    settings = {
        "vocab_size": tokens,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": POSITIONS,
        "num_labels": 1,
        "initializer_range": 0.5,
    }
    model = getattr(transformers, kind)(transformers.BertConfig(**{**settings, **config}))
    model.save_pretrained(folder)
    return folder


def expected(folder: Path, query: str, texts: Sequence[str]) -> list[float]:
    """The sigmoid of what the model itself says of each pair alone."""
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    found = []
    for text in texts:
        with torch.inference_mode():
            logit = float(model(**tokenizer(query, text, truncation=True, return_tensors="pt")).logits[0, 0])
        found.append(1 / (1 + math.exp(-logit)))
    return found


def failure(source: Path | str) -> str:
    """What is said when the model is asked."""
    with pytest.raises(RerankFailed) as caught:
        CrossEncoderReranker(str(source)).score(QUERY, TEXTS)
    assert caught.value.message.endswith(SETTING)
    assert f"the model {str(source)!r} " in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any processor, so that scores can be compared; in bf16 they have two or three digits."""
    monkeypatch.setattr(torch_models, "_is_bf16_fast", lambda device: False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return save_model(tmp_path_factory.mktemp("rerank") / "tiny-reranker")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Reranker:
    opened = open_reranker(RerankChoice(str(folder)))
    assert opened is not None
    return opened


def test_scores_are_those_of_the_model(tiny: Reranker, folder: Path) -> None:
    scores = expected(folder, QUERY, TEXTS)

    assert max(scores) - min(scores) > 0.1
    assert tiny.name == "tiny-reranker"
    assert tiny.score(QUERY, TEXTS) == pytest.approx(scores, abs=CLOSE)
    assert tiny.score(TEXTS[0], [QUERY]) == pytest.approx(expected(folder, TEXTS[0], [QUERY]), abs=CLOSE)


def test_bf16_gives_nearly_the_same_scores(
    tiny: Reranker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_models, "_is_bf16_fast", lambda device: True)
    scores = CrossEncoderReranker(str(folder)).score(QUERY, TEXTS)

    assert scores != tiny.score(QUERY, TEXTS)
    assert scores == pytest.approx(tiny.score(QUERY, TEXTS), abs=0.2)


@pytest.mark.parametrize("activation", ["Sigmoid", "Identity"])
def test_what_a_model_was_saved_to_make_of_its_score_is_left_out(
    tiny: Reranker, folder: Path, tmp_path: Path, activation: str
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), activation_fn=getattr(torch.nn, activation)(), device="cpu")
    model.save(str(tmp_path / "saved"))
    assert any(activation in file.read_text() for file in (tmp_path / "saved").glob("*.json"))

    scores = CrossEncoderReranker(str(tmp_path / "saved")).score(QUERY, TEXTS)

    assert scores == pytest.approx(tiny.score(QUERY, TEXTS), abs=1e-6)


def test_order_is_kept_whatever_the_lengths(tiny: Reranker) -> None:
    words = LINES[0].split()
    texts = [" ".join(words[number % 5 : 1 + number * 7 % 13]) + f" {number}" for number in range(150)]
    alone = [tiny.score(QUERY, [text])[0] for text in texts]

    assert max(alone) - min(alone) > 0.1
    assert tiny.score(QUERY, texts) == pytest.approx(alone, abs=CLOSE)


def test_long_texts_are_cut_to_what_the_model_reads(tiny: Reranker, folder: Path) -> None:
    long = "coffee beans " * 500
    one, short, another = tiny.score(QUERY, [long + "one end", "short", long + "another end"])

    assert one == pytest.approx(another, abs=CLOSE) != short
    assert [one, short] == pytest.approx(expected(folder, QUERY, [long, "short"]), abs=CLOSE)


def test_a_long_query_leaves_room_for_the_text(tiny: Reranker) -> None:
    scores = tiny.score(QUERY * 200, TEXTS)

    assert len(set(scores)) == len(TEXTS)


@pytest.mark.parametrize("text", ["", " ", "\0", "[SEP]"])
def test_odd_texts_have_a_relevance(tiny: Reranker, text: str) -> None:
    scores = [*tiny.score(QUERY, [text]), *tiny.score(text, [text, QUERY])]

    assert all(0 < score < 1 for score in scores)


def test_eight_threads_load_it_once_and_get_the_same_scores(
    tiny: Reranker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []

    def counted(source: str) -> object:
        loads.append(source)
        return load(source)

    load = cross_encoder.load_cross_encoder
    monkeypatch.setattr(cross_encoder, "load_cross_encoder", counted)
    scores = tiny.score(QUERY, TEXTS)
    reranker = CrossEncoderReranker(str(folder))
    problems: list[str] = []

    def work() -> None:
        for _ in range(10):
            if reranker.score(QUERY, TEXTS) != pytest.approx(scores, abs=CLOSE):
                problems.append("another score")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert loads == [str(folder)]


def test_no_texts_need_no_model(tmp_path: Path) -> None:
    assert CrossEncoderReranker(str(tmp_path / "missing")).score(QUERY, []) == []


def test_a_folder_needs_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if its name could be an id on the hub."""
    attempts: list[object] = []

    def refuse(*wanted: object, **_: object) -> object:
        attempts.append(wanted)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)

    monkeypatch.chdir(folder.parent.parent)
    source = f"{folder.parent.name}/{folder.name}"
    assert len(CrossEncoderReranker(source).score(QUERY, TEXTS)) == len(TEXTS)
    assert attempts == []


# Models that cannot be used


def test_a_model_of_two_labels_is_refused(tmp_path: Path) -> None:
    assert "gives 2 values for a text, a reranker gives one" in failure(
        save_model(tmp_path / "m", num_labels=2)
    )


def test_an_embedding_model_is_refused(tmp_path: Path) -> None:
    """It would be given a last layer of random weights."""
    assert "is no cross-encoder" in failure(save_model(tmp_path / "m", "BertModel"))


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    assert "cannot be loaded (" in failure(tmp_path / "missing" / "model")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_file_is_told(folder: Path, tmp_path: Path, file: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / file).write_bytes((copy / file).read_bytes()[:100])

    assert "cannot be loaded (" in failure(copy)


def test_a_folder_without_weights_is_told(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").unlink()

    assert "cannot be loaded (" in failure(copy)


def test_a_wrong_configuration_is_told(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "hidden_size": "many"}))

    assert "cannot be loaded (" in failure(copy)


def test_missing_packages_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    assert "needs the packages sentence-transformers and torch to be installed" in failure(folder)


def test_a_model_that_fails_at_a_text_is_told(tmp_path: Path) -> None:
    """Its tokenizer knows more tokens than it does."""
    assert "failed (index out of range" in failure(save_model(tmp_path / "m", vocab_size=8))


def test_a_score_that_is_no_number_is_told(folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder)
    torch.nn.init.constant_(model.classifier.bias, math.nan)
    copy = shutil.copytree(folder, tmp_path / "copy")
    model.save_pretrained(copy)

    assert "gave a score that is no number" in failure(copy)


def test_loading_is_tried_again_but_not_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "later" / "model"
    reranker = CrossEncoderReranker(str(source))
    messages = []
    for _ in range(2):
        with pytest.raises(RerankFailed) as caught:
            reranker.score(QUERY, TEXTS)
        messages.append(caught.value.message)
        shutil.copytree(folder, source, dirs_exist_ok=True)
    assert messages[0] == messages[1]

    monkeypatch.setattr(cross_encoder, "FAILURE_KEPT_S", 0.0)

    assert len(reranker.score(QUERY, TEXTS)) == len(TEXTS)
