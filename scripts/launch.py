"""Starts src.launch, for the scripts beside this file, from whatever folder the user is in."""
import runpy
import sys
from pathlib import Path

# Not `python -m`: the user's folder may have another `src`.
sys.path[0] = str(Path(__file__).resolve().parent.parent)
try:
    runpy.run_module('src.launch', run_name='__main__', alter_sys=True)
except ModuleNotFoundError as error:
    print(f'error: {sys.executable} has no {error.name}: pip install -r requirements.txt, or choose another '
          'interpreter with PYTHON=/path/to/python', file=sys.stderr)
    sys.exit(2)
