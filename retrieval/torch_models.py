"""The one place that loads models with sentence-transformers, which is imported, torch with it, by the first of them.

They compute in bf16 where the processor has it, on a GPU if there is one. A folder is read without
asking the network for anything. Code that comes with a model is not run.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder as CrossEncoder
    from sentence_transformers import SentenceTransformer

MAX_QUOTED = 300
"""Characters of a library's own words that go into a message."""


class ModelError(Exception):
    """A model that cannot be used. The message names it, says why, and is one line."""


def load_embedding_model(model: str) -> "SentenceTransformer":
    """A folder's, or that of an id on the hub. Raises ModelError."""
    loaded: SentenceTransformer = _load("SentenceTransformer", model)
    return loaded


def load_cross_encoder(model: str) -> "CrossEncoder":
    """A folder's, or that of an id on the hub.

    Raises:
        ModelError: it cannot be loaded, gives a pair of texts more than one value, or was never
            trained to compare texts.
    """
    loaded = _load("CrossEncoder", model)
    if loaded.num_labels != 1:
        raise ModelError(
            f"the model {model!r} gives {loaded.num_labels} values for a text, a reranker gives one"
        )
    # The library gives any other model a last layer of random weights, and says nothing.
    if len(loaded) == 1 and not _has_head(loaded.config.architectures):
        raise ModelError(f"the model {model!r} is no cross-encoder: it gives texts no score")
    return loaded


def _load(kind: Literal["SentenceTransformer", "CrossEncoder"], model: str) -> Any:
    try:
        import sentence_transformers
    except ImportError as error:
        raise ModelError(
            f"the model {model!r} needs the packages sentence-transformers and torch to be installed ({error})"
        ) from error
    try:
        loaded = getattr(sentence_transformers, kind)(model, local_files_only=Path(model).is_dir())
    except Exception as error:
        # Four libraries take part, and raise whatever they like at a damaged file.
        line = " ".join(str(error).split())
        raise ModelError(f"the model {model!r} cannot be loaded ({line[:MAX_QUOTED]})") from error
    return loaded.bfloat16() if _is_bf16_fast(loaded.device.type) else loaded


def _has_head(architectures: list[str] | None) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in architectures or ())


def _is_bf16_fast(device: str) -> bool:
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
