"""What lower layers need from upper ones, handed to them once, when the package is imported."""

from __future__ import annotations

from nanospan.monitor import PerformanceMonitor
from nanospan.recorder import make_process_recorder_by

make_process_recorder_by(PerformanceMonitor)
