"""`dreamtrace profile`: presets of params.yaml."""

from pathlib import Path

from pipeline.layout import PARAMS


def show_all() -> None:
    """The presets and what each is for."""
    from pipeline.runs.profiles import profiles

    for profile in profiles():
        print(f"{profile.name:12} {profile.purpose}")


def show(name: str) -> None:
    """Print a preset."""
    from pipeline.runs.profiles import find_profile

    print(find_profile(name).path.read_text(encoding="utf-8"), end="")


def use(name: str) -> None:
    """Put a preset in place as params.yaml, with the subject of the present one, which is kept beside it."""
    from pipeline.runs.dvc_locks import only_change
    from pipeline.runs.profiles import use_profile

    with only_change(Path(), "dreamtrace profile use"):
        used = use_profile(name, PARAMS)
    print(
        f"{PARAMS} is now the profile {name}"
        + (f" with your subject {used.subject}" if used.subject else "")
        + (f"; the one before is {used.kept}" if used.kept else "")
    )
    if used.unread:
        print(f"the subject of the one before was not carried over: {used.unread}")
