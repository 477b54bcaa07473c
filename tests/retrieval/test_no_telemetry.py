"""Nobody is told that the program runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.settings import Settings

SCRIPT = """
import sys
from pathlib import Path
from retrieval.embedding.bundled import BundledEmbedder
BundledEmbedder(Path(sys.argv[1])).embed_queries(["hello"])
assert "openvino" in sys.modules
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""


@pytest.mark.model
def test_running_the_model_reports_nothing(tmp_path: Path) -> None:
    cache = str(Settings().cache_dir)
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}
    subprocess.run([sys.executable, "-c", SCRIPT, cache], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
