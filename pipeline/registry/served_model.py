"""The registered model as MLflow serves it: prompts in, PNG bytes out. Loaded from this file's code, no pickle."""

import json
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
        Parameters: `negative`, `steps`, `guidance`, `size`, `count`, and `recipe` (JSON, see
        `pipeline.sampling.recipe`; one that needs the base is refused). Impossible ones are refused; the defaults are
        those the model was judged with. Output: one PNG file a picture, as bytes, whose Content Credentials lead back
        to the model. The same prompt and seed give the same pixels, whatever else is asked for in the same call or at
        the same time.
        """

        def load_context(self, context: Any) -> None:  # MLflow wants the argument to be called so
            from pipeline.lineage.header import read_model_header
            from pipeline.lineage.read import read_lineage
            from pipeline.sampling.sampler import Sampler
            from pipeline.sampling.signing_authority import signing_identity

            self.settings = context.model_config
            folder = Path(context.artifacts["pipeline"])
            self.origin = read_model_header(folder)
            self.subject = read_lineage(folder)["params"]["subject"]
            self.identity = signing_identity()
            # MLflow calls from several threads, and a scheduler holds the state of a drawing.
            self.lock = threading.Lock()
            self.sampler = Sampler.load(folder, self.settings["scheduler"], self.settings["precision"])

        # MLflow would take type hints for the signature, which is set when the model is logged.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
            from pipeline.sampling.generation_request import read_generation_request
            from pipeline.sampling.provenance import draw_signed

            asked = dict(params or {})
            recipe = _recipe(asked.pop("recipe", ""))
            generation = read_generation_request(_rows(model_input), asked, self.settings)
            batch, scheduler = int(self.settings["batch"]), self.settings["scheduler"]
            with self.lock:
                usual = self.sampler.pipe.scheduler
                try:
                    sampler = self._sampler(recipe) if recipe else self.sampler
                    return list(draw_signed(sampler, generation, self.origin, batch, scheduler, self.identity))
                finally:
                    self.sampler.pipe.scheduler = usual

        def _sampler(self, recipe: Any) -> Any:
            from pipeline.sampling.recipe_sampler import RecipeSampler, Words

            words = Words(self.subject["token"], self.subject["class_noun"])
            self.sampler.pipe.scheduler = self.sampler.own_scheduler
            return RecipeSampler(self.sampler.pipe, self.settings["scheduler"], recipe, words)


def _recipe(text: str) -> Any:
    """The recipe of a call; None for the model's own way of drawing."""
    from pipeline.sampling.recipe import RecipeError, recipe_of

    if not text.strip():
        return None
    try:
        values = json.loads(text)
    except ValueError as error:
        raise RecipeError(f"the parameter recipe is not JSON ({error})") from None
    recipe = recipe_of(values, "the parameter recipe")
    if recipe.needs_base:
        raise RecipeError(
            "strength, layout_strength and unconditional need the base, which a served model does not carry; "
            "`dreamtrace generate` draws with them"
        )
    return recipe


def _rows(model_input: Any) -> list[tuple[Any, Any]]:
    if not hasattr(model_input, "columns"):
        return [(prompt, 0) for prompt in ([model_input] if isinstance(model_input, str) else model_input)]
    column = next((name for name in ("prompt", LISTED) if name in model_input.columns), None)
    if column is None:
        raise ValueError(f"the input needs a column 'prompt', found {list(model_input.columns)}")
    seeds = model_input["seed"].fillna(0) if "seed" in model_input.columns else [0] * len(model_input)
    return list(zip(model_input[column], seeds, strict=True))


mlflow.models.set_model(DreamBoothModel())
