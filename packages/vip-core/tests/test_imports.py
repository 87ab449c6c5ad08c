"""The package is torch and the standard library: what it imports, loads, says and exports."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import vip_core

SOURCES = sorted(Path(vip_core.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_file_imports_torch_and_the_standard_library_alone(path: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            found.add(node.module or "")
    assert {name.split(".")[0] for name in found} <= {"torch", "vip_core", *sys.stdlib_module_names}


def test_every_source_was_looked_at() -> None:
    assert {"__init__.py", "codebook.py", "prompt.py"} <= {path.name for path in SOURCES}


def test_importing_it_loads_nothing_else_and_says_nothing() -> None:
    # torch loads numpy and more where they are installed; what counts is what comes on top of torch.
    script = (
        "import json, sys, torch, torch.distributed; before = set(sys.modules); import vip_core;"
        "json.dump(sorted(set(sys.modules) - before), sys.stderr)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    loaded = {name.split(".")[0] for name in json.loads(run.stderr)}
    assert "vip_core" in loaded
    assert loaded <= {"vip_core", "torch", *sys.stdlib_module_names}
    assert run.stdout == ""


def test_all_names_what_is_exported_in_order() -> None:
    assert vip_core.__all__ == sorted(vip_core.__all__)
    tree = ast.parse(Path(vip_core.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(vip_core.__all__) == imported
