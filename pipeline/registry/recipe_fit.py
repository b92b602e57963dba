"""Whether what a recipe names fits the model that it is used with, as far as the files say without being loaded."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from pipeline.base.control_adapter import ControlAdapter, fit_problem
from pipeline.base.learned import read_learned
from pipeline.base.reference_adapter import ReferenceFiles
from pipeline.errors import all_problems
from pipeline.files import read_json
from pipeline.registry.found import Found
from pipeline.sampling.idle_keys import drawn_as_base, idle_keys
from pipeline.sampling.learned_words import mixed_up
from pipeline.sampling.recipe import Recipe, RecipeError


def unfit_control(adapter: ControlAdapter, model: Path) -> str | None:
    """Why a control adapter cannot be used with the model in a folder; None where it can, or nothing is known."""
    unet = _configuration(model / "unet")
    try:
        blocks = _configuration(model / "vae")["block_out_channels"]
        return fit_problem(_configuration(adapter.folder), unet, 2 ** (len(blocks) - 1))
    except (KeyError, TypeError):  # unreadable, or written by another version of diffusers: drawing will tell
        return None


def unfit_reference(files: ReferenceFiles, model: Path) -> str | None:
    """Why an IP-Adapter cannot be used with the model in a folder; None where it can, or nothing is known."""
    from safetensors import SafetensorError, safe_open

    want = _configuration(model / "unet").get("cross_attention_dim")
    try:
        with safe_open(files.weights, "np") as tensors:
            keys = [name for name in tensors.keys() if name.startswith("ip_adapter.") and "to_k_ip" in name]  # noqa: SIM118
            if not keys:
                return f"{files.weights.name} is no IP-Adapter: it needs tensors image_proj.* and ip_adapter.*"
            have = int(tensors.get_slice(keys[0]).get_shape()[1])
    except (OSError, SafetensorError) as error:
        return f"the IP-Adapter {files.weights} cannot be read ({error})"
    if not isinstance(want, int) or have == want:
        return None
    return f"the IP-Adapter was made for another base: it has cross_attention_dim {have}, not {want}"


def shared_words(recipe: Recipe, others: Mapping[str, Found], model: Path, content: str) -> Iterator[str]:
    """Why prompts cannot tell the learned words of two models apart that draw one layer: see `mixed_up`.

    Args:
        content: the content digest of the model in the folder `model`.
    """
    words: dict[str | None, tuple[str, ...]] = {None: _words(model)}
    contents: dict[str | None, str] = {None: content}
    for name, other in others.items():
        words[name], contents[name] = _words(other.model), other.lineage["weights"]["content_digest"]
    everywhere = [adapter.model for adapter in recipe.adapters if adapter.place is None]
    found: dict[str, None] = {}
    for number, over in recipe.layers:
        first = None if number is None else recipe.regions[number].model
        named = [first, *everywhere, *(recipe.placed[one][0].model for one in over)]
        drawing = {contents[name]: words[name] for name in named if name in contents}
        problems = (mixed_up(one, other) for one, other in combinations(drawing.values(), 2))
        found |= dict.fromkeys(problem for problem in problems if problem)
    yield from found


def left_as_base(lineage: Mapping[str, Any], others: Mapping[str, Found]) -> frozenset[str | None]:
    """The models whose U-Net is the base's, by their records: see `idle_keys`.

    Args:
        lineage: the record of the model that is drawn with.
        others: the models that the recipe names.
    """
    return drawn_as_base(_method(lineage), {name: _method(other.lineage) for name, other in others.items()})


def refuse_idle_others(recipe: Recipe, lineage: Mapping[str, Any], others: Mapping[str, Found]) -> None:
    """Refuse a recipe that somebody wrote with a key that changes nothing, as the records of its models say: such as
    the weight of a model that textual inversion left the base's U-Net.

    Args:
        lineage, others: see `left_as_base`.

    Raises:
        RecipeError: with every such key.
    """
    if idle := idle_keys(recipe, None, left_as_base(lineage, others)):
        raise RecipeError(all_problems("the recipe", idle))


def _method(lineage: Mapping[str, Any]) -> str:
    return str(lineage["params"]["train"].get("method", ""))


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / "config.json")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _words(folder: Path | None) -> tuple[str, ...]:
    learned = read_learned(folder) if folder is not None else None
    return learned.words if learned is not None else ()
