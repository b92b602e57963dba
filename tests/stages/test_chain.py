"""The stages one after the other, on the tiny base."""

import io
import json
import shutil
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from pipeline import layout
from pipeline.errors import UserError
from pipeline.evaluation.selection import gates_in_words
from pipeline.files import digest_file, digest_value, read_json, read_jsonl, write_json
from pipeline.lineage.read import read_lineage
from pipeline.params import load_params
from pipeline.photos.manifest import read_manifest
from pipeline.registry.lookup import UnknownVersion, find_record, is_registered
from pipeline.registry.store import connect
from pipeline.sampling.generation_request import GenerationRequestError
from pipeline.stages import main

ALL = ("inputs", "prepare", "prior", "train", "select", "tune", "sample", "evaluate", "register")


def run(workspace: Path, *stages: str) -> None:
    params = load_params(workspace / layout.PARAMS)
    for stage in stages or ALL:
        import_module(f"pipeline.stages.{stage}").run(workspace, params)


@pytest.fixture
def done(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(copy)
    return copy


def same_pixels(first: bytes, second: bytes) -> bool:
    one, other = (Image.open(io.BytesIO(data)) for data in (first, second))
    return one.size == other.size and one.tobytes() == other.tobytes()


def test_the_chain_ends_in_a_registered_version_that_draws_and_is_traced(done: Path, tiny_base: Path) -> None:
    import mlflow
    import pandas as pd

    registration = read_json(done / layout.REGISTRATION)
    assert (registration["model"], registration["version"], registration["alias"]) == ("mysks", "1", "challenger")
    with find_record(done, "models:/mysks@challenger") as found:
        assert found.title == "mysks version 1"
        assert found.facts["MLflow run"] == registration["run_id"]
        sources = [photo["source"] for photo in found.lineage["photos"]["files"]]
        assert sources == [f"photo{index}.jpg" for index in range(5)]
        assert found.lineage["base"]["model"] == str(tiny_base)
        lineage = found.lineage

    model = mlflow.pyfunc.load_model("models:/mysks@challenger")
    listed = model.predict(["a photo of mysks"], params={"steps": 2})
    table = pd.DataFrame({"prompt": ["a photo of mysks"], "seed": [0]})
    assert same_pixels(listed[0], model.predict(table, params={"steps": 2})[0])
    asked = pd.DataFrame({"prompt": ["a photo of mysks", "a toy"], "seed": [1, 2]})
    first, second = model.predict(asked)
    assert first.startswith(b"\x89PNG") and second.startswith(b"\x89PNG")
    alone = model.predict(asked[:1])[0]
    several = model.predict(asked[:1], params={"count": 2, "negative": "a car", "size": 40, "steps": 3})
    assert [Image.open(io.BytesIO(png)).size for png in several] == [(40, 40)] * 2
    assert not same_pixels(*several)
    with pytest.raises(GenerationRequestError, match="steps must be"):
        model.predict(asked[:1], params={"steps": 1001})
    recipe = '{"negative": "a car", "scheduler": "dpmpp-2m", "steps": 3}'
    by_recipe = model.predict(asked[:1], params={"recipe": recipe})[0]
    assert not same_pixels(by_recipe, alone)
    (done / "recipe.yaml").write_text(recipe)
    drawn = done / "by-recipe.png"
    from pipeline.commands.generate import draw_files

    draw_files(done, "models:/mysks@challenger", "a photo of mysks", drawn, {"seed": 1}, done / "recipe.yaml")
    assert same_pixels(drawn.read_bytes(), by_recipe)
    halfway = model.predict(asked[:1], params={"recipe": '{"strength": 0.5}'})[0]
    assert not same_pixels(halfway, alone)
    sample = (done / layout.SAMPLES / "tuned" / "p03-1.png").read_bytes()
    assert same_pixels(alone, model.predict(asked[:1])[0])
    assert len(sample) > 0
    files = {path.suffix for path in (done / "mlartifacts").rglob("*") if path.is_file()}
    assert files.isdisjoint({".pkl", ".pickle", ".pt", ".bin", ".ckpt"})

    client = connect(done)
    card = client.get_model_version("mysks", "1").description
    assert 'model.predict(["a watercolor painting of mysks plush toy"])' in card
    assert f"grid.png&run_uuid={registration['run_id']}" in card
    tags = client.get_run(registration["run_id"]).data.tags
    assert "mysks plush toy: dreambooth" in tags["mlflow.note.content"] and "version 1" in tags["mlflow.note.content"]
    assert tags["mlflow.user"]
    run = client.get_run(registration["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.steps"] == "4"
    assert len(client.get_metric_history(registration["run_id"], "loss")) == 4
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == lineage["photos"]["dvc_md5"]
    assert {item.path for item in client.list_artifacts(registration["run_id"])} >= {"record", "report"}


def test_generate_draws_what_the_served_model_draws(done: Path, tmp_path: Path, capsys) -> None:
    import mlflow
    import pandas as pd

    from pipeline.commands.errors import CommandError
    from pipeline.commands.generate import draw_files

    ref, out = "models:/mysks@challenger", tmp_path / "pictures" / "x.png"
    draw_files(done, ref, "a photo of mysks", out, {"seed": 1, "count": 1, "negative": "", "steps": None})
    connect(done)
    served = mlflow.pyfunc.load_model(ref).predict(pd.DataFrame({"prompt": ["a photo of mysks"], "seed": [1]}))
    assert same_pixels(out.read_bytes(), served[0])
    with pytest.raises(CommandError, match="exists"):
        draw_files(done, ref, "a photo of mysks", out, {})
    draw_files(done, str(done / layout.MODEL), "a photo of mysks", out, {"seed": 1, "count": 2})
    assert same_pixels((out.parent / "x-1.png").read_bytes(), served[0])
    assert capsys.readouterr().out.split() == [str(out), str(out.parent / "x-1.png"), str(out.parent / "x-2.png")]
    with find_record(done, str(out)) as found:
        assert found.facts["made by"] == "mysks version 1"


def test_registering_again_makes_no_second_version(done: Path) -> None:
    before = read_json(done / layout.REGISTRATION)
    run(done, "register", "register")
    assert read_json(done / layout.REGISTRATION) == before
    assert len(connect(done).search_model_versions("name = 'mysks'")) == 1


def test_training_again_on_the_same_inputs_is_the_same_version(done: Path) -> None:
    run(done, "train", "select", "register")
    assert read_json(done / layout.REGISTRATION)["version"] == "1"


def test_other_photos_make_another_version(done: Path) -> None:
    path = done / "data" / "metadata.jsonl"
    path.write_text(path.read_text().replace(", 0", ", in a box").replace(", 2", ", on a chair"))
    run(done)
    assert read_json(done / layout.REGISTRATION)["version"] == "2"
    with (
        pytest.raises(UnknownVersion, match="has versions 1, 2 and aliases challenger"),
        find_record(done, "models:/mysks@champion"),
    ):
        pass


def test_a_store_that_knows_nothing_is_filled_from_the_files(done: Path, monkeypatch) -> None:
    before = read_json(done / layout.REGISTRATION)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{done}/other.db")
    assert not is_registered(done, before)
    run(done, "register")
    after = read_json(done / layout.REGISTRATION)
    assert after["content_digest"] == before["content_digest"]
    assert is_registered(done, after)
    client = connect(done)
    rebuilt = client.get_run(after["run_id"])
    assert rebuilt.data.tags["original_run_id"] == before["run_id"]
    assert len(client.get_metric_history(after["run_id"], "loss")) == 4
    assert rebuilt.data.params["train.steps"] == "4"
    run(done, "register")
    assert read_json(done / layout.REGISTRATION) == after


def test_weights_changed_after_training_are_not_registered(done: Path) -> None:
    path = next((done / layout.MODEL / "unet").glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="changed after training"):
        run(done, "register")


def test_class_images_that_a_kill_left_are_not_drawn_again(project, monkeypatch) -> None:
    from pipeline.sampling.sampler import Sampler

    workspace, asked, draw = project(), [], Sampler.draw

    class Killed(BaseException):
        pass

    def fragile(self, requests, *more):
        asked.append([request.seed for request in requests])
        pictures = draw(self, requests, *more)
        yield next(pictures)
        if len(asked) == 1:
            raise Killed
        yield from pictures

    monkeypatch.setattr(Sampler, "draw", fragile)
    with pytest.raises(Killed):
        run(workspace, "prior")
    assert not (workspace / layout.PRIOR).exists()
    run(workspace, "prior")
    first = read_json(workspace / layout.PRIOR_INDEX)
    seeds = [image["seed"] for image in first["images"]]
    assert asked == [seeds, seeds[1:]]
    shutil.rmtree(workspace / layout.PRIOR)
    run(workspace, "prior")
    assert read_json(workspace / layout.PRIOR_INDEX) == first and asked[2] == seeds


PLACES = {"images": 3, "prompts": {"on the beach": "an empty beach", "in a forest": "an empty forest"}}  # DVC sorts


def test_photos_are_put_in_places_that_the_base_draws(project, monkeypatch, capsys) -> None:
    from pipeline.training.training_loop import train

    workspace = project(prior={"places": PLACES}, train={"augment": {"places": 2}})
    (workspace / layout.DATA / "masks").mkdir()
    for photo in sorted((workspace / layout.DATA).glob("*.jpg"))[:4]:
        mask = Image.new("L", Image.open(photo).size)
        mask.paste(255, (mask.width // 4, mask.height // 4, mask.width // 2, mask.height // 2))
        mask.save(workspace / layout.DATA / "masks" / f"{photo.stem}.png")
    jobs = []

    def watched(job, *more):
        jobs.append(job)
        return train(job, *more)

    monkeypatch.setattr("pipeline.training.training_loop.train", watched)
    run(workspace, "prepare", "prior", "train")
    index = read_json(workspace / layout.PRIOR_INDEX)
    places = index["places"]
    assert [place["prompt"] for place in places] == ["an empty forest", "an empty beach", "an empty forest"]
    assert all(digest_file(workspace / layout.PRIOR / place["file"]) == place["sha256"] for place in places)
    trained = {photo.file for photo in read_manifest(workspace / layout.MANIFEST) if photo.split == "train"}
    masked = [photo for photo in read_manifest(workspace / layout.MANIFEST) if photo.split == "train" and photo.mask]
    moved = [sample for sample in jobs[0].photos if sample.placement]
    assert masked and len(moved) == 2 * len(masked)
    assert set(Counter(sample.file for sample in jobs[0].photos).values()) == {3}
    assert len(jobs[0].photos) == 3 * len(trained)
    assert {sample.caption for sample in moved} <= {
        f"a photo of mysks plush toy {words}" for words in PLACES["prompts"]
    }
    assert f"{len(trained)} photos, and {len(moved)} more" in capsys.readouterr().out
    record = read_lineage(workspace / layout.TRAINED_MODEL)["prior"]
    assert record["places"] == 3 and record["digest"] == digest_value([*index["images"], *places])


def test_class_images_of_another_base_are_refused(project) -> None:
    workspace = project()
    run(workspace, "prepare", "prior")
    index = read_json(workspace / layout.PRIOR_INDEX)
    index["base"]["digest"] = "0" * 64
    write_json(workspace / layout.PRIOR_INDEX, index)
    with pytest.raises(UserError, match="drawn by another base"):
        run(workspace, "train")


def test_a_training_that_goes_on_keeps_its_mlflow_run(project, monkeypatch) -> None:
    from pipeline.training.training_loop import train

    workspace = project()
    run(workspace, "prepare", "prior")

    class Killed(BaseException):
        pass

    def fragile(job, log, show, begin):
        def on_log(row):
            log(row)
            if row["step"] == 3:
                raise Killed

        return train(job, on_log, show, begin)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("pipeline.training.training_loop.train", fragile)
        run(workspace, "train")
    run(workspace, "train")
    client = connect(workspace)
    (found,) = client.search_runs([client.get_experiment_by_name("mysks").experiment_id])
    assert found.info.run_id == read_json(workspace / layout.RUN)["run_id"]
    run(workspace, "select", "tune", "sample", "evaluate", "register")
    steps = {metric.step for metric in client.get_metric_history(found.info.run_id, "loss")}
    assert steps == {1, 2, 3, 4}
    journal = read_jsonl(workspace / layout.JOURNAL)
    assert journal[0]["run_id"] == found.info.run_id
    assert [row["step"] for row in journal[1:]] == [1, 2, 3, 4]
    left = [path.name for path in (workspace / layout.STATE / "checkpoints").glob("*/step-*")]
    assert left == ["step-00000004"]  # until dvc.lock, which DVC alone writes, names the results


def test_the_record_is_in_the_model_folder_and_in_its_headers(done: Path) -> None:
    from safetensors import safe_open

    lineage = read_lineage(done / layout.MODEL)
    assert str(done) not in json.dumps({**lineage, "base": 0, "params": 0})
    model = done / layout.MODEL
    learned = [model / "unet/diffusion_pytorch_model.safetensors", model / "embeddings/mysks.safetensors"]
    for path in model.glob("*/*.safetensors"):
        with safe_open(path, "pt") as file:
            found = (file.metadata() or {}).get("dreamtrace")
        assert (found is not None) == (path in learned), path
        if found is None:
            continue
        short = json.loads(found)
        assert short["content_digest"] == lineage["weights"]["content_digest"]
        assert short["run_id"] == lineage["training"]["run_id"]


def test_samples_pair_each_prompt_with_its_twin_and_seed(done: Path) -> None:
    rows = read_jsonl(done / layout.SAMPLES_INDEX)
    tuned = {(row["prompt_id"], row["seed"]): row for row in rows if row["model"] == "tuned"}
    base = {(row["prompt_id"], row["seed"]): row for row in rows if row["model"] == "base"}
    assert tuned.keys() == base.keys()
    assert len(tuned) == 24
    for key, row in tuned.items():
        assert base[key]["twin"] == row["twin"]
        assert "mysks" not in row["twin"]
        if row["kind"] == "subject":
            assert "mysks" in row["text"]


def test_an_evaluation_names_the_model_the_suite_and_every_picture_that_it_judged(done: Path) -> None:
    found, rows = read_json(done / layout.EVALUATION), read_jsonl(done / layout.SAMPLES_INDEX)
    files = [done / layout.SAMPLES / row["path"] for row in rows]
    assert found["model"]["content_digest"] == read_lineage(done / layout.MODEL)["weights"]["content_digest"]
    assert found["suite"]["digest"] == digest_value({name: found["suite"][name] for name in ("prompts", "styles")})
    assert [row["sha256"] for row in found["pictures"]] == [digest_file(file) for file in files]
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(UserError, match="changed after it was drawn"):
        run(done, "evaluate")
    assert read_json(done / layout.EVALUATION) == found


def test_a_gate_that_the_choosing_suite_cannot_measure_is_named_with_every_candidate(done: Path) -> None:
    rows = read_json(done / layout.SELECTION)["candidates"]
    assert rows and all("caption_copies" in row["missing"] for row in rows)
    page = (done / layout.REPORT_PAGE).read_text()
    assert all(gates_in_words(row["failed"], row["missing"]) in page for row in rows)


def test_the_report_shows_every_picture_and_needs_no_network(done: Path) -> None:
    page = (done / layout.REPORT_PAGE).read_text()
    for path in (done / layout.REPORT).rglob("*.png"):
        if path.name != "grid.png":
            assert f'src="{path.relative_to(done / layout.REPORT)}"' in page
    assert "http" not in page
    assert page.count('class="held"') == 1


def test_stages_print_errors_for_people_without_a_trace(project, capsys) -> None:
    project()
    (Path("params.yaml")).write_text("train: 3\n")
    with pytest.raises(SystemExit) as left:
        main(lambda *_: None)
    assert left.value.code == 1
    assert capsys.readouterr().err.startswith("error: params.yaml has")
