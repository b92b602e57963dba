"""The registered model as MLflow serves it: prompts in, PNG bytes out. Loaded from this file's code, no pickle."""

import io
import warnings
from typing import Any

import mlflow

with warnings.catch_warnings(record=True):  # MLflow asks for type hints, to derive the signature that it is given

    class DreamBoothModel(mlflow.pyfunc.PythonModel):
        """Draws pictures with the registered pipeline.

        Input: a table with a column `prompt` and, if wanted, `seed` (0 where there is none); a list of prompts will do.
        Parameters: `steps`, `guidance`; the defaults are those the model was judged with. Output: one PNG file a
        row, as bytes. The same prompt and seed give the same picture, whatever else is asked for in the same call.
        """

        def load_context(self, context: Any) -> None:  # MLflow wants the argument to be called so
            from pathlib import Path

            from pipeline.lineage.header import read_header
            from pipeline.sampling.sampler import Sampler

            self.settings = context.model_config
            folder = Path(context.artifacts["pipeline"])
            self.origin = read_header(next(iter(sorted((folder / "unet").glob("*.safetensors")))))
            self.sampler = Sampler.load(folder, self.settings["scheduler"], self.settings["precision"])

        # MLflow would take type hints for the signature, which is set when the model is logged.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
            from pipeline.sampling.sampler import Request

            settings = {**self.settings, **{key: value for key, value in (params or {}).items() if value}}
            requests = [Request(prompt, seed) for prompt, seed in _rows(model_input)]
            pictures = self.sampler.draw(
                requests,
                int(settings["steps"]),
                float(settings["guidance"]),
                int(settings["size"]),
                int(settings["batch"]),
            )
            said = {name: settings[name] for name in ("steps", "guidance", "scheduler")}
            return [
                _png(picture, {**self.origin, "prompt": request.prompt, "seed": request.seed, **said})
                for picture, request in zip(pictures, requests, strict=True)
            ]


def _rows(model_input: Any) -> list[tuple[str, int]]:
    if hasattr(model_input, "columns"):
        if "prompt" not in model_input.columns:
            raise ValueError(f"the input needs a column 'prompt', found {list(model_input.columns)}")
        seeds = model_input["seed"].fillna(0) if "seed" in model_input.columns else [0] * len(model_input)
        found = list(zip(model_input["prompt"], seeds, strict=True))
    else:
        found = [(prompt, 0) for prompt in ([model_input] if isinstance(model_input, str) else model_input)]
    for prompt, _ in found:
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f"every prompt must be a text, found {prompt!r}")
    return [(prompt, int(seed)) for prompt, seed in found]


def _png(picture: Any, record: dict[str, Any]) -> bytes:
    """The picture's bytes; what made it stands in a text chunk, where `dreamtrace trace` reads it."""
    import json

    from PIL.PngImagePlugin import PngInfo

    from pipeline.lineage.header import HEADER_KEY

    text = PngInfo()
    text.add_itxt(HEADER_KEY, json.dumps(record, sort_keys=True, ensure_ascii=False))
    target = io.BytesIO()
    picture.save(target, format="PNG", pnginfo=text)
    return target.getvalue()


mlflow.models.set_model(DreamBoothModel())
