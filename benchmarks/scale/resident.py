"""Memory of a process, from the kernel."""

from __future__ import annotations

from pathlib import Path


def peak_mib(pid: int | str = "self") -> float:
    """Peak resident memory of a program; ``getrusage`` would count what started it."""
    return _mib(pid, "VmHWM")


def file_mib() -> float:
    """Resident pages of this program's mapped files: the system takes them back when it likes."""
    return _mib("self", "RssFile")


def _mib(pid: int | str, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1024
