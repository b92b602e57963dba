"""The small CLIP: text tower (later the pipeline's text encoder) and image tower (later the default scorer)."""

from pathlib import Path

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from pocket.loop import Pictures, begin_with, indices_at, mixed_precision, train
from pocket.origin import WORLD, origin, start_of
from pocket.recipe import HERE, Recipe
from pocket.text import encode, learn_tokenizer


def build_clip(recipe: Recipe, tokenizer: CLIPTokenizer) -> CLIPModel:
    """Both towers with random weights; their outputs meet in `text.hidden` dimensions."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.text.hidden,
        intermediate_size=4 * recipe.text.hidden,
        num_hidden_layers=recipe.text.layers,
        num_attention_heads=recipe.text.hidden // 32,
        max_position_embeddings=recipe.text.length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=recipe.text.hidden,
    )
    vision = CLIPVisionConfig(
        hidden_size=recipe.vision.hidden,
        intermediate_size=3 * recipe.vision.hidden,
        num_hidden_layers=recipe.vision.layers,
        num_attention_heads=recipe.vision.hidden // 32,
        image_size=recipe.size,
        patch_size=recipe.vision.patch,
        projection_dim=recipe.text.hidden,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=recipe.text.hidden)
    return CLIPModel(config)


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    """From -1..1 to the mean and deviation of the scorer's image processor (0.5 and 0.25)."""
    return pixels * 2.0


def train_clip(recipe: Recipe, work: Path) -> None:
    """Symmetric contrastive loss (Radford et al. 2021) on pictures and one random wording each."""
    pictures = Pictures(work / "world" / "train")
    if recipe.start is None:
        captions = (text for facts in pictures.facts for text in facts["captions"])
        tokenizer = learn_tokenizer(captions, recipe.text.words, recipe.text.length)
    else:
        tokenizer = CLIPTokenizer.from_pretrained(HERE / recipe.start / "clip")
    tokenizer.save_pretrained(work / "clip")
    torch.manual_seed(1)
    model = build_clip(recipe, tokenizer).to(recipe.device)
    begin_with(model, recipe, "clip")

    def loss_at(step: int) -> dict[str, torch.Tensor]:
        indices = indices_at(step, recipe.clip.batch, len(pictures), seed=1)
        rng = np.random.default_rng([1, step])
        pixels = pictures.batch(indices, recipe.device, flip=bool(step % 2))
        # Attention is causal: what stands after a text changes nothing, so short batches stay short.
        tokens = encode(tokenizer, pictures.texts(indices, rng), "longest").to(recipe.device)
        with mixed_precision(recipe):
            out = model(input_ids=tokens, pixel_values=normalized(pixels), return_loss=True)
        hit = (out.logits_per_image.argmax(1) == torch.arange(len(indices), device=recipe.device)).float().mean()
        return {"loss": out.loss.float(), "accuracy": hit}

    made_from = origin(recipe, "clip", work, WORLD[:1], start_of(recipe, "clip"))
    train(model, loss_at, recipe.clip, work / "clip", "clip", made_from)
    model.save_pretrained(work / "clip")


if __name__ == "__main__":
    from pocket.stages import run

    run(train_clip)
