"""From `sample.control` in params.yaml to the adapter that drawings follow shapes by, and to what measures that."""

from pathlib import Path

from pipeline.base.control_adapter import ControlAdapter, fit_problem, resolve_control
from pipeline.base.resolve import BaseNotFound, beside_base
from pipeline.files import read_json
from pipeline.params import Base, SampleControl

KEY = "sample.control"


def find_adapter(wanted: SampleControl | None, base: Base) -> ControlAdapter | None:
    """The adapter of `sample.control`; None where that is null.

    Raises:
        BaseNotFound: it is not available or no control adapter, or nothing measures what follows silhouettes.
    """
    if wanted is None:
        return None
    find_outliner(wanted, base)
    return resolve_control(wanted.adapter, wanted.revision, base.model, f"{KEY}.adapter")


def find_outliner(wanted: SampleControl, base: Base) -> Path | None:
    """The folder of what finds outlines in drawings, beside the embedded base; None: edges need none.

    Raises:
        BaseNotFound: the base brings none.
    """
    if wanted.kind == "edges":
        return None
    return beside_base(f"{KEY}.kind", base.model, "outline", "outline network", "edges", "silhouette")


def check_adapter_fits(adapter: ControlAdapter, base: Path) -> None:
    """Refuse an adapter that was made for another base than the pipeline in the folder `base`.

    Raises:
        BaseNotFound: by the configurations it was, or they lack what tells.
    """
    vae = read_json(base / "vae" / "config.json")
    try:
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        wrong = fit_problem(read_json(adapter.folder / "config.json"), read_json(base / "unet" / "config.json"), factor)
    except (KeyError, TypeError) as error:
        wrong = f"its configuration, or that of the base, does not say what it was made for ({error})"
    if wrong:
        raise BaseNotFound(f"{KEY}.adapter '{adapter.name}': {wrong}")
