"""Measure what a person feels and what the kernel spends, each figure against a reference in the same run.

uv run python tests/benchmarks/run.py            # the whole table, about fifteen minutes
uv run python tests/benchmarks/run.py --short    # once each, and small: only to see that it runs
uv run python tests/benchmarks/run.py --only memory
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from figures import Figure, table
from kernel_runs import in_kernels
from service import Service


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--short", action="store_true")
    options.add_argument("--only", default="", help="only the rows that hold this word")
    told = options.parse_args()
    figures: list[Figure] = []
    with Service().running() as service:
        for measure in in_kernels(service, short=told.short):
            if told.only in measure.__code__.co_names[0]:
                figures.append(measure())
                print(figures[-1].what, figures[-1].result, sep=": ", file=sys.stderr)
    print(table(figures))


if __name__ == "__main__":
    main()
