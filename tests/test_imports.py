"""Imports stand at the top of a file, except those that pyproject.toml lists as heavy."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dreamtrace"]["imports"]


def hidden_imports(source: str) -> list[str]:
    """The modules that functions of a file import."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    inner = {node for function in functions for node in ast.walk(function)}
    found = [node.module or "." * node.level for node in inner if isinstance(node, ast.ImportFrom)]
    return found + [alias.name for node in inner if isinstance(node, ast.Import) for alias in node.names]


def test_an_import_in_a_function_is_a_heavy_one() -> None:
    wrong, seen = [], 0
    for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        name = path.relative_to(ROOT).as_posix()
        allowed = RULES["heavy"] + (RULES["heavy_rooms"] if name.startswith(tuple(RULES["from_rooms"])) else [])
        for module in hidden_imports(path.read_text()):
            seen += 1
            if module.split(".")[0] not in allowed:
                wrong.append(f"{name} hides an import of {module} in a function")
    assert not wrong, "\n".join(wrong)
    assert seen > 100


def test_a_hidden_import_is_seen() -> None:
    assert hidden_imports("import os\ndef f():\n    import json\n    from pipeline.files import read_json\n") == [
        "pipeline.files",
        "json",
    ]


def test_the_ground_floor_is_small() -> None:
    loose = {path.stem for path in (ROOT / "pipeline").glob("*.py")} - {"__init__"}
    assert loose == {"params", "layout", "files", "errors", "environment", "processes", "threads", "yaml_files"}
