"""What is kept and shown while training: candidates, previews, JSON lines."""

import errno
import os
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops

from pipeline.files import read_json, read_jsonl
from pipeline.layout import JOURNAL, PREVIEWS
from pipeline.params import Preview
from pipeline.stages.train import previews_name, watchers
from pipeline.training.candidates import INDEX, CandidateError, export_candidate, keep_candidates
from pipeline.training.journal import Journal, read_journal
from pipeline.training.meter import Meter, peak_memory
from pipeline.training.preview import tile
from pipeline.training.steps import Stepper
from pipeline.training.training_loop import train
from pipeline.training.validation import Validation
from tests.tiny import SIZE
from tests.training.jobs import equal, weights

PREVIEW = Preview.model_validate(
    {
        "every": 2,
        "prompts": ["a photo of mysks plush toy", "a photo of a plush toy"],
        "seed": 1,
        "draw": {"steps": 2, "guidance": 2.0, "scheduler": "ddim", "batch": 1},
    }
)


@pytest.mark.parametrize(
    "changes", [{}, {"ema": 0.5}, {"method": "dreambooth-lora"}, {"method": "textual-inversion"}], ids=str
)
def test_a_candidate_is_the_model_that_a_shorter_run_ends_in(job, changes: dict) -> None:
    settings = {"schedule": "constant", "save_every": 2, **changes}
    long, short = job("long", steps=5, **settings), job("short", steps=2, **settings)
    train(long)
    train(short)
    assert sorted(path.name for path in long.candidates.iterdir()) == ["step-00000002", "step-00000004"]
    export_candidate(long, long.candidates / "step-00000002", long.model.parent / "chosen")
    assert equal(weights(short), weights(replace(long, model=long.model.parent / "chosen")))
    assert not equal(weights(short), weights(long))
    kept = long.model.parent / "kept"
    keep_candidates(replace(long, params=long.params.model_copy(update={"steps": 4})), kept)
    assert [one["step"] for one in read_json(kept / INDEX)["candidates"]] == [2]
    assert sorted(path.name for path in kept.iterdir()) == [INDEX, "step-00000002"]  # step 4 is the model itself
    export_candidate(long, kept / "step-00000002", long.model.parent / "chosen-again")
    assert equal(weights(short), weights(replace(long, model=long.model.parent / "chosen-again")))


def test_a_damaged_candidate_is_refused(job) -> None:
    done = job(steps=2, save_every=1)
    train(done)
    path = done.candidates / "step-00000001" / "unet.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CandidateError, match=r"missing or damaged.*dvc checkout.*dvc repro -f -s train"):
        export_candidate(done, path.parent, done.model.parent / "chosen")
    with pytest.raises(CandidateError):
        export_candidate(done, done.candidates / "step-00000009", done.model.parent / "chosen")


def test_previews_are_drawn_and_change_no_weight(job) -> None:
    plain, watched = job("plain", steps=5), replace(job("watched", steps=5), preview=PREVIEW)
    train(plain)
    seen: dict[int, Image.Image] = {}
    train(watched, on_preview=seen.__setitem__)
    assert sorted(seen) == [2, 4, 5]
    assert {picture.size for picture in seen.values()} == {(2 * SIZE, SIZE)}
    assert seen[2].tobytes() != seen[4].tobytes()
    assert equal(weights(plain), weights(watched))


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}], ids=["plain", "averaged"])
def test_the_last_preview_is_what_the_model_draws(job, changes: dict) -> None:
    from pipeline.sampling.sampler import Request, Sampler

    watched = replace(job(steps=2, learning_rate=1e-2, **changes), preview=PREVIEW)
    seen: dict[int, Image.Image] = {}
    train(watched, on_preview=seen.__setitem__)
    sampler = Sampler.load(watched.model, "ddim", "fp32")
    requests = [Request(prompt, 1) for prompt in PREVIEW.prompts]
    shown, before = seen[2], Sampler.load(watched.base, "ddim", "fp32")
    drawn, other = (tile(list(one.draw(requests, 2, 2.0, SIZE, 1))) for one in (sampler, before))
    assert furthest(shown, drawn) <= 1  # batches of another shape are rounded in another way
    assert furthest(shown, other) > 10


def furthest(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of two pictures, in levels of 0 to 255."""
    return max(high for _, high in ImageChops.difference(one, other).getextrema())


def test_a_row_has_the_loss_on_held_out_photos_only_where_it_was_measured_since_the_last_row(job) -> None:
    run = job(steps=7, log_every=1, validate_every=3, checkpoint_every=4)
    run = replace(run, heldout=run.photos[:1])
    found: list[dict[str, float]] = []
    summary = train(run, found.append)
    assert [row["step"] for row in found if "validation_loss" in row] == [3, 6, 7]
    assert summary.rows == found
    assert summary.as_json()["validation_loss"] == found[-1]["validation_loss"]


def test_a_loss_on_held_out_photos_waits_for_the_next_row_across_a_checkpoint(job) -> None:
    settings = {"steps": 6, "log_every": 4, "validate_every": 2, "checkpoint_every": 3}
    whole, broken = (job(name, **settings) for name in ("whole", "broken"))
    whole, broken = (replace(one, heldout=one.photos[:1]) for one in (whole, broken))
    rows = train(whole).rows
    assert all("validation_loss" in row for row in rows) and len(rows) == 2

    class Killed(BaseException):
        pass

    def kill(row: dict[str, float]) -> None:
        raise Killed

    with pytest.raises(Killed):
        train(broken, kill)
    again = train(broken)
    assert again.resumed_from == 3
    assert [row["validation_loss"] for row in again.rows] == [row["validation_loss"] for row in rows]


def test_a_preview_that_fails_does_not_end_the_run(job, monkeypatch, capsys) -> None:
    monkeypatch.setattr("pipeline.training.preview.make_scheduler", lambda *_: 1 / 0)
    watched = replace(job(steps=2), preview=PREVIEW)
    train(watched, on_preview=lambda step, picture: pytest.fail("nothing was drawn"))
    assert watched.model.is_dir()
    assert "the preview at step 2 could not be drawn (ZeroDivisionError" in capsys.readouterr().out


def test_a_journal_goes_on_where_its_run_goes_on(tmp_path: Path) -> None:
    path, head = tmp_path / "x" / "training.jsonl", {"run_id": "a"}
    first = Journal(path, head)
    for step in (1, 2, 3):
        first.write({"step": step, "loss": 0.5})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # the process was killed while it wrote
    again = Journal(path, head)
    again.write({"step": 3, "loss": 0.25})
    assert read_jsonl(path) == [head, *({"step": step, "loss": 0.5} for step in (1, 2)), {"step": 3, "loss": 0.25}]
    other = Journal(path, {"run_id": "b"})
    other.write({"step": 1, "loss": 0.1})
    assert read_jsonl(path) == [{"run_id": "b"}, {"step": 1, "loss": 0.1}]
    path.write_text('{"run_id": "b"}\n{"st\n{"step": 2}\n')
    with pytest.raises(ValueError, match="Unterminated"):
        read_journal(path)


def test_averaged_weights_are_validated_and_shown_and_the_live_ones_go_on(job, monkeypatch) -> None:
    settings = {"steps": 4, "ema": 0.9, "learning_rate": 1e-2, "validate_every": 2}
    plain, watched = job("plain", **settings), job("watched", **settings)
    watched = replace(watched, heldout=watched.photos[:1], preview=PREVIEW)
    seen: list[torch.Tensor] = []

    def look(self: Validation, stepper: Stepper) -> float:
        seen.append(stepper.unet.conv_in.weight.detach().clone())
        return 0.5

    monkeypatch.setattr(Validation, "loss", look)
    train(plain)
    train(watched)
    assert equal(weights(plain), weights(watched))
    assert len(seen) == 2 and torch.equal(seen[-1], weights(watched)["conv_in.weight"])


def test_a_journal_that_could_not_be_written_for_a_moment_is_whole_afterwards(tmp_path: Path, monkeypatch) -> None:
    path, head = tmp_path / "training.jsonl", {"run_id": "a"}
    journal, refusing = Journal(path, head), [False, True, True, False, False, True, False]
    sync = os.fsync

    def disk(handle: int) -> None:
        sync(handle)
        if refused:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk)
    for step, refused in enumerate(refusing):
        with pytest.raises(OSError, match="No space") if refused else nullcontext():
            journal.write({"step": step})
        if not refused:
            assert read_jsonl(path) == [head, *({"step": one} for one in range(step + 1))]


def test_rows_and_previews_that_the_disk_refuses_are_reported_and_passed_over(tmp_path: Path, capsys) -> None:
    journal = Journal(tmp_path / JOURNAL, {"run_id": "a"})
    (tmp_path / JOURNAL).mkdir()
    (tmp_path / PREVIEWS).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / PREVIEWS).write_text("no folder")
    sent: list[Any] = []
    live = SimpleNamespace(log=sent.append, show=lambda picture, step: sent.append(step))
    log, show = watchers(tmp_path, journal, live, "inputs")  # type: ignore[arg-type]
    log({"step": 2.0})
    show(4, Image.new("RGB", (8, 8)))
    assert sent == [{"step": 2.0}, 4]
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and "row of step 2" in said[0] and "preview of step 4" in said[1]


def test_previews_of_other_prompts_or_seeds_have_other_names_and_the_first_ones_again_the_first_names() -> None:
    inputs, draw = "0123abcd" * 8, PREVIEW.draw.model_copy(update={"batch": 7})
    first = previews_name(inputs, PREVIEW)
    changed = [PREVIEW.model_copy(update=change) for change in ({"prompts": ["an owl"]}, {"seed": PREVIEW.seed + 1})]
    assert len({first, *(previews_name(inputs, one) for one in changed)}) == 3
    assert first.startswith("0123abcd-") and previews_name(inputs, PREVIEW) == first
    assert previews_name(inputs, PREVIEW.model_copy(update={"every": 9, "draw": draw})) == first


def test_memory_is_that_of_the_device_that_trains_not_of_one_that_is_idle(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 5e9 if device.index == 1 else 0)
    assert peak_memory(torch.device("cuda:1")) == 5.0
    assert 0.05 < peak_memory(torch.device("cpu")) < 100


def test_photos_per_second_are_those_of_all_processes(monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    meter, losses = Meter(1000, torch.device("cpu"), processes=4), torch.ones(2)
    for _ in range(3):
        meter.add_losses({"loss": losses.mean()}, losses, torch.tensor([1, 999]))
        meter.add_gradient_norm(1.0)
    clock[0] = 2.0
    assert meter.close_row(3, {})["images_per_second"] == 2 * 4 * 3 / 2.0
