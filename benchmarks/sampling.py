"""How much faster are pictures drawn in batches than one at a time? `python -m benchmarks.sampling`.

Draws prompts of the suite `pocket` by the embedded base, in turns: in a loop with one prompt for each call of the
diffusers pipeline, and all in one call of the sampler. Prints images a second of each round and the median of ratios;
then whether the sampler draws the same pictures in another order and with another batch, bit for bit (on the CPU it
must). On a GPU give `--base` a larger model.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from pipeline.base.resolve import resolve_base
from pipeline.environment import prepare_environment
from pipeline.evaluation.suite import load_suite
from pipeline.params import load_params
from pipeline.runs.profiles import find_profile
from pipeline.sampling.sampler import Request, Sampler


def main() -> None:
    """Measure in alternating rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="pocket", help="the model that draws")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    prepare_environment()
    params = load_params(find_profile("pocket").path)
    base = resolve_base(params.base.model_copy(update={"model": arguments.base}))
    draw = params.sample.draw
    sampler = Sampler.load(base.folder, draw.scheduler, arguments.precision, base.variant)
    prompts = [prompt.twin for prompt in load_suite("pocket", params.subject).prompts]
    requests = [Request(prompts[at % len(prompts)], at) for at in range(arguments.pictures)]

    def loop() -> list[Any]:
        found = []
        for item in requests:  # what people write
            noise = torch.Generator(device="cpu").manual_seed(item.seed)
            found += sampler.pipe(
                item.prompt,
                num_inference_steps=draw.steps,
                guidance_scale=draw.guidance,
                height=base.size,
                width=base.size,
                generator=noise,
            ).images
        return found

    def batched(wanted: list[Request], batch: int) -> list[Any]:
        return list(sampler.draw(wanted, draw.steps, draw.guidance, base.size, batch))

    def rate(work: Callable[[], list[Any]]) -> float:
        started = time.perf_counter()
        count = len(work())
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return count / (time.perf_counter() - started)

    loop(), batched(requests, arguments.batch)  # warm
    ratios = []
    for number in range(arguments.rounds):
        slow, fast = rate(loop), rate(lambda: batched(requests, arguments.batch))
        ratios.append(fast / slow)
        print(f"round {number + 1}: one at a time {slow:.2f} images/s, batched {fast:.2f}, ratio {fast / slow:.2f}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) on {device}")
    one = [picture.tobytes() for picture in batched(requests, arguments.batch)]
    other = [picture.tobytes() for picture in batched(requests[::-1], arguments.batch // 2 + 1)][::-1]
    same = one == other
    print(f"in another order and batch the pictures are {'the same, bit for bit' if same else 'not the same'}")


if __name__ == "__main__":
    main()
