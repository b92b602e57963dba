import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.commands import app as cli
from pipeline.runs import profiles
from pipeline.runs.dvc import DataError, fetch_data

ROOT = Path(__file__).resolve().parents[2]


def dreamtrace(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dreamtrace", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


def children_work() -> float:
    """Processor seconds of the programs that were run; how long a busy machine takes for them says nothing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_answers_at_once() -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; sys.argv = ['dreamtrace', '--help']; import pipeline.commands.app as c; c.main()",
    ]
    subprocess.run(command, check=True, capture_output=True)
    before = children_work()
    done = subprocess.run([*command[:1], "-X", "importtime", *command[1:]], check=True, capture_output=True, text=True)
    assert "trace" in done.stdout
    assert children_work() - before < 5
    for heavy in ("torch", "diffusers", "transformers", "mlflow", "prefect", "dvc", "numpy", "pydantic"):
        assert not any(line.rpartition("|")[2].strip() == heavy for line in done.stderr.splitlines()), heavy


def test_profile_use_puts_a_preset_in_place_and_keeps_what_was_there(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert dreamtrace(monkeypatch, "profile", "use", "pocket") == 0
    assert dreamtrace(monkeypatch, "profile", "use", "thesis") == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "params.yaml"]
    mine = (tmp_path / "params.yaml").read_text().replace("steps: 1600", "steps: 1700")
    (tmp_path / "params.yaml").write_text(mine)
    assert dreamtrace(monkeypatch, "profile", "use", "pocket") == 0
    assert (tmp_path / "params.before-1.yaml").read_text() == mine
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["base"]["model"] == "pocket"


def test_an_unknown_profile_names_those_there_are(monkeypatch, capsys) -> None:
    assert dreamtrace(monkeypatch, "profile", "use", "thesys") == 1
    assert "there are pocket, sd15-fast, sd15-lora, thesis" in capsys.readouterr().err


def test_params_check_lists_problems_and_fails(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load((profiles.FOLDER / "pocket.yaml").read_text())
    values["train"]["stepps"] = 3
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert dreamtrace(monkeypatch, "params", "check") == 1
    assert "train.stepps: unknown key" in capsys.readouterr().err


def test_token_answers_while_other_parameters_are_wrong(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load((profiles.FOLDER / "pocket.yaml").read_text())
    values["train"]["stepps"] = 3
    values["subject"]["token"] = "not a word"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert dreamtrace(monkeypatch, "token", "mysks") == 0
    assert "mysks" in capsys.readouterr().out
    values["base"] = {"model": "", "revison": "main"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert dreamtrace(monkeypatch, "token", "mysks") == 1
    said = capsys.readouterr().err
    assert "has 2 problems" in said and "base.model: " in said and "base.revison: unknown key" in said


def test_trace_refuses_what_it_does_not_know(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert dreamtrace(monkeypatch, "trace", "nothing") == 1
    assert "it is not models:/NAME@ALIAS" in capsys.readouterr().err
    assert dreamtrace(monkeypatch, "trace", "models:/mysks@challenger") == 1
    assert "nothing was registered yet" in capsys.readouterr().err
    assert dreamtrace(monkeypatch, "trace", "models:/mysks") == 1
    assert "'models:/mysks': it is not models:/NAME@ALIAS" in capsys.readouterr().err


def test_trace_shows_a_model_folder_as_a_tree_and_as_json(project, monkeypatch, capsys) -> None:
    import json

    from tests.stages.test_chain import run

    workspace = project()
    run(workspace, "prepare", "prior", "train")
    capsys.readouterr()
    assert dreamtrace(monkeypatch, "trace", "artifacts/trained/model") == 0
    tree = capsys.readouterr().out
    assert all(f"photo{index}.jpg" in tree for index in range(4))
    assert "held out" in tree
    assert dreamtrace(monkeypatch, "trace", "artifacts/trained/model", "--json") == 0
    assert json.loads(capsys.readouterr().out)["lineage"]["format"] == 1
    assert dreamtrace(monkeypatch, "export", "artifacts/trained/model", "one.safetensors") == 0
    assert (workspace / "mysks.safetensors").is_file()
    assert dreamtrace(monkeypatch, "trace", "one.safetensors") == 1
    assert "no version here has that content" in capsys.readouterr().err
    assert dreamtrace(monkeypatch, "export", "artifacts/trained/model", "one.safetensors") == 1
    assert "exists already" in capsys.readouterr().err


def test_export_writes_half_precision_and_lora_layers_that_say_what_they_are(project, monkeypatch, capsys) -> None:
    from safetensors import safe_open

    from tests.stages.test_chain import run

    lora = {"rank": 4, "alpha": 8, "dora": False, "targets": ["to_q", "to_v"]}
    workspace = project(train={"method": "dreambooth-lora", "lora": lora, "learning_rate": 0.01})
    run(workspace, "prepare", "prior", "train")
    model = "artifacts/trained/model"
    for words in (["half.safetensors", "--half"], ["lora.safetensors", "--lora", "0.99"]):
        assert dreamtrace(monkeypatch, "export", model, *words) == 0
    assert "of what training changed" in capsys.readouterr().out
    kinds = {
        "half.safetensors": "stable-diffusion-v1",
        "lora.safetensors": "stable-diffusion-v1/lora",
        f"{model}/adapters/kohya.safetensors": "stable-diffusion-v1/lora",
        f"{model}/embeddings/mysks.safetensors": "stable-diffusion-v1/textual-inversion",
    }
    for name, kind in kinds.items():
        with safe_open(workspace / name, "pt") as file:
            metadata = file.metadata()
        assert metadata["modelspec.architecture"] == kind
        assert metadata["modelspec.trigger_phrase"] == "mysks plush toy"
        assert str(workspace) not in str({key: value for key, value in metadata.items() if key != "dreamtrace"})
        assert "dreamtrace" in metadata
        assert (workspace / name).stat().st_mode & 0o777 == 0o644
    with safe_open(workspace / model / "adapters" / "kohya.safetensors", "pt") as file:
        assert file.metadata()["ss_network_dim"] == "4"
        assert "photo of mysks plush toy" in file.metadata()["ss_tag_frequency"]
    readme = (workspace / model / "adapters" / "README.md").read_text()
    assert all(word in readme for word in ("kohya.safetensors", "ComfyUI", "diffusers", "embeddings/mysks.safetensors"))
    assert dreamtrace(monkeypatch, "trace", model, "--verify") in (0, 1)
    assert ", 0 broken," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x.ckpt"], "x.ckpt must end in .safetensors"),
        (["x.safetensors", "--lora", "0"], "--lora takes a rank"),
        (["x.safetensors", "--lora", "1.5"], "--lora takes a rank"),
        (["x.safetensors", "--lora", "many"], "--lora takes a rank"),
    ],
)
def test_export_refuses_what_it_cannot_write(tmp_path, monkeypatch, capsys, words: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert dreamtrace(monkeypatch, "export", "models:/none@challenger", *words) == 1
    assert said in capsys.readouterr().err


def test_no_photos_and_no_data_dvc_is_said_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="put photos"):
        fetch_data(tmp_path)
