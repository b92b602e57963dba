"""Threads that share the cores: what they compute side by side is too small for all cores at once."""

from concurrent.futures import ThreadPoolExecutor


def sharing_cores(workers: int, name: str) -> ThreadPoolExecutor:
    """So many threads; torch's layers in each have an equal share of the cores that torch has now, at least one."""
    import torch

    share = max(1, torch.get_num_threads() // workers)
    return ThreadPoolExecutor(workers, name, torch.set_num_threads, (share,))
