"""python -m src.launch SCRIPT WORD…: what scripts/SCRIPT.sh does, which calls this file by its path."""
import runpy
import sys
from pathlib import Path

if __name__ == '__main__' and not __package__:
    # By its path from any folder: there may be another `src`, which `python -m` would take. This package it is.
    package = Path(__file__).resolve().parent.parent
    sys.path[0] = str(package.parent)
    runpy.run_module(f'{package.name}.launch', run_name='__main__', alter_sys=True)
elif __name__ == '__main__':
    try:
        from ..system.command_line import run_command
        from .scripts import main
    except ModuleNotFoundError as error:
        print(f'error: {sys.executable} has no {error.name}: pip install -r requirements.txt, or choose another '
              'interpreter with PYTHON=/path/to/python', file=sys.stderr)
        sys.exit(2)
    run_command(main)
