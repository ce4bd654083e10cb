"""Processes that are forked, so that none of them waits for MLflow's import, and that end without a word."""

import os
import signal
import sys
import traceback
from collections.abc import Callable


def start(work: Callable[[], None]) -> int:
    """Run ``work`` in a child process and return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        if code:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(code)  # nothing of the parent's is cleaned up twice


def ended(pid: int) -> int:
    """Wait for a child and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_myself() -> None:
    """End this process as `kill -9` does: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
