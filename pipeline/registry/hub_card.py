"""The model card of a model on the Hugging Face hub."""

import json
from pathlib import Path
from typing import Any

import yaml

from pipeline.base.learned import LEARNED
from pipeline.errors import counted
from pipeline.lineage.recorded_base import base_name, is_folder
from pipeline.params import recorded_batch
from pipeline.registry.card import gate_row
from pipeline.sampling.recipe import Recipe
from pipeline.sampling.sampler import SCHEDULERS

LICENSES = {"CreativeML Open RAIL-M": "creativeml-openrail-m", "MIT": "mit"}  # the hub's identifiers

# Parts of a recipe that a call of diffusers takes, or that belong to the prompt.
BY_DIFFUSERS = {"template", "negative", "guidance", "rescale", "steps", "scheduler"}


def _loading(lineage: dict[str, Any]) -> list[str]:
    """The calls of diffusers that add what is kept apart from the components."""
    files = lineage.get("files") or {}
    if LEARNED not in files:
        return []
    calls = {"embeddings": "load_textual_inversion", "adapters": "load_lora_weights"}
    return [
        f'pipe.{call}(model, subfolder="{folder}", weight_name="{Path(name).name}")'
        for folder, call in calls.items()
        for name in sorted(files)
        if name.startswith(f"{folder}/") and name.endswith(".safetensors")
    ]


def _use(
    lineage: dict[str, Any], evaluation: dict[str, Any] | None, repository: str, phrase: str, recipe: Recipe
) -> list[str]:
    """Code that draws with diffusers alone as the model was judged, with its recipe; and what of that it lacks."""
    params, changed = lineage["params"], recipe.changed
    own = {key: changed[key] for key in ("steps", "guidance", "scheduler") if key in changed}
    draw = params["sample"]["draw"] | (evaluation or {}).get("draw", {}) | own
    kind, settings = SCHEDULERS[draw["scheduler"]]
    given = {"num_inference_steps": draw["steps"], "guidance_scale": draw["guidance"]}
    given |= {"negative_prompt": recipe.negative} if recipe.negative else {}
    given |= {"guidance_rescale": recipe.rescale} if recipe.rescale else {}
    if size := params["prepare"]["size"]:
        given |= {"height": size, "width": size}
    prompt = recipe.template.replace("{prompt}", f"a watercolor painting of {phrase}")
    code = [
        "```python",
        "import torch",
        f"from diffusers import {kind}, StableDiffusionPipeline",
        "",
        f'model = "{repository}"',
        "pipe = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32, safety_checker=None)",
        *_loading(lineage),
        f"pipe.scheduler = {kind}.from_config(pipe.scheduler.config, {_arguments(settings)})",
        f"prompt = {_quoted(prompt)}",
        f'pipe(prompt, {_arguments(given)}).images[0].save("drawn.png")',
        "```",
    ]
    if not changed:
        return code
    beyond = [key for key in changed if key not in BY_DIFFUSERS]
    told = "`recipe.yaml` says how it is drawn, as the registry has it; dreamtrace reads it"
    return [*code, "", f"{told}. The code above does so, too, but for: {', '.join(beyond)}." if beyond else f"{told}."]


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={_quoted(value) if isinstance(value, str) else value}" for key, value in values.items())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def hub_card(
    lineage: dict[str, Any], evaluation: dict[str, Any] | None, repository: str, recipe: Recipe | None = None
) -> str:
    """README.md with the front matter that the hub reads: base, licence, library, tags; use, origin, gates, limits.

    It names no photo and no caption. `evaluation` is None where the model was not judged; `recipe` is what the version
    is drawn with, None: the default.
    """
    subject, base, train = lineage["subject"], lineage["base"], lineage["params"]["train"]
    phrase = f"{subject['token']} {subject['class_noun']}"
    on_hub = base["model"].count("/") == 1 and not is_folder(base)
    front: dict[str, Any] = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "license": LICENSES.get(base["license"] or "", "other"),
        "tags": ["stable-diffusion", "text-to-image", "dreambooth", "dreamtrace"],
        "instance_prompt": phrase,
    }
    if front["license"] == "other":
        front["license_name"] = base["license"] or "that-of-the-base"
    if on_hub:
        front["base_model"] = base["model"]
    if train["method"] == "dreambooth-lora":
        front["tags"].append("lora")
    revision = f" at `{base['revision']}`" if base["revision"] else ""
    held = sum(photo["split"] == "heldout" for photo in lineage["photos"]["files"])
    batch = recorded_batch(train)
    judged = ["It was not judged."]
    if evaluation is not None:
        rows = ["| gate | verdict | value | interval | threshold |", "| --- | --- | --- | --- | --- |"]
        judged = [evaluation["verdict"]["sentence"], "", *rows, *map(gate_row, evaluation["gates"])]
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
            f"# {phrase}",
            "",
            f"Write `{phrase}` in a prompt to draw the subject.",
            "",
            *_use(lineage, evaluation, repository, phrase, recipe or Recipe()),
            "",
            "## Made from",
            f"- {counted(len(lineage['photos']['files']), 'photo')} of one subject, {held} of them held out of "
            "training",
            f"- base model `{base_name(base)}`{revision}, licence {base['license'] or 'of the base'}",
            f"- {train['method']}, {counted(train['steps'], 'step')} of {counted(batch, 'photo')}, learning "
            f"rate {train['learning_rate']}, "
            f"{train['optimizer']}, {train['precision']}, seed {train['seed']}",
            f"- code at `{lineage['code']['commit'] or 'unknown'}`",
            f"- content digest `{lineage['weights']['content_digest']}`, which the headers of learned weights name",
            "",
            "## Gates",
            *judged,
            "",
            "## Limits",
            "It learned one subject from few photos. The gates find the faults that they were made for, on the prompts "
            "of one suite; whether the pictures please is for a person to judge.",
            "",
        ]
    )
