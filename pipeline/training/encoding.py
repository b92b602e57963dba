"""What a run learns from: photos, class images and held-out photos encoded once, and the captions checked."""

import math
from typing import Any

import torch

from pipeline.base.components import Parts
from pipeline.training.augmentation import choose_views
from pipeline.training.captions import Captions
from pipeline.training.data import Focus, Moments, plain_views, subject_box
from pipeline.training.job import Job
from pipeline.training.stream import Stream
from pipeline.training.token import TokenError, expand, token_names
from pipeline.training.trainable import Learned
from pipeline.training.validation import Validation


def gather(
    job: Job, parts: Parts, learned: Learned, device: torch.device
) -> tuple[list[Stream], Validation | None, Captions]:
    """Encode photos and class images once; the VAE leaves the device again."""
    params = job.params
    parts.text_encoder.to(device)
    vae = parts.vae.to(device)
    views = [
        choose_views(params.augment, params.flip, subject_box(photo), params.seed, index)
        for index, photo in enumerate(job.photos)
    ]
    moments = Moments(vae, job.photos, views, device, "photos")
    focus = Focus(job.photos, moments, params.background_weight)
    if params.background_weight < 1 and focus.values is None:
        print("no photo has a mask: train.background_weight changes nothing")
    names = (f"{job.token} {job.class_noun}", job.token)
    streams = [
        Stream(
            "instance",
            job.photos,
            moments,
            params.caption_dropout,
            focus,
            params.offset_noise,
            tuple(f"a photo of {name}" for name in names),
            params.plain_captions,
        )
    ]
    if job.class_images and params.method == "textual-inversion":
        print("textual-inversion cannot change what class prompts draw: the class images are left out")
    elif job.class_images:
        images = Moments(vae, job.class_images, plain_views(job.class_images, params.flip), device, "class images")
        streams.append(Stream("class", job.class_images, images, offset=params.offset_noise))
    validation = None
    if job.heldout and params.validate_every:
        kept = Moments(vae, job.heldout, plain_views(job.heldout), device, "held-out photos")
        validation = Validation(job.heldout, kept, params.seed)
    vae.to("cpu")
    known = learned.token.table.num_embeddings if learned.token else math.inf
    captions = Captions(
        parts.tokenizer,
        parts.text_encoder,
        device,
        lambda ids: learned.text_changes or max(ids) >= known,
        lambda text: expand(text, job.token, params.token.vectors) if learned.token else text,
    )
    return streams, validation, captions


def check_captions(job: Job, tokenizer: Any) -> None:
    """Refuse captions so long that a learned token is cut off.

    Raises:
        TokenError: with every such photo and its caption.
    """
    if not job.params.token.learn:
        return
    names = token_names(job.token, job.params.token.vectors)
    rows = {tokenizer(name, add_special_tokens=False).input_ids[0] for name in names}
    length = tokenizer.model_max_length
    cut = []
    for sample in job.photos:
        text = expand(sample.caption, job.token, len(names))
        if not rows <= set(tokenizer(text, max_length=length, truncation=True).input_ids):
            cut.append(f"  {sample.file.name}: {sample.caption}")
    if cut:
        raise TokenError(
            f"{len(cut)} captions do not show the token '{job.token}' within the first {length} tokens that the "
            "base reads; shorten them:\n" + "\n".join(cut)
        )
