"""What is installed is what is declared: pins within ranges, and no CUDA by accident."""

import tomllib

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
DECLARED = [
    Requirement(text)
    for text in [
        *PROJECT["dependencies"],
        *(text for extra in PROJECT["optional-dependencies"].values() for text in extra),
    ]
]


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    pins = [pin for pin in PINS if pin.name.lower().replace("_", "-") == requirement.name]
    assert len(pins) == 1
    (specifier,) = pins[0].specifier
    assert specifier.operator == "=="
    assert requirement.specifier.contains(specifier.version)


def test_torch_is_a_cpu_build_on_linux() -> None:
    torch = {str(pin.marker): str(pin.specifier) for pin in PINS if pin.name == "torch"}
    assert torch['sys_platform == "linux"'].endswith("+cpu")
    assert not [pin.name for pin in PINS if pin.name.startswith(("nvidia", "cuda", "triton"))]
