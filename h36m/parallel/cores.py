"""How many cores this process may use."""

import contextlib
import os
from pathlib import Path


def available_cores() -> int:
    """Return how many cores this process may use by its affinity and control group, not how many the machine has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Half a core is still one worker; a core and a half are not two.
    return max(1, int(min([cores, *control_group_limits()])))


def control_group_limits(
    groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> list[float]:
    """Return the cores that each control group of Linux (a container, a Slurm job) allows, where it sets a limit.

    Args:
        groups: tells this process's group, `0::path` in version 2.
        mounted: the folder that the groups are mounted at.
    """
    limits = []
    with contextlib.suppress(OSError):  # another system
        group = mounted / groups.read_text().partition("0::/")[2].strip()
        for each in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # "max 100000" where there is no limit
                quota, period = (each / "cpu.max").read_text().split()
                limits.append(int(quota) / int(period))
    return limits
