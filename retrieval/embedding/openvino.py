"""Running a BERT sentence encoder on OpenVINO: the graph, saving it, and the engine.

The graph ends in mean pooling and unit length, so that a batch goes in as token ids and comes out
as (n, dim) embeddings. It is built from the weights directly: no torch, no tracing.

Measured on two cores with AVX-512 BF16 (``python -m benchmarks embedding``): batches between 1,024
and 4,096 tokens, and latency against throughput scheduling, are within 10 % of one another, and the
whole runs at some 70 % of the processor's own ceiling for matrix products.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Importing openvino reports its use to its makers unless this package cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import numpy as np
import numpy.typing as npt
import openvino as ov
import openvino.opset13 as ops
from tokenizers import Tokenizer

from retrieval.embedding.batching import BATCH_TOKENS, batches_by_length
from retrieval.embedding.e5_file import E5Weights
from retrieval.errors import EmbedderUnavailable
from retrieval.priority import stand_back
from retrieval.types import Embeddings

MAX_BATCH_TOKENS = 1024
"""Tokens of one inference, some 150 ms on two cores: more is no faster, and a query beside an import waits
for the inference under way."""

Positions = npt.NDArray[np.int64]

MapBatches = Callable[[Callable[[Positions], Embeddings], Sequence[Positions]], Iterable[Embeddings]]
"""``map``, or that of a pool of threads."""

CPU_INFO = Path("/proc/cpuinfo")

KEPT_SHAPES = 64
"""Shapes of batches whose kernels are kept. Of the 5,000 that OpenVINO keeps by default, an import of texts of
all lengths meets so many that it takes 2 GB; with these it stays below 0.8 GB, and is no slower."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What batches should look like on a processor.

    Args:
        step: lengths are padded to multiples of it, up to what the model reads.
        batch_tokens: what a batch costs beside its tokens, in tokens.
    """

    step: int
    batch_tokens: int


PLAIN = Pace(step=1, batch_tokens=BATCH_TOKENS)

TILED = Pace(step=32, batch_tokens=200)
"""Where matrices are multiplied in tiles (AMX) a length that fills them is read a quarter faster, a token, than the
one beside it, and a shape that was not met lately costs 10 ms of making kernels. 4,096 texts of the bulk table on two
cores: 18.2 s, against 24.7 s by ``PLAIN``; by 512 at a time 19.4 s, against 27.6 s."""

KEPT_TEXTS = 8192
"""Texts whose tokens are kept from when they are counted to when they are embedded: more than two batches of q/a rows
have, some 3 kB each."""

NICENESS = 5
"""How far the reading of many texts stands back behind that of a question: searches beside an import take 20 ms in the
median and 50 ms at the 99th percentile in place of 28 and 80, an import of 3,000 rows as long as before; 10 gives no
more."""

_MASKED = np.float32(-10_000)


def save_graph(weights: E5Weights, path: Path) -> None:
    """Write the encoder as OpenVINO IR: ``path`` (.xml) and a .bin of fp16 weights beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(_Graph(weights).build(), path, compress_to_fp16=True)


class _Engine:
    """The compiled graph; each thread that runs it has an inference request of its own."""

    def __init__(self, core: ov.Core, graph: Path, cache_dir: Path, hint: str, precision: str) -> None:
        properties = {
            "CACHE_DIR": str(cache_dir),
            "PERFORMANCE_HINT": hint,
            "INFERENCE_PRECISION_HINT": precision,
            "CPU_RUNTIME_CACHE_CAPACITY": KEPT_SHAPES,
        }
        try:
            self._model = core.compile_model(graph, "CPU", properties)
        except RuntimeError as error:
            raise EmbedderUnavailable(
                f"the model {graph} cannot be loaded: delete the folder {graph.parent.parent}, it is written anew"
            ) from error
        self._requests = threading.local()
        # What a process does once for all, at its first inference, is done here, by one thread: two of them at once can
        # wait for each other for ever, one with the interpreter's lock and one with that of a static in C++.
        self.infer([[0]], 1)

    @property
    def dim(self) -> int:
        return int(self._model.output(0).partial_shape[1].get_length())

    @property
    def streams(self) -> int:
        """How many batches it is best at reading at once."""
        return int(self._model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def infer(self, token_ids: Sequence[Sequence[int]], length: int) -> Embeddings:
        """(n, dim) float32 of texts padded to ``length``."""
        ids = np.ones((len(token_ids), length), dtype=np.int32)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        result: Embeddings = self._request().infer([ids, mask], share_inputs=True)[0]
        return result

    def _request(self) -> ov.InferRequest:
        if not hasattr(self._requests, "own"):
            self._requests.own = self._model.create_infer_request()
        return self._requests.own


class OpenVinoEncoder:
    """Token ids to embeddings, in bf16 where the processor has it and fp32 where not.

    A question is read by all cores together. Many texts are read by each core for itself, batch beside batch, so
    that no core waits for another: 4,096 texts in 17.6 s against 18.8 s, and beside a thread that takes a fifth of
    one core in 19.8 s against 25 to 37 s. The compiled models are cached in ``cache_dir``, so that a later process
    starts without compiling. Safe to call from several threads.
    """

    def __init__(self, graph: Path, tokenizer: Path, max_tokens: int, cache_dir: Path) -> None:
        self._core = ov.Core()
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if has_bf16 else "f32"
        self._pace = TILED if has_bf16 and _has_tiles() else PLAIN
        self._max_tokens = max_tokens
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_truncation()
        # A text that contains </s> says so, and does not end there.
        self._tokenizer.encode_special_tokens = True
        self._graph, self._cache_dir = graph, cache_dir
        self._engine = self._compiled("LATENCY")
        self._side_by_side: tuple[_Engine, ThreadPoolExecutor] | None = None
        self._counted: OrderedDict[str, list[int]] = OrderedDict()
        self._counting = threading.Lock()

    def _compiled(self, hint: str) -> _Engine:
        return _Engine(self._core, self._graph, self._cache_dir, hint, self.precision)

    def prepare_for_many(self) -> None:
        """Compile what :meth:`encode_many` runs on; before that it is as quick as :meth:`encode`."""
        if self._side_by_side is None:
            # The engine's threads stand back as the one does that starts them.
            with ThreadPoolExecutor(1, initializer=stand_back, initargs=(NICENESS,)) as compiling:
                engine = compiling.submit(self._compiled, "THROUGHPUT").result()
            self._side_by_side = engine, ThreadPoolExecutor(engine.streams, "embed")

    @property
    def is_ready_for_many(self) -> bool:
        return self._side_by_side is not None

    @property
    def dim(self) -> int:
        return self._engine.dim

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """(n, dim) float32, unit rows, in the order of ``texts``."""
        return self._encode(texts, self._engine, map)

    def encode_many(self, texts: Sequence[str]) -> Embeddings:
        """The same for many texts, which may take longer for the first of them."""
        if self._side_by_side is None:
            return self.encode(texts)
        engine, pool = self._side_by_side
        return self._encode(texts, engine, pool.map)

    def _encode(self, texts: Sequence[str], engine: _Engine, map_: MapBatches) -> Embeddings:
        token_ids = [self._cut(ids) for ids in self._token_ids(texts)]
        lengths = [self._padded(len(ids)) for ids in token_ids]
        batches = list(batches_by_length(lengths, MAX_BATCH_TOKENS, self._pace.batch_tokens))

        def infer(batch: Positions) -> Embeddings:
            return engine.infer([token_ids[position] for position in batch], lengths[batch[0]])

        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        for batch, rows in zip(batches, map_(infer, batches), strict=True):
            embeddings[batch] = rows
        return embeddings

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special ones included, however many they are.

        Those of the last texts are kept for when they are embedded: an import counts one batch while the model reads
        the one before.
        """
        token_ids = list(self._tokenize(texts))
        with self._counting:
            self._counted.update(zip(texts, token_ids, strict=True))
            while len(self._counted) > KEPT_TEXTS:
                self._counted.popitem(last=False)
        return [len(ids) for ids in token_ids]

    def _token_ids(self, texts: Sequence[str]) -> Iterator[list[int]]:
        with self._counting:
            known = [self._counted.pop(text, None) for text in texts]
        unread = self._tokenize([text for text, ids in zip(texts, known, strict=True) if ids is None])
        return (next(unread) if ids is None else ids for ids in known)

    def _tokenize(self, texts: Sequence[str]) -> Iterator[list[int]]:
        return (encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts)))

    def _cut(self, ids: list[int]) -> list[int]:
        """What the model takes of them, with the end token at the end."""
        return ids if len(ids) <= self._max_tokens else [*ids[: self._max_tokens - 1], ids[-1]]

    def _padded(self, length: int) -> int:
        return min(-(-length // self._pace.step) * self._pace.step, self._max_tokens)


def _has_tiles() -> bool:
    """Whether the processor has AMX; where the system does not say, it counts as one that has not."""
    with suppress(OSError):
        return " amx_tile" in CPU_INFO.read_text(encoding="utf-8", errors="replace")
    return False


class _Graph:
    """Builds the encoder node by node, as in Devlin et al. 2019 with exact (erf) GELU."""

    def __init__(self, weights: E5Weights) -> None:
        self._shape = weights.shape
        self._tensors = weights.tensors

    def build(self) -> ov.Model:
        ids = ops.parameter([-1, -1], np.int32, name="input_ids")
        mask = ops.parameter([-1, -1], np.int32, name="attention_mask")
        present = ops.convert(mask, "f32")
        absent = ops.subtract(ops.constant(np.float32(1)), ops.unsqueeze(present, _ints(1, 2)))
        bias = ops.multiply(absent, ops.constant(_MASKED))
        states = self._embed(ids)
        for layer in range(self._shape.layers):
            states = self._layer(states, bias, f"encoder.layer.{layer}")
        return ov.Model([_mean_of_present(states, present)], [ids, mask], "sentence_encoder")

    def _embed(self, ids: ov.Node) -> ov.Node:
        length = ops.gather(ops.shape_of(ids), _ints(1), _ints(0))
        positions = ops.slice(
            self._constant("embeddings.position_embeddings.weight"), _ints(0), length, _ints(1), _ints(0)
        )
        words = ops.gather(self._constant("embeddings.word_embeddings.weight"), ids, _ints(0))
        kind = ops.constant(self._tensors["embeddings.token_type_embeddings.weight"][0])
        summed = ops.add(ops.add(words, ops.unsqueeze(positions, _ints(0))), kind)
        return self._norm(summed, "embeddings.LayerNorm")

    def _layer(self, states: ov.Node, bias: ov.Node, name: str) -> ov.Node:
        query, key, value = (
            self._heads(self._linear(states, f"{name}.attention.self.{part}"))
            for part in ("query", "key", "value")
        )
        mixed = ops.scaled_dot_product_attention(query, key, value, bias)
        joined = ops.reshape(ops.transpose(mixed, _ints(0, 2, 1, 3)), _ints(0, 0, self._shape.hidden), True)
        attended = self._linear(joined, f"{name}.attention.output.dense")
        states = self._norm(ops.add(states, attended), f"{name}.attention.output.LayerNorm")
        inner = ops.gelu(self._linear(states, f"{name}.intermediate.dense"), "erf")
        return self._norm(
            ops.add(states, self._linear(inner, f"{name}.output.dense")), f"{name}.output.LayerNorm"
        )

    def _heads(self, states: ov.Node) -> ov.Node:
        """(batch, length, hidden) to (batch, heads, length, hidden / heads)."""
        heads = self._shape.heads
        split = ops.reshape(states, _ints(0, 0, heads, self._shape.hidden // heads), True)
        return ops.transpose(split, _ints(0, 2, 1, 3))

    def _linear(self, states: ov.Node, name: str) -> ov.Node:
        product = ops.matmul(states, self._constant(f"{name}.weight"), False, True)
        return ops.add(product, self._constant(f"{name}.bias"))

    def _norm(self, states: ov.Node, name: str) -> ov.Node:
        normal = ops.mvn(states, _ints(-1), True, self._shape.epsilon, "inside_sqrt")
        scaled = ops.multiply(normal, self._constant(f"{name}.weight"))
        return ops.add(scaled, self._constant(f"{name}.bias"))

    def _constant(self, name: str) -> ov.Node:
        return ops.constant(self._tensors[name])


def _mean_of_present(states: ov.Node, present: ov.Node) -> ov.Node:
    """Mean over the unmasked tokens, scaled to unit length: (batch, hidden)."""
    weight = ops.unsqueeze(present, _ints(2))
    total = ops.reduce_sum(ops.multiply(states, weight), _ints(1))
    mean = ops.divide(total, ops.reduce_sum(weight, _ints(1)))
    return ops.normalize_l2(mean, _ints(1), 1e-12, "max")


def _ints(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
