"""The stages that dvc.lock and dvc.yaml list, read from files that anybody may have changed."""

from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.yaml_files import read_yaml

LISTS = ("deps", "outs")  # of a stage in dvc.lock: entries with a path


class NoStages(UserError):
    """A file does not list stages as DVC does: `found` says where, and what is there instead; the message also what to
    do.
    """

    def __init__(self, found: str, advice: str):
        super().__init__(f"{found}; {advice}")
        self.found = found


def locked_stages(lock: Path, name: str = "") -> dict[str, dict[str, Any]]:
    """What dvc.lock says of each stage that ran; empty where the file is.

    Args:
        name: what messages call the file; '': its path.

    Raises:
        FileNotFoundError: there is no such file.
        YamlError: it is not YAML.
        NoStages: it is not of the form that DVC writes.
    """
    where = name or str(lock)
    stages = _stages(lock, where)
    if problem := lock_problem(stages):
        raise NoStages(f"{where}: {problem}", "restore the file from git, or remove it: the stages then run again")
    return stages


def lock_problem(stages: Any) -> str:
    """What is wrong with the stages of a dvc.lock, which records keep as well; '' where nothing is."""
    if not isinstance(stages, dict):
        return f"the stages are {_kind(stages)}, not a mapping of names to stages"
    for name, stage in stages.items():
        if not isinstance(stage, dict):
            return f"the stage {name} is {_kind(stage)}, not a mapping"
        for part in LISTS:
            entries = stage.get(part, [])
            if not isinstance(entries, list):
                return f"{part} of the stage {name} is {_kind(entries)}, not a list"
            if not all(isinstance(entry, dict) and isinstance(entry.get("path"), str) for entry in entries):
                return f"{part} of the stage {name} has an entry without a path"
    return ""


def stage_names(pipeline: Path) -> list[str]:
    """The names of the stages of a dvc.yaml, in its order.

    Raises:
        FileNotFoundError: there is no such file.
        YamlError: it is not YAML.
        NoStages: it lists no stages.
    """
    stages = _stages(pipeline, str(pipeline))
    if not isinstance(stages, dict) or not stages:
        found = _kind(stages) if stages else "empty"
        raise NoStages(f"{pipeline}: the stages are {found}, not a mapping of names to stages", "restore it from git")
    return list(stages)


def _stages(file: Path, where: str) -> Any:
    document = read_yaml(file, where)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise NoStages(f"{where} is {_kind(document)}, not a mapping with `stages`", "restore it from git")
    return document.get("stages", {})


def _kind(value: Any) -> str:
    """What a value of YAML is, with its article."""
    if value is None:
        return "null"
    names = {
        dict: "a mapping",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), f"a {type(value).__name__}")
