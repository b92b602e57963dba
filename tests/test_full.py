"""Stable Diffusion v1.5 at full size, with random weights, on the CPU: `make test-full`.

Architectures (of the base and of the judges), tokenizer size and the thesis profile are the real ones. Only counts are
cut down (photos in a batch, steps, prompts), since one image costs minutes here.
"""

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.sd15 import make_clip, make_dino, make_sd15
from pipeline import layout
from pipeline.evaluation.gates import RULES
from pipeline.files import read_json, read_jsonl
from pipeline.params import load_params
from pipeline.registry.aliases import champion_of
from pipeline.registry.examination import Refused, examine
from pipeline.registry.promotion import promote
from pipeline.registry.store import connect
from pipeline.runs.profiles import find_profile
from tests.tiny import picture
from tests.workspace import equip, git

LIMIT_GIB = 24
STAGES = ("inputs", "prepare", "prior", "train", "select", "tune", "sample", "evaluate", "register")
SUITE = """
prompts:
  context: ["a photo of {subject} near the lake"]
  style: ["a watercolor painting of {token}"]
probes:
  class: ["a photo of a {class}", "a photo of a {class} on a shelf"]
  no subject: [a photo of a bicycle]
training_captions: 1
styles:
  photo: [a photo]
  watercolor: [a watercolor painting]
"""
CHOOSING = "prompts:\n  context: ['a photo of {subject} on a red chair']\n"


@pytest.mark.full
@pytest.mark.timeout(9000)
def test_the_thesis_profile_goes_through_all_stages_to_a_promotion_at_full_size(tmp_path: Path, monkeypatch) -> None:
    if shutil.disk_usage(tmp_path).free < 45e9:
        pytest.skip("needs 45 GB of disk")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    params = _workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    for stage in STAGES:
        import_module(f"pipeline.stages.{stage}").run(Path(), params)
        peak = _peak_gib()
        print(f"{stage}: peak memory so far {peak:.1f} GiB", flush=True)
    assert read_json(layout.REGISTRATION)["version"] == "1"
    assert peak < LIMIT_GIB

    # Judges of the right architecture measure all that the profile's gates ask for; random weights pass few of them.
    judged = read_json(layout.EVALUATION)["gates"]
    gates = {row["gate"]: row["verdict"] for row in judged}
    assert gates.keys() == RULES.keys() and {"passed", "failed"} <= set(gates.values())
    # The small suite has no prompts of the first two kinds; random weights may never draw the style asked for.
    assert {name for name, said in gates.items() if said == "off"} <= {"wording", "complex"}
    assert {row["gate"] for row in judged if row["verdict"] == "missing" and "which is 0" not in row["reason"]} == set()
    examined = examine(Path(), "models:/mysks@challenger", allow_unclean=True)
    assert any("at least 10 are needed" in line for line in examined.objections)
    with pytest.raises(Refused):
        promote(Path(), examined, "t", allow_unclean=True)
    moved = promote(Path(), examined, "t", "at full size", force=True, allow_unclean=True)
    assert moved is not None and "overridden" in moved.why
    assert champion_of(connect(Path()), "mysks") == "1"
    assert _peak_gib() < LIMIT_GIB
    drawn = read_jsonl(layout.SAMPLES / "samples.jsonl")
    print(f"{len(drawn)} pictures drawn and judged; peak memory {_peak_gib():.1f} GiB")


def _workspace(folder: Path) -> Any:
    """Photos, the thesis profile with small counts, base and judges with random weights, in git and DVC."""
    make_sd15(folder / "base")
    make_clip(folder / "clip")
    make_dino(folder / "dino")
    (folder / "data").mkdir()
    rows = []
    for number in range(5):
        picture(number, 700, 520).save(folder / "data" / f"{number}.jpg", quality=92)
        rows.append({"file_name": f"{number}.jpg", "text": f"a photo of mysks plush toy, {number}"})
    (folder / "data" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "choosing.yaml").write_text(CHOOSING)
    values = yaml.safe_load(find_profile("thesis").path.read_text())
    quick = {"steps": 1, "guidance": 1.0}
    values["base"] |= {"model": str(folder / "base"), "revision": None}
    values["prepare"] |= {"heldout": 1}
    values["prior"] |= {"images": 1}
    values["preview"]["every"] = 0
    values["train"] |= {"steps": 2, "batch": 1, "checkpoint_every": 2, "save_every": 1, "log_every": 1}
    values["select"] |= {"suite": "choosing.yaml", "seeds": [31]}
    values["sample"] |= {"suite": "suite.yaml", "seeds": [1, 2]}
    for section in ("prior", "select", "sample"):
        values[section]["draw"] |= quick
    judges = {"scorer": str(folder / "clip"), "revision": None, "identity": str(folder / "dino")}
    values["evaluate"] |= {**judges, "identity_revision": None, "bootstrap": 20}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    equip(folder)
    (folder / ".gitignore").write_text("".join(f"/{name}\n" for name in IGNORED))
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "photos and parameters")
    return load_params(folder / layout.PARAMS)


IGNORED = ("data", "base", "clip", "dino", "artifacts", "reports", "mlflow.db", "mlartifacts", ".dreamtrace")


def _peak_gib() -> float:
    """The most memory that this process has had, in GiB: VmHWM, which unlike `ru_maxrss` knows no parent."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**20
