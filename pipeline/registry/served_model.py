"""The registered model as MLflow serves it: prompts in, PNG bytes out. Loaded from this file's code, no pickle."""

import base64
import threading
import warnings
from pathlib import Path
from typing import Any

import mlflow

LISTED = 0  # the column that MLflow makes of a plain list


with warnings.catch_warnings(record=True):  # MLflow asks for type hints, to derive the signature that it is given

    class DreamBoothModel(mlflow.pyfunc.PythonModel):
        """Draws pictures with the registered pipeline.

        Input: prompts in a list, or a table with a column `prompt` and, if wanted, `seed` (0 where there is none).
        Parameters: `negative`, `steps`, `guidance`, `size`, `count`, `control` and `reference` (files of pictures in
        base64, for recipes with such keys), and `recipe` (JSON, see `pipeline.sampling.recipe`; `{}` is the default
        one). Without `recipe` the version's own counts, as the registry had it when the model was loaded; `steps` and
        `guidance` count more than those of a recipe. A recipe that needs the base is refused where the base is not on
        this machine, one with other models where no registry has them, and one that names folders of this machine or
        repositories of the hub, unless the version's own does.
        Impossible values are refused; what is left out is as the model was judged. Output: one PNG file a
        picture, as bytes, whose Content Credentials lead back to the model. The same prompt and seed give the same
        pixels, whatever else is asked for in the same call or at the same time.
        """

        def load_context(self, context: Any) -> None:  # MLflow wants the argument to be called so
            from pipeline.files import scratch_folder
            from pipeline.lineage.header import read_model_header
            from pipeline.lineage.read import read_lineage
            from pipeline.registry.judged_draw import judged_draw
            from pipeline.registry.recipes import recipe_in, registered_tags
            from pipeline.registry.served_recipe import loaded_version
            from pipeline.registry.shared_parts import whole_model
            from pipeline.sampling.sampler import Sampler
            from pipeline.sampling.signing_authority import signing_identity

            self.links = scratch_folder()
            kept = Path(context.artifacts["pipeline"])
            folder = whole_model(kept, Path(self.links.name) / "model")
            self.origin = read_model_header(folder)
            self.lineage = read_lineage(folder)
            title, tags = registered_tags(self.origin["content_digest"], loaded_version(kept.parents[1]))
            self.own_recipe = recipe_in(tags, title)
            if title:
                self.origin["title"] = title  # other versions may have the same weights
            before, given = self.lineage["params"]["sample"]["draw"], context.model_config
            # What somebody set for this server stays.
            judged = judged_draw(self.lineage, tags).items()
            fresh = {key: value for key, value in judged if key in given and given[key] == before.get(key)}
            self.settings = {**given, **fresh}
            self.base_unet: Any = None
            self.others: dict[str, Any] = {}  # by content digest, those of the latest calls last
            self.own_others: set[str] = set()  # digests of those that the version's own recipe names
            self.judge: Any = None
            self.adapters: dict[str, Any] = {}  # IP-Adapters, by digest
            self.identity = signing_identity()
            # MLflow calls from several threads, and a scheduler holds the state of a drawing.
            self.lock = threading.Lock()
            self.sampler = Sampler.load(folder, self.settings["scheduler"], self.settings["precision"])

        # MLflow would take type hints for the signature, which is set when the model is logged.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
            from pipeline.registry.recipe_fit import left_as_base
            from pipeline.registry.served_recipe import recipe_of_call
            from pipeline.sampling.generation_request import read_generation_request
            from pipeline.sampling.provenance import draw_signed
            from pipeline.sampling.recipe import refuse_idle
            from pipeline.sampling.recipe_sampler import refuse_idle_negative, refuse_unseen_token

            asked = {name: value for name, value in (params or {}).items() if value is not None}
            coded = {name: asked.pop(name, "") for name in ("control", "reference")}
            written = asked.pop("recipe", "")
            recipe = recipe_of_call(written, self.own_recipe, asked, coded)
            generation = read_generation_request(_rows(model_input), asked, self.settings, recipe.drawings)
            refuse_idle_negative(recipe, generation.requests, generation.guidance)
            if written.strip():
                as_base = left_as_base(self.lineage, {})
                refuse_idle(recipe, generation.steps, generation.guidance, as_base=as_base)
            batch, scheduler = int(self.settings["batch"]), self.settings["scheduler"]
            with self.lock:
                usual = self.sampler.pipe.scheduler
                try:
                    sampler = self._sampler(recipe, coded, bool(written.strip())) if recipe.changed else self.sampler
                    if written.strip():
                        refuse_unseen_token(sampler, generation.requests)
                    return list(draw_signed(sampler, generation, self.origin, batch, scheduler, self.identity))
                finally:
                    self.sampler.pipe.scheduler = usual

        def _sampler(self, recipe: Any, coded: dict[str, str], written: bool) -> Any:
            from pipeline.registry.recipe_control import load_guide
            from pipeline.registry.recipe_reference import load_reference
            from pipeline.sampling.layers import Words
            from pipeline.sampling.recipe import RecipeError
            from pipeline.sampling.recipe_sampler import RecipeSampler

            subject = self.lineage["params"]["subject"]
            words = Words(subject["token"], subject["class_noun"])
            self.sampler.pipe.scheduler = self.sampler.own_scheduler
            base = self._base() if recipe.needs_base else None
            others = self._others(recipe, written) if recipe.others else {}
            pipe, scheduler = self.sampler.pipe, self.settings["scheduler"]
            control = _control(recipe, coded["control"], self.lineage)
            shown = _reference(recipe, coded["reference"])
            judge = self._judge() if recipe.best_of > 1 else None
            try:
                guide = load_guide(recipe, *control, pipe.unet)
                like = load_reference(recipe, *shown, pipe.unet, self.adapters)
                return RecipeSampler(pipe, scheduler, recipe, words, base, None, others, guide, judge, like)
            except ValueError as error:
                raise RecipeError(f"the recipe cannot be used with this model: {error}") from None

        def _others(self, recipe: Any, written: bool) -> dict[str, Any]:
            """The other models of a recipe, looked up for every call: a model may be withdrawn at any time."""
            from pipeline.registry.recipe_fit import refuse_idle_others
            from pipeline.registry.recipe_models import load_others, recipe_parts
            from pipeline.registry.served_recipe import kept_models
            from pipeline.registry.store import is_named, store_in_use
            from pipeline.sampling.recipe import RecipeError

            if not is_named():
                raise RecipeError("the recipe draws with other models, but no MLFLOW_TRACKING_URI says who has them")
            with store_in_use(), recipe_parts(Path(), recipe, self.lineage) as parts:
                found = parts.models
                if written:
                    refuse_idle_others(recipe, self.lineage, found)
                digests = {name: one.lineage["weights"]["content_digest"] for name, one in found.items()}
                fresh = {name: one for name, one in found.items() if digests[name] not in self.others}
                for name, other in load_others(fresh, self.settings["precision"]).items():
                    self.others[digests[name]] = other
            self.own_others |= {digest for name, digest in digests.items() if name in self.own_recipe.others}
            drawing = {name: self.others[digest] for name, digest in digests.items()}
            self.others = kept_models(self.others, self.own_others, list(digests.values()))
            return drawing

        def _judge(self) -> Any:
            from pipeline.base.resolve import BaseNotFound
            from pipeline.registry.recipe_base import recorded_scorer
            from pipeline.registry.recipe_models import load_judge
            from pipeline.sampling.recipe import RecipeError

            if self.judge is None:
                try:
                    self.judge = load_judge(recorded_scorer(self.lineage))
                except BaseNotFound as error:
                    raise RecipeError(f"best_of needs the CLIP that chooses: {error}") from None
            return self.judge

        def _base(self) -> Any:
            from pipeline.base.components import best_device, load_pipeline, torch_dtype
            from pipeline.base.resolve import BaseNotFound
            from pipeline.registry.recipe_base import base_of
            from pipeline.sampling.recipe import RecipeError

            if self.base_unet is None:
                try:
                    base = base_of(self.lineage, "this model")
                except BaseNotFound as error:
                    raise RecipeError(
                        "strength, layout_strength, unconditional, adapters and weights of regions need the base, "
                        f"which is not on this machine ({error}); the recipe {{}} draws without it"
                    ) from None
                precision = torch_dtype(self.settings["precision"])
                self.base_unet = load_pipeline(base.folder, precision, best_device(), base.variant).unet
            return self.base_unet


def _control(recipe: Any, coded: str, lineage: dict[str, Any]) -> tuple[Any, Any]:
    """The control adapter and picture of a call; None and None where its recipe has no control."""
    from pipeline.registry.recipe_control import control_maker, control_of
    from pipeline.registry.recipe_inputs import input_of_bytes

    if recipe.control is None:
        return None, None
    maker = control_maker(recipe.control.kind)
    picture = input_of_bytes(_picture(coded, "control"), "the parameter control", maker)
    _refuse_withdrawn(picture.origin, "control picture")
    return control_of(recipe, lineage), picture


def _reference(recipe: Any, coded: str) -> tuple[Any, Any]:
    """The IP-Adapter and reference picture of a call; None and None where its recipe has no reference."""
    from pipeline.registry.recipe_inputs import input_of_bytes
    from pipeline.registry.recipe_reference import reference_of

    if recipe.reference is None:
        return None, None
    picture = input_of_bytes(_picture(coded, "reference"), "the parameter reference")
    _refuse_withdrawn(picture.origin, "reference picture")
    return reference_of(recipe), picture


def _picture(coded: str, name: str) -> bytes:
    from pipeline.sampling.recipe import RecipeError

    try:
        content = base64.b64decode(coded, validate=True)
    except ValueError as error:
        raise RecipeError(f"the parameter {name} is not base64 ({error})") from None
    if not content:
        raise RecipeError(f"the recipe has {name}, so it needs a picture: the parameter {name}, its file in base64")
    return content


def _refuse_withdrawn(origin: dict[str, Any], what: str) -> None:
    """Refuse a withdrawn photo, where a registry is there to ask."""
    from pipeline.registry.recipe_inputs import refuse_withdrawn
    from pipeline.registry.store import is_named, store_in_use

    if is_named():
        with store_in_use():
            refuse_withdrawn(Path(), {what: origin})


def _rows(model_input: Any) -> list[tuple[Any, Any]]:
    if not hasattr(model_input, "columns"):
        return [(prompt, 0) for prompt in ([model_input] if isinstance(model_input, str) else model_input)]
    column = next((name for name in ("prompt", LISTED) if name in model_input.columns), None)
    if column is None:
        raise ValueError(f"the input needs a column 'prompt', found {list(model_input.columns)}")
    seeds = model_input["seed"].fillna(0) if "seed" in model_input.columns else [0] * len(model_input)
    return list(zip(model_input[column], seeds, strict=True))


mlflow.models.set_model(DreamBoothModel())
