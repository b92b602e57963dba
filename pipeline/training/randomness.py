"""Random numbers with an address: a run that goes on from a checkpoint draws what an unbroken run would have drawn."""

import hashlib
from functools import lru_cache

import numpy as np
import torch


def seed_at(seed: int, *address: int | str) -> int:
    """A 63-bit seed for an address such as (step, stream, sample)."""
    text = "/".join(str(part) for part in (seed, *address))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_at(seed: int, *address: int | str) -> torch.Generator:
    """A generator on the CPU, so that every device sees the same numbers."""
    return torch.Generator("cpu").manual_seed(seed_at(seed, *address))


@lru_cache(maxsize=16)
def order_at(seed: int, epoch: int, stream: str, total: int) -> np.ndarray:
    """A permutation of 0..total-1 for one pass over the data."""
    return np.random.default_rng(seed_at(seed, epoch, stream, "order")).permutation(total)


def index_at(seed: int, position: int, stream: str, total: int) -> int:
    """The sample at `position` when passes over `total` samples follow each other."""
    return int(order_at(seed, position // total, stream, total)[position % total])
