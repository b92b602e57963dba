"""Another recipe for a registered version, by hand; what it names is looked at before and after it is set."""

from pathlib import Path

from pipeline.registry.aliases import champion_of
from pipeline.registry.lookup import find_record
from pipeline.registry.publication import publish_to
from pipeline.registry.recipe_models import pinned
from pipeline.registry.recipes import set_recipe
from pipeline.registry.store import connect
from pipeline.sampling.recipe import NAMES_A_FOLDER, Recipe, RecipeError, without_folders


def change_recipe(
    workspace: Path,
    name: str,
    version: str,
    recipe: Recipe,
    by: str,
    why: str = "",
    written: bool = False,
    seen: str = "",
) -> Recipe:
    """Make a recipe the one that version number `version` of the model `name` is drawn with.

    Args:
        written: somebody wrote it for this version: a key that changes none of its pictures is refused.
        seen: digest of the recipe that whoever sets this one takes for the present one; '': of whatever is there.

    Returns:
        The recipe as it is kept: other models as numbered versions with their digests.

    Raises:
        RecipeError: it cannot be used with this version (see `pinned`), names a folder of this machine though the
            version is a champion that is published, or draws with a model that was withdrawn or deleted meanwhile.
        RecipeChanged: another recipe than the one that was `seen` is the present one.
        Busy: a promotion or a withdrawal of the model is under way.
    """
    client = connect(workspace)
    if recipe.changed:
        with find_record(workspace, f"models:/{name}/{version}") as found:
            recipe = pinned(workspace, recipe, found.lineage, found, written)

    def refuse_folders() -> None:
        if without_folders(recipe.changed) == recipe.changed or publish_to(workspace) is None:
            return
        if champion_of(client, name) == version:
            raise RecipeError(
                f"the champion {name} version {version} is published (publish.to), and this recipe {NAMES_A_FOLDER}"
            )

    set_recipe(client, name, version, recipe, by, why, seen=seen, locked=refuse_folders)
    return recipe
