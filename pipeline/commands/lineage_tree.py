"""From a record to a tree that a person reads, from the model down to each photo."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from pipeline.errors import counted
from pipeline.lineage.links import Link, verdict


def lineage_tree(title: str, lineage: dict[str, Any], facts: dict[str, Any]) -> Tree:
    """The chain as a tree; `facts` are what the registry adds (version, run, aliases)."""
    tree = Tree(f"[bold]{escape(title)}[/bold]")
    for name, value in facts.items():
        tree.add(f"{name}: {escape(str(value))}")
    tree.add(f"content digest: {lineage['weights']['content_digest']}")
    if chosen := lineage.get("selection"):
        steps = ", ".join(map(str, chosen["candidates"])) or "no others"
        suite = f"{chosen['suite']['name']} ({chosen['suite']['digest'][:16]})"
        tree.add(f"selected step {chosen['step']} (candidates: {steps}) on suite {suite}")
    _training(tree, lineage)
    _base(tree, lineage)
    _photos(tree, lineage["photos"])
    _code(tree, lineage["code"])
    _environment(tree, lineage["environment"])
    return tree


def links_tree(links: Sequence[Link], title: str | None = None) -> Tree:
    """How every link stands, what is broken or unknown in colour, and on top the verdict, or a title instead of it."""
    colors = {"verified": "green", "broken": "red", "unknown": "yellow"}
    whole = verdict(links)
    counts = ", ".join(f"{sum(link.state == state for link in links)} {state}" for state in colors)
    tree = Tree(title or f"[bold {colors[whole]}]the chain is {whole}[/] ({counts})")
    for link in links:
        tree.add(f"[{colors[link.state]}]{link.state}[/] {escape(link.name)}: {escape(link.detail)}")
    return tree


def _training(tree: Tree, lineage: dict[str, Any]) -> None:
    run = lineage["training"]
    devices = [run["device"], *(later.get("device") for later in run.get("resumed_with", []))]
    on = ", then ".join(dict.fromkeys(device for device in devices if device))  # older records name one
    branch = tree.add(f"training run {run['run_id']}: {run['steps']} steps on {on}")
    params = branch.add(f"parameters (digest {lineage['params_digest'][:16]})")
    for section, values in lineage["params"].items():
        params.add(f"{section}: {escape(_inline(values))}")


def _base(tree: Tree, lineage: dict[str, Any]) -> None:
    base, prior = lineage["base"], lineage["prior"]
    at = f" at {base['revision']}" if base["revision"] else ""
    branch = tree.add(f"base model {escape(base['model'])}{escape(at)}")
    branch.add(f"digest: {base['digest']}")
    branch.add(f"licence: {base['license'] or 'unknown; see where the base comes from'}")
    images = prior["images"]
    prompts = ", ".join(f"'{escape(prompt)}'" for prompt in prior["prompts"])
    branch.add(f"{images} class images of {prompts}" if images else "no class images")
    if places := prior.get("places"):
        branch.add(
            f"{counted(places, 'picture')} of empty places, drawn by the base, that the photos' subject was put in"
        )


def _photos(tree: Tree, photos: dict[str, Any]) -> None:
    files = photos["files"]
    branch = tree.add(f"{counted(len(files), 'photo')} in {photos['path']}")
    if photos["tracked_md5"] is None:
        branch.add("not tracked by DVC: the photos themselves cannot be brought back")
    elif photos["tracked_md5"] == photos["dvc_md5"]:
        branch.add(f"tracked by DVC as {photos['dvc_md5']}")
    else:
        branch.add(f"data.dvc says {photos['tracked_md5']}, but the folder was {photos['dvc_md5']}")
    for photo in files:
        held = "" if photo["split"] == "train" else ", held out"
        leaf = branch.add(f"{escape(photo['source'])} (scene {escape(photo['scene'])}{held})")
        leaf.add(f'"{escape(photo["caption"])}"')
        if (given := photo.get("given_caption")) is not None:
            leaf.add(f'its token by rule; written was "{escape(given)}"' if given else "by rule; it had no caption")
        if by := photo.get("caption_by"):
            leaf.add(f"caption by {escape(by)}")
        if by := photo.get("mask_by"):
            leaf.add(f"mask by {escape(by)}")
        leaf.add(f"sha256 {photo['sha256']}")


def _code(tree: Tree, code: dict[str, Any]) -> None:
    if code["commit"] is None:
        tree.add(f"code: unknown ({escape(code.get('unknown', 'no git commit'))})")
        return
    branch = tree.add(f"code: git commit {code['commit']}")
    if code["clean"] is None:
        branch.add(f"whether anything was changed is unknown: {escape(code.get('unknown', 'git could not tell'))}")
    elif code["patch"]:
        count = len(code["patch"].splitlines())
        what = "only parameters or photos differ from it" if code["clean"] else "uncommitted changes"
        leaf = branch.add(f"{what}: a patch of {counted(count, 'line')}, kept in the record")
        for kind, key in (("changed", "changed"), ("not tracked by git", "new")):
            if code.get(key):
                leaf.add(f"{kind}: {escape(', '.join(code[key]))}")
    elif not code.get("left_out"):
        branch.add("nothing was changed")
    if code.get("left_out"):
        branch.add(f"too large for the record, so not kept: {escape(', '.join(code['left_out']))}")


def _environment(tree: Tree, environment: dict[str, Any]) -> None:
    hardware = environment["hardware"]
    where = hardware.get("gpu") or f"{hardware['cores']} cores of {hardware['cpu']}"
    branch = tree.add(f"environment: Python {environment['python']}, {escape(where)}")
    branch.add(", ".join(f"{name} {found}" for name, found in environment["libraries"].items()))


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} ({_inline(item)})" if isinstance(item, dict) else f"{key} {_inline(item)}"
            for key, item in value.items()
        )
    if isinstance(value, list):
        return " ".join(_inline(item) for item in value)
    return "none" if value is None else str(value)
