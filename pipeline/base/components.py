"""Loading a pipeline folder into diffusers, the same way for every base and every tuned model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.base.learned import apply_learned, read_learned

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Parts:
    """What training takes apart: all weights in float32 on the CPU, `schedule` a `DDPMScheduler`."""

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    schedule: Any


TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # torch's names


def best_device() -> str:
    """'cuda' where a GPU is available, else 'cpu'."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_dtype(precision: str) -> "torch.dtype":
    """The torch type of a `Precision` of params.yaml."""
    import torch

    return getattr(torch, TYPES[precision])


def precision_of(dtype: "torch.dtype") -> str:
    """The `Precision` of params.yaml that a torch type is."""
    return next(precision for precision, name in TYPES.items() if str(dtype) == f"torch.{name}")


def weight_files(component: Path, variant: str | None = None) -> list[Path]:
    """The safetensors files of one component that are loaded for `variant` (None: the plain ones), sorted.

    A folder may hold several sets: `diffusion_pytorch_model.safetensors`, `...fp16.safetensors`, `...non_ema...`.
    """
    middle = f".{variant}" if variant else ""
    found: list[Path] = []
    for stem in ("model", "diffusion_pytorch_model"):
        found += component.glob(f"{stem}{middle}.safetensors")
        found += component.glob(f"{stem}{middle}-*-of-*.safetensors")
    return sorted(found)


def quiet_loading() -> None:
    """No bars for reading local files, which takes a moment (downloads keep theirs)."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def load_parts(folder: Path, variant: str | None = None) -> Parts:
    """Load the parts of a pipeline folder for training, from local files only; what was learned is put into them.

    Raises:
        LearnedError: what was learned is damaged.
    """
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    quiet_loading()
    local: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "variant": variant}
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32, **local)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32, **local)
    apply_learned(folder, tokenizer, text_encoder, unet)
    return Parts(
        tokenizer=limit_length(tokenizer, text_encoder),
        text_encoder=text_encoder,
        vae=AutoencoderKL.from_pretrained(folder / "vae", dtype=torch.float32, **local).eval(),
        unet=unet,
        schedule=DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True),
    )


def limit_length(tokenizer: Any, text_encoder: Any) -> Any:
    """A tokenizer that names no length (transformers then takes 1e30) gets that of the text encoder."""
    tokenizer.model_max_length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    return tokenizer


def load_pipeline(folder: Path, dtype: "torch.dtype", device: str, variant: str | None = None) -> Any:
    """A `StableDiffusionPipeline` without safety checker, from local files only, in evaluation mode.

    The safety checker is left out because it blacks out harmless pictures of toys and is absent from tuned models.
    """
    import torch
    from diffusers import StableDiffusionPipeline

    quiet_loading()
    learned = read_learned(folder)
    pipe = StableDiffusionPipeline.from_pretrained(
        folder,
        dtype=torch.float32 if learned else dtype,  # what was learned is added exactly, then rounded once
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        local_files_only=True,
        use_safetensors=True,
        variant=variant,
    )
    apply_learned(folder, pipe.tokenizer, pipe.text_encoder, pipe.unet)
    limit_length(pipe.tokenizer, pipe.text_encoder)
    pipe.set_progress_bar_config(disable=True)
    if learned:
        for part in (pipe.text_encoder, pipe.unet, pipe.vae):
            torch.nn.Module.to(part, dtype)  # diffusers' own warns of it
    return pipe.to(device)
