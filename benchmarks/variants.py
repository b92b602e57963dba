"""What do other settings of the training give? `python -m benchmarks.variants --work FOLDER SETTINGS...`, after
`make demo`; SETTINGS such as `optimizer=adamw,learning_rate=8.0e-4`, or `.` for those of params.yaml as they are.

Trains the demo's model anew with each of the settings of `train`, all else as params.yaml has it, and lets the outside
judge of `benchmarks.outside` look at the pictures of each, cropped to the subject: on the suite `pocket` with seeds
that the demo does not use. Printed are, for each, the gain over the base, and the share of the way from the base to the
photos after the autoencoder, by the held-out photos and by all, and the way of each group of prompts by the held-out
ones. One training each: what another seed of the training would change is not in the intervals. A model that is there
already is not trained again.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.outside import OutsideJudge, judge_demo
from benchmarks.pocket import rounded
from benchmarks.stages import refuse_other, run_stage
from pipeline.environment import prepare_environment
from pipeline.files import write_text
from pipeline.layout import DATA, PARAMS, PREPARED, PRIOR, TRAINED_MODEL
from pipeline.params import dump_params, load_params
from pipeline.yaml_files import parse_yaml
from pocket.recipe import HERE

AS_IT_IS = "."


def train(workspace: Path, changes: dict[str, Any]) -> Path:
    """The model of a training in `workspace`, with the photos and class images that the demo here has."""
    model = workspace / TRAINED_MODEL
    values = dump_params(load_params(PARAMS))
    values["train"] = merged(values["train"], changes) | {"save_every": 0, "validate_every": 0}
    values["preview"]["every"] = 0
    if model.is_dir():
        refuse_other(model, values["base"]["model"], {name: values[name] for name in ("prepare", "prior", "train")})
        return model
    for folder in (DATA, PREPARED, PRIOR):
        shutil.copytree(folder, workspace / folder, dirs_exist_ok=True)
    write_text(workspace / PARAMS, yaml.safe_dump(values, sort_keys=False))
    run_stage(workspace, "train", sys.stderr)
    return model


def parse_changes(text: str) -> dict[str, Any]:
    """The settings of `train` in `KEY=VALUE,KEY=VALUE`; a key of a part is written `part.key`.

    Raises:
        ValueError: something in it is no KEY=VALUE.
        YamlError: a value is not YAML.
    """
    found: dict[str, Any] = {}
    for entry in [] if text == AS_IT_IS else text.split(","):
        key, sign, value = entry.partition("=")
        if not key or not sign:
            raise ValueError(f"'{entry}' is no KEY=VALUE")
        *parts, last = key.split(".")
        place = found
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = parse_yaml(value, key)
    return found


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The values with the changes in them, part by part."""
    inner = {key: merged(values[key], new) for key, new in changes.items() if isinstance(new, dict)}
    return {**values, **changes, **inner}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("settings", nargs="+", metavar="SETTINGS", help="KEY=VALUE,... of train, or a dot")
    parser.add_argument("--seeds", type=int, default=2, help="pictures of each prompt (default 2)")
    arguments = parser.parse_args()
    prepare_environment()
    judge, seeds = OutsideJudge.load(), list(range(5001, 5001 + arguments.seeds))
    for settings in arguments.settings:
        model = train(arguments.work / settings.replace(".", "_"), parse_changes(settings))
        found = judge_demo(judge, model, HERE / "model", seeds)
        figures: dict[str, Any] = {
            split: {key: found[split]["groups"]["all"][key] for key in ("gain", "way")}
            for split in ("heldout_photos", "all_photos")
        }
        figures["ways"] = {name: group["way"] for name, group in found["heldout_photos"]["groups"].items()}
        print(json.dumps({"settings": settings, **rounded(figures)}), flush=True)


if __name__ == "__main__":
    main()
