"""Stable Diffusion v1.5 at full size, with random weights, on the CPU: `make test-full`.

Architecture, tokenizer size and the thesis profile are the real ones. Only counts are cut down (photos in a batch,
steps, prompts), since one image costs minutes here.
"""

import json
import resource
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from benchmarks.sd15 import make_sd15
from pipeline import layout
from pipeline.files import read_json
from pipeline.params import load_params
from pipeline.runs.profiles import find_profile
from tests.tiny import make_scorer, picture

LIMIT_GIB = 24


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_the_thesis_profile_goes_through_all_stages_at_full_size(tmp_path: Path, monkeypatch) -> None:
    if shutil.disk_usage(tmp_path).free < 40e9:
        pytest.skip("needs 40 GB of disk")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make_sd15(tmp_path / "base")
    make_scorer(tmp_path / "scorer")
    (tmp_path / "data").mkdir()
    rows = []
    for number in range(5):
        picture(number, 700, 520).save(tmp_path / "data" / f"{number}.jpg", quality=92)
        rows.append({"file_name": f"{number}.jpg", "text": f"a photo of mysks plush toy, {number}"})
    (tmp_path / "data" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "suite.yaml").write_text("prompts:\n  scene:\n    - a photo of {token} near books\n")

    values = yaml.safe_load(find_profile("thesis").path.read_text())
    values["base"] |= {"model": str(tmp_path / "base"), "revision": None}
    values["prepare"] |= {"heldout": 1}
    values["prior"] |= {"images": 1}
    values["prior"]["draw"] |= {"steps": 1}
    values["preview"]["every"] = 0
    values["train"] |= {"steps": 2, "batch": 1, "checkpoint_every": 2, "log_every": 1}
    values["sample"] |= {"suite": "suite.yaml", "seeds": [1]}
    values["sample"]["draw"] |= {"steps": 1}
    values["evaluate"] |= {"scorer": str(tmp_path / "scorer"), "revision": None, "identity": "scorer", "bootstrap": 20}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    params = load_params(layout.PARAMS)
    for stage in ("inputs", "prepare", "prior", "train", "select", "tune", "sample", "evaluate", "register"):
        import_module(f"pipeline.stages.{stage}").run(Path(), params)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{stage}: peak memory so far {peak:.1f} GiB")
    assert read_json(layout.REGISTRATION)["version"] == "1"
    assert peak < LIMIT_GIB
