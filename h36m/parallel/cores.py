"""How many cores this process may use."""

import os
from pathlib import Path


def available_cores() -> int:
    """Return how many cores this process may use by its affinity and control group, not how many the machine has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _control_group_limit()
    # Half a core is still one worker; a core and a half are not two.
    return max(1, min(cores, int(limit))) if limit else cores


def _control_group_limit(
    groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")
) -> float | None:
    """Return the cores that Linux's control groups (a container's limit) allow; None where they set no limit.

    Args:
        groups: this process's groups, one line `number:controllers:path` for each.
        mounted: the folder that the groups are mounted at.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return None
    limits = []
    for number, controllers, path in (line.split(":", 2) for line in lines):
        if number == "0":
            hierarchies = (mounted, mounted / "unified")  # version 2, alone or beside version 1
        elif "cpu" in controllers.split(","):
            hierarchies = (mounted / "cpu", mounted / controllers)
        else:
            continue
        for hierarchy in hierarchies:
            group = hierarchy / path.lstrip("/")  # in a container it may not be there, but the container's own is
            limits += [_quota(above) for above in (group, *group.parents) if above.is_relative_to(hierarchy)]
    return min((limit for limit in limits if limit), default=None)


def _quota(group: Path) -> float | None:
    """Return the cores that one control group allows; None where it sets no limit."""
    try:
        if (group / "cpu.max").exists():  # version 2: "max 100000" where there is no limit
            quota, period = (group / "cpu.max").read_text().split()
        else:  # version 1: a quota of -1 where there is no limit
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        limit = int(quota) / int(period)
    except (OSError, ValueError):
        return None
    return limit if limit > 0 else None
