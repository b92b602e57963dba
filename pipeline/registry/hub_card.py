"""The model card of a model on the Hugging Face hub."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.base.learned import LEARNED
from pipeline.registry.card import gate_row

LICENSES = {"CreativeML Open RAIL-M": "creativeml-openrail-m", "MIT": "mit"}  # the hub's identifiers


def _loading(lineage: dict[str, Any], repository: str) -> list[str]:
    """The calls of diffusers that add what is kept apart from the components."""
    files = lineage.get("files") or {}
    if LEARNED not in files:
        return []
    calls = {"embeddings": "load_textual_inversion", "adapters": "load_lora_weights"}
    return [
        f'pipe.{call}("{repository}", subfolder="{folder}", weight_name="{Path(name).name}")'
        for folder, call in calls.items()
        for name in sorted(files)
        if name.startswith(f"{folder}/") and name.endswith(".safetensors")
    ]


def hub_card(lineage: dict[str, Any], evaluation: dict[str, Any] | None, repository: str) -> str:
    """README.md with the front matter that the hub reads: base, licence, library, tags; use, origin, gates, limits.

    It names no photo and no caption. `evaluation` is None where the model was not judged.
    """
    subject, base, train = lineage["subject"], lineage["base"], lineage["params"]["train"]
    phrase = f"{subject['token']} {subject['class_noun']}"
    on_hub = base["model"].count("/") == 1 and not base["model"].startswith((".", "/", "~"))
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
    batch = train["batch"] * train["gradient_accumulation"]
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
            "```python",
            "from diffusers import StableDiffusionPipeline",
            "",
            f'pipe = StableDiffusionPipeline.from_pretrained("{repository}", safety_checker=None)',
            *_loading(lineage, repository),
            f'pipe("a watercolor painting of {phrase}").images[0].save("drawn.png")',
            "```",
            "",
            "## Made from",
            f"- {len(lineage['photos']['files'])} photos of one subject, {held} of them held out of training",
            f"- base model `{base['model']}`{revision}, licence {base['license'] or 'of the base'}",
            f"- {train['method']}, {train['steps']} steps of {batch} photos, learning rate {train['learning_rate']}, "
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
