"""What the benchmarks share: help, description of the machine, medians over rounds, the table."""
import argparse
import os
import platform
import statistics
import time
from typing import Callable, List, Sequence

from src.system.device import installed_mindspore_version


def parser_of(docstring: str) -> argparse.ArgumentParser:
    """Return a parser whose help is the docstring of the program."""
    return argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter)


def machine() -> str:
    """Return processor, cores, and versions in one line."""
    processor = platform.processor() or platform.machine()
    if os.path.exists('/proc/cpuinfo'):
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            facts = dict(map(str.strip, line.split(':', 1)) for line in file if ':' in line)
        # Names such as "AMD EPYC" belong to several generations of processors.
        processor = (f'{facts.get("model name", processor)} (family {facts.get("cpu family", "?")}, model '
                     f'{facts.get("model", "?")})')
    return (f'{processor}, {os.cpu_count()} cores, Python {platform.python_version()}, '
            f'MindSpore {installed_mindspore_version()}')


def median_seconds(work: Callable[[], object], rounds: int, *, warm_up: int = 1) -> float:
    """Return the median wall time of `work` over `rounds` calls after `warm_up` calls."""
    for _ in range(warm_up):
        work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def use_one_core() -> None:
    """Bind this process and its later children to one core."""
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def print_table(header: Sequence[str], rows: List[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print('| ' + ' | '.join(header) + ' |')
    print('|' + '---|' * len(header))
    for row in rows:
        print('| ' + ' | '.join(map(str, row)) + ' |')
