"""`dreamtrace params check`: every mistake in params.yaml at once."""

from pipeline.layout import PARAMS


def check() -> None:
    """Check params.yaml, all of it at once."""
    from pipeline.params import load_params

    params = load_params(PARAMS)
    print(f"{PARAMS} is fine: {params.subject.token} on {params.base.model}, {params.train.steps} steps")
