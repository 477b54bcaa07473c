"""Any sentence-transformers folder as an embedder, shown on a tiny one of random weights."""

import importlib.util
import shutil
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from retrieval.embedding import Embedder, EmbedderChoice, binding, open_embedder
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.embedding.sentence_transformers import SentenceTransformersEmbedder
from retrieval.errors import EmbedderUnavailable
from tests.retrieval.test_embedding import TEXTS, cosines

NEEDS_TORCH = [
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None
        or importlib.util.find_spec("sentence_transformers") is None,
        reason="torch or sentence-transformers is not installed",
    ),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]
pytestmark = NEEDS_TORCH

POSITIONS = 48
LINES = ["query: passage: how do I store coffee beans in a jar for four weeks", "咖啡豆怎么保存 放在密封罐里"]


def save_tokenizer(folder: Path) -> int:
    """One that is trained on two lines; how many tokens it has."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=list(special.values()))
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=POSITIONS, **special)
    wrapped.save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


def save_model(folder: Path, seed: int) -> Path:
    """Two layers of random weights, a tokenizer and prompts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel

    bert = folder / "bert"
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=save_tokenizer(bert),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
    )
    BertModel(config).save_pretrained(bert)
    model = SentenceTransformer(
        modules=[Transformer(str(bert)), Pooling(32)],
        prompts={"query": "query: ", "document": "passage: "},
        device="cpu",
    )
    model.save(str(folder / "tiny-model"))
    return folder / "tiny-model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return save_model(tmp_path_factory.mktemp("seed-0"), seed=0)


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Embedder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_embedder(EmbedderChoice(str(folder)), folder / "unused cache")


def test_a_folder_says_what_it_is(tiny: Embedder) -> None:
    assert isinstance(tiny, SentenceTransformersEmbedder)
    assert (tiny.name, tiny.dim, tiny.max_tokens) == ("tiny-model", 32, POSITIONS)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_shape_type_and_length(tiny: Embedder, count: int) -> None:
    for embeddings in (tiny.embed_queries(TEXTS[:count]), tiny.embed_passages(TEXTS[:count])):
        assert embeddings.shape == (count, 32)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_prompts_of_the_model_are_put_before_the_texts(tiny: Embedder, folder: Path) -> None:
    """The same as the model gives for texts that begin with the prompts."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    texts = ["coffee beans", "咖啡豆"]
    queries, passages = tiny.embed_queries(texts), tiny.embed_passages(texts)
    for embeddings, prompt in ((queries, "query: "), (passages, "passage: ")):
        plain = model.encode([prompt + text for text in texts], prompt="")
        assert cosines(embeddings, np.asarray(plain, dtype=np.float32)).min() > 0.999
    assert cosines(queries, passages).max() < 0.999


def test_order_is_kept_whatever_the_lengths(tiny: Embedder) -> None:
    texts = [" ".join(LINES[0].split()[: 1 + number * 7 % 13]) + f" {number}" for number in range(50)]
    together = tiny.embed_passages(texts)
    alone = np.concatenate([tiny.embed_passages([text]) for text in texts])
    assert cosines(together, alone).min() > 0.999


def test_a_long_text_is_cut(tiny: Embedder) -> None:
    long = "coffee beans " * 500
    embeddings = tiny.embed_passages([long + "one end", "short", long + "another end"])
    assert cosines(embeddings[:1], embeddings[2:])[0] > 0.9999


@pytest.mark.parametrize("text", ["", " ", "\0", "[SEP]"])
def test_odd_texts_have_a_direction(tiny: Embedder, text: str) -> None:
    assert np.isfinite(tiny.embed_queries([text])).all()


def test_eight_threads_get_the_same_vectors(tiny: Embedder) -> None:
    texts = ["coffee " * 400, "beans", "store coffee beans in a jar"]
    expected = tiny.embed_queries(texts)
    problems: list[str] = []

    def work() -> None:
        for _ in range(15):
            if cosines(tiny.embed_queries(texts), expected).min() < 0.999:
                problems.append("another vector")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_the_fingerprint_is_of_the_weights(tiny: Embedder, folder: Path, tmp_path: Path) -> None:
    assert len(tiny.fingerprint) == 16
    copy = shutil.copytree(folder, tmp_path / "tiny-model")
    assert binding(SentenceTransformersEmbedder(str(copy))) == binding(tiny)
    other = SentenceTransformersEmbedder(str(save_model(tmp_path, seed=1)))
    assert (other.name, other.dim) == (tiny.name, tiny.dim)
    assert other.fingerprint != tiny.fingerprint
    assert cosines(other.embed_queries(["coffee"]), tiny.embed_queries(["coffee"]))[0] < 0.99


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailable, match="QUOTEBASE_EMBEDDING_MODEL") as raised:
        open_embedder(EmbedderChoice(str(tmp_path / "missing")), tmp_path)
    assert str(tmp_path / "missing") in raised.value.message


def test_a_folder_without_weights_is_told(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in copy.rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(EmbedderUnavailable, match="QUOTEBASE_EMBEDDING_MODEL"):
        SentenceTransformersEmbedder(str(copy))


def test_damaged_weights_are_told(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    for path in copy.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EmbedderUnavailable, match="QUOTEBASE_EMBEDDING_MODEL"):
        SentenceTransformersEmbedder(str(copy))


def test_missing_packages_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(EmbedderUnavailable, match="needs the packages sentence-transformers and torch"):
        SentenceTransformersEmbedder(str(folder))


@pytest.mark.model
@pytest.mark.slow
def test_the_bundled_folder_is_the_same_model_in_sentence_transformers(bundled: BundledEmbedder) -> None:
    embedder = SentenceTransformersEmbedder(str(bundled.folder))
    assert (embedder.dim, embedder.max_tokens) == (bundled.dim, bundled.max_tokens)
    for method in ("embed_queries", "embed_passages"):
        similar = cosines(getattr(embedder, method)(TEXTS), getattr(bundled, method)(TEXTS))
        assert similar.min() >= 0.999, TEXTS[int(similar.argmin())]
