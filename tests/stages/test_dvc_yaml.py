"""dvc.yaml declares what the stages really depend on."""

import ast
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.base.named_paths import path_parameters
from pipeline.params import dump_params, load_params
from pipeline.runs.checks import _unwritten
from pipeline.runs.profiles import Profile, profiles, use_profile

ROOT = Path(__file__).resolve().parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Files that a stage hands on without importing them.
HANDED_ON = {"register": {"pipeline/registry/served_model.py"}}


def module_file(name: str) -> Path | None:
    path = ROOT / name.replace(".", "/")
    found = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return found if found.is_file() and imports_or_defines(found) else None


def imports_or_defines(path: Path) -> bool:
    """Packages that only say what they are for cannot change a result."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) for node in ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> set[Path]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return {file for name in names if name.startswith("pipeline") and (file := module_file(name))}


def closure(path: Path) -> set[str]:
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += imports(file)
    return {str(file.relative_to(ROOT)) for file in seen}


def covered(file: str, deps: list[str]) -> bool:
    return any(file == dep or file.startswith(f"{dep}/") for dep in deps)


@pytest.mark.parametrize("stage", STAGES)
def test_every_source_file_a_stage_imports_is_declared(stage: str) -> None:
    needed = closure(ROOT / "pipeline" / "stages" / f"{stage}.py")
    for file in sorted(HANDED_ON.get(stage, set())):
        needed |= closure(ROOT / file)
    assert [file for file in sorted(needed) if not covered(file, STAGES[stage]["deps"])] == []


def test_links_to_files_that_parameters_name_follow_these_parameters() -> None:
    params = STAGES["inputs"]["params"]
    keys = path_parameters(load_params(ROOT / "params.yaml"))
    assert [key for key in keys if not any(key == one or key.startswith(f"{one}.") for one in params)] == []


# What the embedded base brings for each parameter that may name it.
EMBEDDED = {
    "base.model": "pocket/model",
    "evaluate.scorer": "pocket/clip",
    "evaluate.identity": "pocket/identity",
    "report.judge": "pocket/judge",
    "sample.control.adapter": "pocket/control",
}
MEASURES_CONTROL = "pocket/outline"  # finds the outline of what was drawn after a silhouette


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "inputs"])
def test_a_stage_that_reads_a_model_depends_on_the_embedded_one_too(stage: str) -> None:
    deps = STAGES[stage]["deps"]
    read = {key for key in EMBEDDED if f"artifacts/inputs/{key}" in deps}
    if stage == "evaluate":  # of the base it needs the name alone, beside which the judges are
        read -= {"base.model", "sample.control.adapter"}
    named = {EMBEDDED[key] for key in read}
    assert named - set(deps) == set()
    assert (MEASURES_CONTROL in deps) == (stage == "evaluate")


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_declared_that_a_stage_does_not_import(stage: str) -> None:
    needed = closure(ROOT / "pipeline" / "stages" / f"{stage}.py")
    for file in sorted(HANDED_ON.get(stage, set())):
        needed |= closure(ROOT / file)
    declared = [dep for dep in STAGES[stage]["deps"] if dep.startswith("pipeline/") and dep.endswith(".py")]
    assert sorted(set(declared) - needed) == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_declared_file_and_parameter_exists(stage: str) -> None:
    values: Any = dump_params(load_params(ROOT / "params.yaml"))
    for key in STAGES[stage]["params"]:
        found = values
        for part in key.split("."):
            assert part in found, key
            found = found[part]
    outs = [out for s in STAGES.values() for kind in ("outs", "metrics", "plots") for out in s.get(kind, [])]
    made = {out if isinstance(out, str) else next(iter(out)) for out in outs}
    for dep in STAGES[stage]["deps"]:
        assert covered(dep, list(made)) or dep == "data" or (ROOT / dep).exists(), dep


@pytest.mark.parametrize("profile", profiles(), ids=lambda profile: profile.name)
def test_every_profile_writes_what_the_stages_read(profile: Profile, tmp_path: Path) -> None:
    """DVC refuses a params.yaml that leaves out a parameter of a stage, even one that has a default."""
    use_profile(profile.name, tmp_path / "params.yaml")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    assert list(_unwritten(tmp_path, None)) == []


def test_every_stage_has_its_file_and_the_flow_runs_them_all() -> None:
    from flows.stage_sequence import STAGES as ORDER

    assert list(STAGES) == list(ORDER)
    modules = (ROOT / "pipeline" / "stages").glob("*.py")
    files = {path.stem for path in modules if "\ndef run(workspace: Path" in path.read_text()}
    assert files == set(STAGES)


def leaves(values: Any, at: str = "") -> list[str]:
    """Keys of all values that are no sections: 'prior.draw.steps'."""
    if not isinstance(values, dict) or not values:
        return [at]
    return [leaf for key, value in values.items() for leaf in leaves(value, f"{at}.{key}" if at else str(key))]


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "inputs"])
def test_a_stage_follows_every_parameter_of_its_own_section(stage: str) -> None:
    """But for those that change no result, and those that the stage `inputs` tells it."""
    values = dump_params(load_params(ROOT / "params.yaml"))
    deps, followed = STAGES[stage]["deps"], STAGES[stage].get("params", [])
    told = [dep.removeprefix("artifacts/inputs/") for dep in deps if dep.startswith("artifacts/inputs/")]
    missed = [
        key
        for key in leaves(values[stage], stage)
        if key not in (f"{stage}.draw.batch", "register.experiment")
        and not any(key == known or key.startswith(f"{known}.") for known in [*followed, *told])
    ]
    assert missed == []
