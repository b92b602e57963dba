"""Stage `prior`: class images drawn by the base, one seed each, for prior preservation; and empty places."""

import shutil
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from pipeline.base.resolve import resolve_base
from pipeline.files import digest_file, whole_folder, write_json
from pipeline.layout import PRIOR, PRIOR_INDEX
from pipeline.params import Params
from pipeline.stages import main


def run(workspace: Path, params: Params) -> None:
    """Write `artifacts/prior/`: lossless pictures and `prior.json`, which names the base, each prompt and each seed.

    Class images and places are not drawn where the training would not look at them. Pictures of empty places are named
    with the words that a caption has for them, and drawn in the order of these words: DVC does not see another one.

    Pictures are kept one by one as they are drawn, so that a killed stage resumes where it was.

    Raises:
        BaseNotFound: the base is not available.
    """
    prior = params.prior
    base = resolve_base(params.base)
    size = params.prepare.size or base.size
    images: list[dict[str, Any]] = [
        {
            "file": f"{index:04d}.png",
            "prompt": prior.prompts[index % len(prior.prompts)],
            "seed": prior.seed + index,
        }
        for index in range(params.class_images)
    ]
    if params.class_images < prior.images:
        print(f"no class images are drawn: {params.train.ignores_class_images}")
    prompts = sorted(prior.places.prompts.items())
    places = [
        {"file": f"place-{index:04d}.png", "prompt": prompt, "words": words, "seed": prior.seed + index}
        for index, (words, prompt) in zip(range(params.drawn_places), cycle(prompts), strict=False)
    ]
    if params.drawn_places < prior.places.images:
        print("no places are drawn: train.augment.places is 0")
    drawn: list[Path] = []
    if images or places:
        from pipeline.sampling.gallery import draw_missing
        from pipeline.sampling.sampler import Request, Sampler
        from pipeline.sampling.source import Source

        drawn = draw_missing(
            partial(Sampler.load, base.folder, prior.draw.scheduler, prior.draw.precision, base.variant),
            [Request(image["prompt"], image["seed"]) for image in [*images, *places]],
            prior.draw,
            size,
            Source("base", base.folder, base.digest).drawn(workspace),
            "class images" if not places else "class images and places",
        )
    with whole_folder(workspace / PRIOR) as folder:
        for image, file in zip([*images, *places], drawn, strict=True):
            shutil.copy(file, folder / image["file"])
            image["sha256"] = digest_file(folder / image["file"])
        made_by = {"model": base.model, "revision": base.revision, "digest": base.digest}
        write_json(folder / PRIOR_INDEX.name, {"base": made_by, "images": images, "places": places})
    for file in set(drawn):
        file.unlink()


if __name__ == "__main__":
    main(run)
