"""Threads that give way to others, so that what somebody waits for comes first."""

import os
import sys
import threading
from contextlib import suppress


def stand_back(niceness: int) -> None:
    """Let this thread, and those that it starts from now on, give way to others of the machine; for good.

    On Linux niceness is a thread's own. Elsewhere on Unix it would be that of the whole process, and nothing is done.

    Args:
        niceness: steps that it gives way by, up to 19. Where a core is short, a thread of 5 steps gets a quarter of
            it beside one of none, and a thread of 10 a tenth.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
