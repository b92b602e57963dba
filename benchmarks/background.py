"""Should the loss look away from the background? `python -m benchmarks.background --work FOLDER`, after `make demo`.

Trains the demo's model anew for several values of `train.background_weight`, all else as params.yaml has it, and lets
the outside judge of `benchmarks.outside` look at the pictures of each, cropped to the subject: on the suite `pocket`
with seeds that the demo does not use. Printed are, for each weight, the gain over the base, and the share of the way
from the base to the photos after the autoencoder, by the held-out photos and by all. One training each: what another
seed of the training would change is not in the intervals. A model that is there already is not trained again.
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
from pocket.recipe import HERE


def train(workspace: Path, changes: dict[str, Any]) -> Path:
    """The model of a training in `workspace`, with the photos and class images that the demo here has."""
    model = workspace / TRAINED_MODEL
    values = dump_params(load_params(PARAMS))
    values["train"] |= {**changes, "save_every": 0, "validate_every": 0}
    values["preview"]["every"] = 0
    if model.is_dir():
        refuse_other(model, values["base"]["model"], {name: values[name] for name in ("prepare", "prior", "train")})
        return model
    for folder in (DATA, PREPARED, PRIOR):
        shutil.copytree(folder, workspace / folder, dirs_exist_ok=True)
    write_text(workspace / PARAMS, yaml.safe_dump(values, sort_keys=False))
    run_stage(workspace, "train", sys.stderr)
    return model


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.05, 0.3, 1.0])
    parser.add_argument("--seeds", type=int, default=2, help="pictures of each prompt (default 2)")
    arguments = parser.parse_args()
    prepare_environment()
    judge, seeds = OutsideJudge.load(), list(range(5001, 5001 + arguments.seeds))
    for weight in arguments.weights:
        model = train(arguments.work / f"weight-{weight:g}", {"background_weight": weight})
        found = judge_demo(judge, model, HERE / "model", seeds)
        splits = {split: found[split]["groups"]["all"] for split in ("heldout_photos", "all_photos")}
        figures = {split: {key: group[key] for key in ("gain", "way")} for split, group in splits.items()}
        print(json.dumps({"background_weight": weight, **rounded(figures)}))


if __name__ == "__main__":
    main()
