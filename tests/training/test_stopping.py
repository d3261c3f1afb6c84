"""The cases of stopping_cases.py, in a pytest process of their own.

They send signals to themselves. In the process of all other tests, where MindSpore and the runtimes have put handlers,
threads and loader processes, SIGTERM has ended the whole run.
"""
import signal
import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).parent.with_name('stopping_cases.py')


def test_stopping_cases():
    # SIGHUP is ignored under nohup, which would be inherited.
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(CASES)],
                          capture_output=True, text=True, timeout=300,
                          preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    assert done.returncode == 0, done.stdout + done.stderr
