"""job.json: how a job was started, with which versions, and how it ended."""
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from importlib import metadata
from typing import Any, Dict, Optional, Sequence

from ..system.files import write_bytes
from .jobs import Job
from .settings import VARIABLES

PACKAGES = ('mindspore', 'numpy', 'opencv-python-headless', 'pycocotools', 'safetensors')
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def describe_job(job: Job, typed: Sequence[str]) -> Dict[str, Any]:
    """Return the record of a job at its start.

    Args:
        typed: the launch script and its arguments.
    """
    return {
        'typed': shlex.join(typed), 'folder': os.getcwd(), 'command': shlex.join(job.command),
        'environment': {name: os.environ[name] for name in (*VARIABLES, 'POSE_PLUGINS') if os.environ.get(name)},
        'host': socket.gethostname(), 'launcher': os.getpid(),
        'ranks': [{'rank': rank.number, 'device': rank.device, 'log': job.files.ranks[rank.number].path}
                  for rank in job.ranks],
        'versions': versions(), 'started': _now(), 'ended': None, 'status': None}


def versions() -> Dict[str, Optional[str]]:
    """Return {what: version} of Python, of the main packages, and the commit of this one; None if unknown."""
    found: Dict[str, Optional[str]] = {'python': sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return {**found, 'commit': _commit()}


def _commit() -> Optional[str]:
    """Return the commit of the checkout, with -dirty if files differ from it; None if git does not know it."""
    try:
        done = subprocess.run(['git', '-C', ROOT, 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _now() -> str:
    return time.strftime('%Y-%m-%dT%H:%M:%S%z')


def write_record(job: Job, record: Dict[str, Any]) -> None:
    """Write the record into the folder of the job; an evaluation has none."""
    if job.files.ckpt_dir:
        write_bytes(job.files.record(job.server), (json.dumps(record, indent=2) + '\n').encode('ascii'))


def close_record(job: Job, record: Dict[str, Any], status: int) -> None:
    """Add to the record when the job ended, and with which status."""
    write_record(job, {**record, 'ended': _now(), 'status': status})
