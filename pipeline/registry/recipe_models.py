"""The other models that a recipe draws with: found by name, known by digest, of the same base, and not withdrawn."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.base.components import best_device, load_pipeline, torch_dtype
from pipeline.base.control_adapter import ControlAdapter
from pipeline.base.reference_adapter import ReferenceFiles
from pipeline.base.resolve import is_path
from pipeline.errors import NotNow, UserError, all_problems
from pipeline.evaluation.backbones import Clip
from pipeline.lineage.deleted import DELETED
from pipeline.lineage.header import read_model_header
from pipeline.registry.found import Found
from pipeline.registry.judged_draw import judged_draw
from pipeline.registry.lookup import find_record
from pipeline.registry.recipe_base import base_of, recorded_scorer
from pipeline.registry.recipe_control import control_of
from pipeline.registry.recipe_fit import left_as_base, shared_words, unfit_control, unfit_reference
from pipeline.registry.recipe_reference import reference_of
from pipeline.registry.store import connect
from pipeline.registry.versions import versions_with
from pipeline.registry.withdrawal_state import withdrawal_of
from pipeline.sampling.best_of import PromptJudge
from pipeline.sampling.layers import OtherModel, Words
from pipeline.sampling.recipe import Recipe, RecipeError, idle_in_drawing, names_a_folder, without_folders


@dataclass(frozen=True)
class RecipeParts:
    """What a recipe names: the other models by name; the control adapter, the folder of the CLIP that chooses among
    several drawings, and the IP-Adapter, or None.
    """

    models: dict[str, Found]
    adapter: ControlAdapter | None
    scorer: Path | None = None
    reference: ReferenceFiles | None = None


@contextmanager
def recipe_parts(
    workspace: Path, recipe: Recipe, lineage: dict[str, Any], tuned: Found | None = None, written: bool = False
) -> Iterator[RecipeParts]:
    """The models that a recipe names beside the one that it is used with, and its control adapter; their files are
    there until the block ends.

    Args:
        lineage: the record of the model that the recipe is used with.
        tuned: that model, where files are to say, too, whether the recipe can be used with it.
        written: whether somebody hands the recipe in: then with `tuned` keys are refused, too, that change nothing of
            what that model draws as it was judged.

    Raises:
        RecipeError: with every problem: a model cannot be found, has another content than the recipe says, another
            base, or was withdrawn; its text encoder was trained, which an adapter cannot bring; the control
            adapter or IP-Adapter is not available or another one; or the CLIP that chooses is not available. With
            `tuned`, also what was made for another base, words that two models know, and a base that is missing.
    """
    found: dict[str, Found] = {}
    control, scorer, reference = None, None, None
    problems: list[str] = []
    with ExitStack() as stack:
        for name, digest in recipe.others.items():
            try:
                found[name] = stack.enter_context(find_record(workspace, name))
                problems += [f"{name} {problem}" for problem in _problems(workspace, found[name], digest, lineage)]
            except NotNow:
                raise
            except UserError as error:
                problems.append(str(error))
        for adapter in recipe.adapters:
            if adapter.model in found and _reads_differently(found[adapter.model]):
                problems.append(
                    f"the text encoder of {adapter.model} was trained, which an adapter cannot bring; make it the "
                    "model of a region"
                )
        try:
            control = control_of(recipe, lineage)
        except UserError as error:
            problems.append(str(error))
        try:
            reference = reference_of(recipe)
        except UserError as error:
            problems.append(str(error))
        try:
            scorer = recorded_scorer(lineage) if recipe.best_of > 1 else None
        except UserError as error:
            problems.append(f"best_of {recipe.best_of} needs the CLIP that chooses: {error}")
        parts = RecipeParts(found, control, scorer, reference)
        if tuned is not None:
            problems += _unfit(recipe, parts, tuned)
        if tuned is not None and written:
            draw = judged_draw(lineage, tuned.tags)
            as_base = left_as_base(lineage, found)
            problems += idle_in_drawing(recipe, draw["steps"], draw["guidance"], as_base=as_base)
        if problems:
            raise RecipeError(all_problems("the recipe", problems))
        yield parts


def _unfit(recipe: Recipe, parts: RecipeParts, tuned: Found) -> Iterator[str]:
    """Why drawing with a model would be refused, as far as files say."""
    named = parts.adapter or parts.reference or parts.models
    if named and (model := tuned.model) is not None:
        if parts.adapter is not None and (problem := unfit_control(parts.adapter, model)):
            yield f"control.adapter: {problem}"
        if parts.reference is not None and (problem := unfit_reference(parts.reference, model)):
            yield f"reference.adapter: {problem}"
        yield from shared_words(recipe, parts.models, model, str(tuned.lineage["weights"]["content_digest"]))
    if recipe.needs_base:
        try:
            base_of(tuned.lineage, tuned.title)
        except NotNow:
            raise
        except UserError as error:
            yield str(error)


def load_others(found: Mapping[str, Found], precision: str) -> dict[str, OtherModel]:
    """Load the models of `recipe_parts` to draw with."""
    loaded = {}
    for name, other in found.items():
        assert other.model is not None
        subject = other.lineage["params"]["subject"]
        origin = {"title": without_folders(other.title), **read_model_header(other.model)}
        pipe = load_pipeline(other.model, torch_dtype(precision), best_device())
        loaded[name] = OtherModel(pipe, Words(subject["token"], subject["class_noun"]), origin)
    return loaded


def load_judge(scorer: Path | None) -> PromptJudge | None:
    """Load the CLIP of `recipe_parts` that chooses among several drawings."""
    return None if scorer is None else Clip(scorer)


def pinned(
    workspace: Path, recipe: Recipe, lineage: dict[str, Any], tuned: Found | None = None, written: bool = False
) -> Recipe:
    """The recipe with each other model as a numbered version with its content digest, whatever its aliases do later.

    Raises:
        RecipeError: see `recipe_parts`; or one is not registered, so that nobody else could draw with the recipe.
    """
    names: dict[str, dict[str, str]] = {}
    with recipe_parts(workspace, recipe, lineage, tuned, written) as found:
        for name, other in found.models.items():
            model, number = _version_of(workspace, name, other)
            digest = other.lineage["weights"]["content_digest"]
            names[name] = {"model": f"models:/{model}/{number}", "digest": digest}
    changed: dict[str, Any] = {
        key: tuple(part.model_copy(update=names.get(part.model or "", {})) for part in getattr(recipe, key))
        for key in ("adapters", "regions")
    }
    for key, files in (("control", found.adapter), ("reference", found.reference)):
        part = getattr(recipe, key)
        if part is not None and files is not None:
            fixed = {"adapter": _as_folder(part.adapter), "digest": files.digest, "revision": files.revision}
            changed[key] = part.model_copy(update=fixed)
    return recipe.model_copy(update=changed)


def _version_of(workspace: Path, name: str, found: Found) -> tuple[str, str]:
    """Name and number of the registered version that is drawn with: the one named, or the first with its content."""
    if found.version is not None:
        return found.version
    versions = versions_with(connect(workspace), "content_digest", found.lineage["weights"]["content_digest"])
    version = next((one for one in versions if DELETED not in one.tags), None)
    if version is None:
        raise RecipeError(
            f"{name} is not registered with its weights, so that only this machine has it; register it first"
        )
    return version.name, version.version


def marked_folders(recipe: Recipe) -> Recipe:
    """The recipe with names by which folders of this machine can be told from repositories of the hub anywhere."""
    changed: dict[str, Any] = {
        key: tuple(
            part.model_copy(update={"model": _as_folder(part.model)}) if part.model is not None else part
            for part in getattr(recipe, key)
        )
        for key in ("adapters", "regions")
    }
    for key in ("control", "reference"):
        if (part := getattr(recipe, key)) is not None:
            changed[key] = part.model_copy(update={"adapter": _as_folder(part.adapter)})
    return recipe.model_copy(update=changed)


def _as_folder(name: str) -> str:
    return f"./{name}" if name != "base" and is_path(name) and not names_a_folder(name) else name


def _problems(workspace: Path, found: Found, digest: str | None, lineage: dict[str, Any]) -> Iterator[str]:
    has, base = found.lineage["weights"]["content_digest"], found.lineage["base"]
    if digest is not None and has != digest:
        yield f"has content {has[:16]} now, and the recipe was made with {digest[:16]}; name the version that has that"
    if base["digest"] != lineage["base"]["digest"]:
        yield (
            f"has another base ({base['model']}, {base['digest'][:16]}) than the model that the recipe is used with "
            f"({lineage['base']['model']}, {lineage['base']['digest'][:16]}); only models of one base draw together"
        )
    if found.model is None:
        yield f"cannot be drawn with: {found.why_without_weights}"
    elif why := withdrawal_of(workspace, found):
        yield f"is withdrawn, and nothing is drawn with it: {why}"


def _reads_differently(found: Found) -> bool:
    """Whether its text encoder was trained as a whole."""
    return bool(found.lineage["params"]["train"].get("text_encoder", {}).get("learn"))
