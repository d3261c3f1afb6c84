"""The cases of stopping_cases.py, in a pytest process of their own.

They send signals to themselves. In the process of all other tests, where MindSpore and the runtimes have put handlers,
threads and loader processes, SIGTERM has ended the whole run.
"""
import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).parent.with_name('stopping_cases.py')


def test_stopping_cases():
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(CASES)],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
