"""What the demo's fine-tuning did to the embedded base: `python -m benchmarks.demo`, after `make demo`.

Draws the suite `pocket` with seeds that the demo does not use, by the tuned model and (the twins) by the base, and asks

* of how much nearer the pictures come to the held-out photos, by group of prompts (pocket's identity encoder);
* whether scene and style are still those of the prompt (the judge, trained on real compositions);
* how much of that the base draws when it is only told the words that the token's embedding started from;
* whether prompts of the class alone draw other toys: how far their pictures moved towards the subject, as a share of
  the way that the subject's own pictures went.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.pocket import as_batch, rounded
from benchmarks.stages import refuse_other
from pipeline.base.resolve import native_size
from pipeline.environment import prepare_environment
from pipeline.evaluation.aspect_classifier import Judge, Verdict, judge_pictures
from pipeline.evaluation.backbones import Encoder
from pipeline.evaluation.statistics import two_level_bootstrap
from pipeline.evaluation.suite import Prompt, load_suite, noise_of
from pipeline.files import read_json
from pipeline.layout import MANIFEST, MODEL, PREPARED, TRAINING
from pipeline.params import Params, load_params
from pipeline.photos.manifest import read_manifest
from pipeline.sampling.sampler import Request, Sampler
from pocket.recipe import HERE
from pocket.scenes import SCENES
from pocket.styles import STYLES

Key = tuple[str, int]  # prompt and seed


def draw(folder: Path, texts: dict[str, str], seeds: list[int], params: Params) -> dict[Key, Image.Image]:
    """Every text with every seed."""
    settings = params.sample.draw
    sampler = Sampler.load(folder, settings.scheduler, settings.precision)
    keys = [(name, seed) for name in texts for seed in seeds]
    requests = [Request(texts[name], noise_of(name, seed)) for name, seed in keys]
    pictures = sampler.draw(requests, settings.steps, settings.guidance, native_size(folder), 16)
    return dict(zip(keys, pictures, strict=True))


def described(text: str, params: Params) -> str:
    """A prompt with the words that the token started from in the token's place: what the base draws for them."""
    subject, words = params.subject, params.train.token.start_from
    for name in (f"{subject.token} {subject.class_noun}", subject.token):
        text = text.replace(name, f"a {words} {subject.class_noun}")
    return text


def asked(prompt: str) -> dict[str, str]:
    """The scene and the style that a prompt names."""
    scenes = [(len(phrase), name) for name, scene in SCENES.items() for phrase in scene.phrases if phrase in prompt]
    styles = [name for name, style in STYLES.items() for phrase in style.phrases if prompt.startswith(phrase)]
    return {"scene": max(scenes)[1] if scenes else "", "style": styles[0] if styles else "photo"}


def judged(prompts: list[Prompt], pictures: dict[Key, Image.Image], judge: Judge) -> dict[Key, Verdict]:
    """The judge's verdict on every picture."""
    return dict(zip(pictures, judge_pictures(judge, as_batch(list(pictures.values()))), strict=True))


def identities(pictures: dict[Key, Image.Image], encoder: Encoder, photos: list[Path]) -> dict[Key, float]:
    """Mean cosine of each picture to the photos."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for (name, seed), picture in pictures.items():
            files.append(Path(folder) / f"{name}-{seed}.png")
            picture.save(files[-1])
        vectors = encoder.pictures(files)
    return dict(zip(pictures, (vectors @ encoder.pictures(photos).T).mean(dim=1).tolist(), strict=True))


def compare(tuned: Path, base: Path, params: Params, heldout: list[Path], seeds: list[int]) -> dict[str, Any]:
    """All figures of the tuned pipeline folder against the base's."""
    suite = load_suite("pocket", params.subject)
    prompts = [prompt for prompt in suite.prompts if prompt.kind == "subject"]
    probes = [prompt for prompt in suite.prompts if prompt.group == "class"]
    judge, encoder = Judge.load(HERE / "judge" / "judge.safetensors"), Encoder(HERE / "identity")
    asks = {
        "tuned": (tuned, {p.id: p.text for p in [*prompts, *probes]}),
        "base": (base, {p.id: p.twin for p in [*prompts, *probes]}),
        "described": (base, {p.id: described(p.text, params) for p in prompts}),
    }
    drawn = {model: draw(folder, texts, seeds, params) for model, (folder, texts) in asks.items()}
    identity = {model: identities(pictures, encoder, heldout) for model, pictures in drawn.items()}
    verdicts = {model: judged(prompts, drawn[model], judge) for model in ("tuned", "base")}
    groups: dict[str, Any] = {}
    for group in ["all", *dict.fromkeys(prompt.group for prompt in prompts)]:
        members = [prompt for prompt in prompts if group in ("all", prompt.group)]
        groups[group] = _group(members, seeds, identity, verdicts)
    moved = {
        kind: np.mean([identity["tuned"][p.id, s] - identity["base"][p.id, s] for p in some for s in seeds])
        for kind, some in (("subject", prompts), ("class", probes))
    }
    toys = [verdicts["tuned"][p.id, s].things[0] == params.subject.class_noun for p in probes for s in seeds]
    return {
        "pictures_per_model": len(prompts) * len(seeds),
        "groups": groups,
        "gain_over_description": asdict(
            two_level_bootstrap(
                {p.id: [identity["tuned"][p.id, s] - identity["described"][p.id, s] for s in seeds] for p in prompts},
                2000,
                1,
            )
        ),
        "class_prompts": {
            "still_toys": float(np.mean(toys)),
            "moved_towards_subject": float(moved["class"] / moved["subject"]),
        },
    }


def _group(
    members: list[Prompt], seeds: list[int], identity: dict[str, dict[Key, float]], verdicts: dict[str, dict]
) -> dict[str, Any]:
    gains = {p.id: [identity["tuned"][p.id, s] - identity["base"][p.id, s] for s in seeds] for p in members}
    gain = two_level_bootstrap(gains, 2000, 1)
    right: dict[str, Any] = {}
    for model, found in verdicts.items():
        for aspect in ("scene", "style"):
            hits = [getattr(found[p.id, s], aspect) == asked(p.twin)[aspect] for p in members for s in seeds]
            right[f"{aspect}_right_{model}"] = float(np.mean(hits))
    width = gain.high - gain.low
    found = {"identity_gain": gain.value, "low": gain.low, "high": gain.high, "gain_over_width": gain.value / width}
    return {**found, **right}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6, help="pictures of each prompt (default 6)")
    arguments = parser.parse_args()
    prepare_environment()
    workspace, params = Path(), load_params(Path("params.yaml"))
    photos = [workspace / PREPARED / p.file for p in read_manifest(workspace / MANIFEST) if p.split == "heldout"]
    seeds = list(range(5001, 5001 + arguments.seeds))
    refuse_other(workspace / MODEL, params.base.model)
    training = read_json(workspace / TRAINING)
    found = compare(workspace / MODEL, HERE / "model", params, photos, seeds)
    print(json.dumps(rounded({"training_seconds": training["seconds"], **found}), indent=2))


if __name__ == "__main__":
    main()
