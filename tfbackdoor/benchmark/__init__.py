"""The grid: attacks x defenses x seeds x shares of clean data in one table.

Resumable, and shared by any number of processes.
"""

from tfbackdoor.benchmark.experiments import Benchmark
from tfbackdoor.benchmark.grid import plan_grid
from tfbackdoor.benchmark.grid import run_grid
from tfbackdoor.benchmark.plots import plot_shares

__all__ = [
    "Benchmark",
    "plan_grid",
    "plot_shares",
    "run_grid",
]
