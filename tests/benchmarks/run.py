"""Measure what a person feels and what the kernel spends, each figure with a reference in the same run.

uv run python tests/benchmarks/run.py            # the whole table, about fifteen minutes
uv run python tests/benchmarks/run.py --short    # once each, and small: only to see that it runs
uv run python tests/benchmarks/run.py --only memory
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from browser_run import dropdown
from figures import Figure, table
from job_run import figures as job_figures
from kernel_runs import in_kernels
from map_run import figure as map_figure
from service import Service


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--short", action="store_true")
    options.add_argument("--only", default="", help="only the measures whose name holds this word")
    options.add_argument("--skip", action="append", default=[], help="not the measure of this name")
    arguments = options.parse_args()
    figures: list[Figure] = []
    with Service().running() as service:
        for name, measure in measures(service, short=arguments.short):
            if arguments.only in name and name not in arguments.skip:
                taken = measure()
                figures.extend([taken] if isinstance(taken, Figure) else taken)
                print(figures[-1].what, figures[-1].result, sep=": ", file=sys.stderr)
    print(table(figures))


def measures(service: Service, *, short: bool) -> Iterator[tuple[str, Callable[[], Figure | list[Figure]]]]:
    """Yield each measure with its name, not yet taken."""
    yield from in_kernels(service, short=short)
    yield "dropdown", lambda: dropdown(1 if short else 20, 100 if short else 1000)
    yield "job", lambda: job_figures(2000 if short else 10_000, quick=short)
    yield "map", lambda: map_figure(60 if short else 5000, 1 if short else 3)


if __name__ == "__main__":
    main()
