"""Random numbers by address (seed, step, stream, position), so that a resumed run draws those of an unbroken one."""

import hashlib
from functools import lru_cache

import numpy as np
import torch


def seed_at(seed: int, *address: int | str) -> int:
    """A 63-bit seed for an address such as (step, stream, position)."""
    text = "/".join(str(part) for part in (seed, *address))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_at(seed: int, *address: int | str) -> torch.Generator:
    """A generator on the CPU, so that every device sees the same numbers."""
    return torch.Generator("cpu").manual_seed(seed_at(seed, *address))


@lru_cache(maxsize=16)
def order_at(seed: int, epoch: int, stream: str, total: int) -> np.ndarray:
    """A permutation of 0..total-1 for one epoch."""
    return np.random.default_rng(seed_at(seed, epoch, stream, "order")).permutation(total)


def index_at(seed: int, position: int, stream: str, total: int) -> int:
    """The index of the sample at `position` (counted from the start of training) in shuffled epochs of `total`."""
    return int(order_at(seed, position // total, stream, total)[position % total])
