"""python -m src.synthetic --root DIR: see `writing.py`."""
from ..system.command_line import run_command
from .writing import main

run_command(main)
