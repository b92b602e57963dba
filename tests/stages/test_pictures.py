"""Which noises a suite's pictures start from, and where they are kept."""

from pathlib import Path

import pytest

from pipeline.evaluation.suite import load_suite
from pipeline.params import Draw, Subject
from pipeline.sampling import source as sources
from pipeline.sampling.source import Source
from pipeline.stages.pictures import draw_suite


def test_each_prompt_and_seed_has_a_noise_of_its_own_that_all_models_share(monkeypatch, tmp_path: Path) -> None:
    def draw_missing(_load, requests, _draw, _size, folder: Path, title: str) -> list[Path]:
        asked[title] = [(request.prompt, request.seed) for request in requests]
        return [folder / f"{number}.png" for number in range(len(requests))]

    asked: dict[str, list[tuple[str, int]]] = {}
    monkeypatch.setattr("pipeline.sampling.gallery.draw_missing", draw_missing)
    suite = load_suite("pocket", Subject(name="mysks", token="mysks", class_noun="plush toy"))
    sources = [Source(name, tmp_path, name * 8) for name in ("tuned", "base")]
    draw = Draw(steps=2, guidance=3.0, scheduler="ddim", batch=8, precision="fp32")
    drawn = draw_suite(tmp_path, suite, [11, 12, 13], draw, 64, sources)
    (tuned, base) = ([noise for _, noise in asked[f"{name} model"]] for name in ("tuned", "base"))
    assert tuned == base == [item.noise for item in drawn if item.model == "tuned"]
    assert len(set(tuned)) == len(tuned) == 3 * len(suite.prompts)
    assert all(0 <= noise < 2**31 for noise in tuned)
    assert [text for text, _ in asked["base model"]][::3] == [prompt.twin for prompt in suite.prompts]


@pytest.mark.parametrize(
    "changed", ["torch", "diffusers", "device", "sampling/sampler.py", "sampling/prompt_encoder.py"]
)
def test_pictures_of_other_code_libraries_or_devices_are_not_used_again(changed: str, monkeypatch) -> None:
    source, here = Source("base", Path("base"), "d" * 64), sources.drawing_environment()
    assert changed in here
    before = source.drawn(Path())
    assert source.drawn(Path()) == before
    monkeypatch.setattr(sources, "drawing_environment", lambda: here | {changed: "other"})
    assert source.drawn(Path()) != before
