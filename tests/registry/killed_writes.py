"""A process that dies just before a write to MLflow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest


class Killed(BaseException):
    """The process dies before a write."""


@contextmanager
def killed_before_write(monkeypatch: pytest.MonkeyPatch, number: int, writes: Sequence[str]) -> Iterator[None]:
    """Die before the `number`th call (from 1) of the methods `writes` of MlflowClient; fails if there is none."""
    from mlflow import MlflowClient

    left = [number]

    def counted(name: str):
        real = getattr(MlflowClient, name)

        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for name in writes:
            patch.setattr(MlflowClient, name, counted(name))
        yield
