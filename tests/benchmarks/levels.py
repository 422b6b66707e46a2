"""How often the intervals of an evaluation hold and its tests give a false alarm: enumerated, and simulated beside it.

uv run python tests/benchmarks/levels.py
"""

from __future__ import annotations

from functools import cache
from math import comb, sqrt
from random import Random

from wandb_inference_magic.statistics.clusters import difference_interval, sign_flip
from wandb_inference_magic.statistics.intervals import mcnemar, tango, wilson
from wandb_inference_magic.statistics.sequential import p_value

GRID = [one / 200 for one in range(1, 200)]
COARSE = [one / 20 for one in range(1, 20)]


def binomial(k: int, n: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)


@cache
def _wilsons(n: int) -> list[tuple[float, float]]:
    return [wilson(k, n) for k in range(n + 1)]


def wilson_coverage(n: int, p: float) -> float:
    """How often Wilson's interval of n rows holds the true share p."""
    return sum(binomial(k, n, p) for k, (low, high) in enumerate(_wilsons(n)) if low <= p <= high)


@cache
def _tangos(n: int) -> dict[tuple[int, int], tuple[float, float]]:
    found = {(b, c): tango(b, c, n) for b in range(n + 1) for c in range(min(b, n - b) + 1)}
    return found | {(c, b): (-high, -low) for (b, c), (low, high) in found.items()}


def tango_coverage(n: int, p: float, q: float) -> float:
    """How often Tango's interval holds the true difference of two independent candidates with the shares p and q."""
    only_a, only_b, true, total = p * (1 - q), q * (1 - p), p - q, 0.0
    for b in range(n + 1):
        if (of_b := binomial(b, n, only_a)) < 1e-12:
            continue
        given = only_b / (1 - only_a)
        for c in range(n - b + 1):
            low, high = _tangos(n)[b, c]
            if low - 1e-12 <= true <= high + 1e-12:
                total += of_b * binomial(c, n - b, given)
    return total


def mcnemar_alarms(n: int, discordant: float) -> float:
    """How often McNemar's test tells equal candidates apart, if this share of n rows is right for one alone."""
    return sum(binomial(total, n, discordant) * _alarms_of(total) for total in range(n + 1))


@cache
def _alarms_of(total: int) -> float:
    return sum(comb(total, b) for b in range(total + 1) if mcnemar(b, total - b) <= 0.05) / 2**total


def stop_alarms(most: int) -> float:
    """How often the stop tells equal candidates apart within `most` rows that only one has right, seen one by one."""
    alive, stopped = {0: 1.0}, 0.0
    for total in range(1, most + 1):
        following: dict[int, float] = {}
        for b, chance in alive.items():
            for one in (b, b + 1):
                following[one] = following.get(one, 0.0) + chance / 2
        alive = {b: chance for b, chance in following.items() if not _stops(b, total - b)}
        stopped += sum(following.values()) - sum(alive.values())
    return stopped


@cache
def _stops(b: int, c: int) -> bool:
    return p_value([1.0] * b + [-1.0] * c) <= 0.05


# Shares of right samples of a row, as Beta distributions of A and B: samples of a row are nearly the same.
EQUAL = (0.3, 0.3), (0.3, 0.3)
SHAPES = {"equal": EQUAL, "25 points apart": ((0.9, 0.3), (0.3, 0.3)), "66 points apart": ((3, 0.3), (0.3, 0.9))}


def clustered_rows(
    random: Random, n: int, samples: int, shapes: tuple[tuple[float, float], ...] = EQUAL
) -> list[float]:
    """Differences of candidates whose samples of a row are nearly the same."""
    rows = []
    for _ in range(n):
        shares = [random.betavariate(*one) for one in shapes]
        a, b = (sum(random.random() < share for _ in range(samples)) for share in shares)
        rows.append((a - b) / samples)
    return rows


def cluster_figures(n: int, samples: int, times: int) -> dict[str, float]:
    """False alarms with clusters: of the sign flips, of McNemar over all samples as if they were rows, of the stop."""
    random, found = Random(7), {"sign flips": 0, "McNemar over samples": 0, "stop": 0}
    for _ in range(times):
        rows = clustered_rows(random, n, samples)
        found["sign flips"] += sign_flip(rows, samples) <= 0.05
        wins, losses = (round(sum(max(sign * one, 0) for one in rows) * samples) for sign in (1, -1))
        found["McNemar over samples"] += mcnemar(wins, losses) <= 0.05
        found["stop"] += any(p_value(rows[:seen]) <= 0.05 for seen in range(8, n + 1, 8))
    return {name: count / times for name, count in found.items()}


def bootstrap_misses(n: int, samples: int, shapes: tuple[tuple[float, float], ...], times: int) -> float:
    """How often the bootstrap's interval leaves out the true difference."""
    random, missed = Random(7), 0
    a, b = (one / (one + other) for one, other in shapes)
    for _ in range(times):
        low, high = difference_interval(clustered_rows(random, n, samples, shapes))
        missed += not low <= a - b <= high
    return missed / times


def simulated(chance: float, times: int) -> float:
    """Two standard errors of a simulation of this chance."""
    return 2 * sqrt(max(chance * (1 - chance), 1e-9) / times)


def main() -> None:
    print("| coverage | p = 0.02 | p = 0.5 | p = 0.98 | mean over p |\n|---|---|---|---|---|")
    for n in (10, 40, 200):
        figures = [wilson_coverage(n, p) for p in (0.02, 0.5, 0.98)]
        mean = sum(wilson_coverage(n, p) for p in GRID) / len(GRID)
        print(f"| Wilson, n = {n} | {' | '.join(f'{one:.2%}' for one in (*figures, mean))} |")
    for n in (10, 40, 200):
        figures = [tango_coverage(n, p, p) for p in (0.02, 0.5, 0.98)]
        grid = COARSE if n < 200 else COARSE[::3]
        mean = sum(tango_coverage(n, p, q) for p in grid for q in grid) / len(grid) ** 2
        print(f"| Tango, n = {n} | {' | '.join(f'{one:.2%}' for one in (*figures, mean))} |")
    worst = max(mcnemar_alarms(n, share) for n in (10, 40, 200) for share in COARSE)
    print(f"\nMcNemar, most false alarms: {worst:.2%}")
    print("The stop, false alarms:", {most: f"{stop_alarms(most):.2%}" for most in (40, 200, 1000)})
    for n, samples in ((10, 3), (40, 5)):
        print(f"Clusters, {n} rows of {samples}:", cluster_figures(n, samples, 1000))
        for name, shapes in SHAPES.items():
            print(f"  bootstrap misses, {name}: {bootstrap_misses(n, samples, shapes, 4000):.1%}")


if __name__ == "__main__":
    main()
