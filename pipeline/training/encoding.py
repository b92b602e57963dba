"""The inputs of a run, encoded once: photos, class images and held-out photos; and the check of captions."""

import math
from typing import Any

from accelerate import Accelerator

from pipeline.base.components import Parts
from pipeline.training.augmentation import choose_views, same_views_sentence
from pipeline.training.captions import CaptionEncoder
from pipeline.training.data import LatentMoments, LossMask, plain_views, subject_box
from pipeline.training.inputs import Inputs
from pipeline.training.job import Job
from pipeline.training.stream import Stream
from pipeline.training.token import TokenError, expand_token, token_names
from pipeline.training.trainable import Trainable
from pipeline.training.validation import Validation


def encode_inputs(
    job: Job, parts: Parts, trainable: Trainable, accelerator: Accelerator
) -> tuple[Inputs, Validation | None]:
    """Encode photos and class images with the VAE, which is on the device only meanwhile.

    Call it before a checkpoint is loaded: the text encoder must still be the base's.
    """
    params, device = job.params, accelerator.device
    parts.text_encoder.to(device)
    vae = parts.vae.to(device)
    views = [
        choose_views(params.augment, params.flip, subject_box(photo), params.seed, index)
        for index, photo in enumerate(job.photos)
    ]
    if told := same_views_sentence(params.augment, views):
        print(told)
    moments = LatentMoments(vae, job.photos, views, device, "photos")
    loss_mask = LossMask(job.photos, moments, params.background_weight)
    if params.background_weight < 1 and loss_mask.values is None:
        print("train.background_weight has no effect, because no photo has a mask")
    spared = (job.token, job.class_noun)
    names = (f"{job.token} {job.class_noun}", job.token)
    streams = [
        Stream(
            "instance",
            job.photos,
            moments,
            params.caption_dropout,
            loss_mask,
            params.offset_noise,
            tuple(f"a photo of {name}" for name in names),
            params.plain_captions,
            spared,
        )
    ]
    if job.class_images and (reason := params.ignores_class_images):
        print(f"the class images are not used: {reason}")
    elif job.class_images:
        images = LatentMoments(
            vae, job.class_images, plain_views(job.class_images, params.flip), device, "class images"
        )
        streams.append(Stream("class", job.class_images, images, offset=params.offset_noise, names=spared))
    validation = None
    if job.heldout and params.validate_every:
        heldout = LatentMoments(vae, job.heldout, plain_views(job.heldout), device, "held-out photos")
        validation = Validation(job.heldout, heldout, params.seed)
    vae.to("cpu")
    known = trainable.token.table.num_embeddings if trainable.token else math.inf
    captions = CaptionEncoder(
        parts.tokenizer,
        parts.text_encoder,
        device,
        lambda ids: trainable.trains_text_encoder or max(ids) >= known,
        lambda text: expand_token(text, job.token, params.token.vectors) if trainable.token else text,
    )
    prior_states = {}
    if trainable.trains_text_encoder and params.prior.kind == "prediction" and len(streams) > 1:
        with accelerator.autocast():
            prior_states = captions.snapshot(streams[1].captions())
    return Inputs(streams, captions, prior_states), validation


def check_captions(job: Job, tokenizer: Any) -> None:
    """Refuse captions so long that the learned token would be cut off.

    Raises:
        TokenError: names every such photo with its caption.
    """
    if not job.params.token.learn:
        return
    names = token_names(job.token, job.params.token.vectors)
    rows = {tokenizer(name, add_special_tokens=False).input_ids[0] for name in names}
    length = tokenizer.model_max_length
    cut = []
    for name, caption in dict.fromkeys((sample.file.name, sample.caption) for sample in job.photos):
        text = expand_token(caption, job.token, len(names))
        if not rows <= set(tokenizer(text, max_length=length, truncation=True).input_ids):
            cut.append(f"  {name}: {caption}")
    if cut:
        raise TokenError(
            f"captions without the token '{job.token}' within the first {length} tokens, which is all that the base "
            f"reads ({len(cut)}); shorten them:\n" + "\n".join(cut)
        )
