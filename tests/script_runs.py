"""Running the root scripts inside the test's own process, as the command line would."""
import runpy
import sys
from pathlib import Path
from unittest import mock

from src.config import recipe_names

ROOT = Path(__file__).resolve().parent.parent
SIMPLE_POSE, MSPN = (next(name for name in recipe_names() if name.startswith(f'{family}_small_synthetic'))
                     for family in ('simplepose', 'mspn'))
# A network of two convolutions, a plugin, which compiles at once; and what trains it, on crops as Simple Baselines'.
TOY_POSE = ROOT / 'tests' / 'toys' / 'toy_pose'
TOY = f'--plugin {TOY_POSE} --input_shape 64 64 --set MODEL.NAME=toy TOY.HEATMAP_SIZE=[16,16]'
# Widths that make both small recipes a matter of seconds.
TINY = {
    SIMPLE_POSE: '--set MODEL.STEM_CHANNELS=8 POSE_RESNET.NUM_DECONV_FILTERS=[16,16,16]',
    MSPN: '--set MODEL.STEM_CHANNELS=8 MSPN.BLOCKS=[1,1,1,1] MSPN.PLANES=[4,8,16,32] MSPN.UPSAMPLE_CHANNEL_NUM=16',
}


def run_script(script: str, arguments: str) -> int:
    """Run a root script such as `train` with the words of `arguments` and return its exit status."""
    with mock.patch.object(sys, 'argv', [f'{script}.py', *arguments.split()]):
        try:
            runpy.run_path(str(ROOT / f'{script}.py'), run_name='__main__')
        except SystemExit as end:
            return end.code
    return 0
