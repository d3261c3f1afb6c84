"""The configuration for a checkpoint: the named recipe or the one inside it, with the settings of the user."""
from typing import Callable, Dict, Optional, Tuple

from easydict import EasyDict

from ..config import DEFAULT_RECIPE, load_recipe, resolve
from ..models.registry import num_hypotheses
from ..system.command_line import say


def resolve_test_config(recipe_name: Optional[str], carried: Optional[EasyDict], ckpt_path: str,
                        read_overrides: Callable[[EasyDict], Dict[str, str]],
                        tell: Callable[[str], None] = say) -> Tuple[EasyDict, Dict[str, str]]:
    """Return the configuration for a checkpoint, and the overrides in it.

    Args:
        recipe_name: as given, or None.
        carried: the configuration inside the checkpoint, or None.
        read_overrides: recipe -> {config key: text}.
        tell: called with a line that says where the recipe comes from.
    """
    if recipe_name is not None:
        recipe = load_recipe(recipe_name)
        tell(f'recipe: {recipe_name}')
        warn_of_other_flavour(recipe, carried, ckpt_path)
    elif carried is not None:
        recipe = carried
        tell(f'recipe: the one inside {ckpt_path}')
    else:
        recipe = load_recipe(DEFAULT_RECIPE)
        tell(f'recipe: {DEFAULT_RECIPE}, since {ckpt_path} carries none (choose another with --recipe)')
    overrides = read_overrides(recipe)
    return resolve(recipe, overrides), overrides


def warn_of_other_flavour(config: EasyDict, carried: Optional[EasyDict], ckpt_path: str) -> None:
    """Warn if a checkpoint was made with other settings that change how weights work, but not their names."""
    if carried is None:
        return
    for key in ('MODEL.STEM_POOL', 'DATASET.ENCODING', 'DATASET.COLOR_RGB', 'DATASET.NORMALISE_BEFORE_SCALING',
                'DATASET.MEANS', 'DATASET.STDS'):
        section, name = key.split('.')
        if config[section][name] != carried[section][name]:
            say(f'warning: {ckpt_path} was made with {key}={carried[section][name]}, not {config[section][name]}')
    own, its = num_hypotheses(config), num_hypotheses(carried)
    if config.MODEL.NAME == carried.MODEL.NAME and own != its:
        say(f'warning: {ckpt_path} was made for {its} people in a box, not {own}; the codes of two mean others '
            'than those of three and four')
