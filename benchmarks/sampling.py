"""How much faster are pictures drawn in batches than one at a time? `python -m benchmarks.sampling`.

Draws prompts of the suite `pocket` by the embedded base, in turns: one request a call, and all in one call with
`sample.draw.batch`. Prints images a second of each round, the median of the ratios, and whether the pictures are the
same bit for bit (on the CPU they must be). On a GPU give `--base` a larger model.
"""

import argparse
import statistics
import time

import torch

from pipeline.base.resolve import resolve_base
from pipeline.environment import prepare_environment
from pipeline.evaluation.suite import load_suite
from pipeline.params import load_params
from pipeline.profiles import find_profile
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

    def rate(batch: int) -> tuple[float, list[bytes]]:
        started = time.perf_counter()
        if batch == 1:  # the loop that people write: a call for each picture
            found = [one for item in requests for one in sampler.draw([item], draw.steps, draw.guidance, base.size, 1)]
        else:
            found = list(sampler.draw(requests, draw.steps, draw.guidance, base.size, batch))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return len(found) / (time.perf_counter() - started), [picture.tobytes() for picture in found]

    rate(1), rate(arguments.batch)  # warm
    ratios, same = [], True
    for number in range(arguments.rounds):
        (slow, ones), (fast, together) = rate(1), rate(arguments.batch)
        ratios.append(fast / slow)
        same &= ones == together
        print(f"round {number + 1}: one at a time {slow:.2f} images/s, batched {fast:.2f}, ratio {fast / slow:.2f}")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) on {device}")
    print(f"the pictures are {'the same, bit for bit' if same else 'not the same'}")


if __name__ == "__main__":
    main()
