"""python -m src.synthetic --root DIR: see `writing.py`."""
from ..system.command_line import run_command
from .writing import main

if __name__ == '__main__':
    run_command(main)
