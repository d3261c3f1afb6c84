"""python -m src.launch SCRIPT WORD…: what scripts/SCRIPT.sh does."""
from ..system.command_line import run_command
from .scripts import main

if __name__ == '__main__':
    run_command(main)
