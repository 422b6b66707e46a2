"""Maps and a budget."""

from __future__ import annotations

import re

from kernels import Kernel
from service import Wandb, completion, usage


def test_a_map_above_the_budget_is_refused_with_the_figures(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    before = len(wandb.api.chats)
    kernel.run("%wbconfig --budget 0.01\nmany = ['word ' * 100] * 1000")
    run = kernel.run("%%wbmap many --max-tokens 10\n{{ text }}")
    assert re.search(r"would cost about \$0\.1\d, and \$0\.01\d? is left of the budget", run.error)
    assert "1,000 rows" in run.error
    assert len(wandb.api.chats) == before
    wandb.api.always = completion("Yes.", counted=usage(100, 3))
    assert kernel.run("%%wbmap many --max-tokens 10 --limit 3\n{{ text }}").ok


def test_a_map_stops_at_the_budget_and_keeps_its_rows(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    before = len(wandb.api.chats)
    # Each call costs more than could be known before: 0.001 USD.
    wandb.api.always = completion("Yes.", counted=usage(998, 4))
    kernel.run("%wbconfig --budget 0.01\nmany = [str(number) for number in range(100)]")
    run = kernel.run("%%wbmap many -o out --max-tokens 5 --concurrency 2\n{{ text }}")
    assert re.search(
        r"The budget is used up after \d+ calls: the next could cost \$0\.\d+, and nothing is left\.", run.error
    )
    assert "Nothing was sent" not in run.error
    assert 9 <= len(wandb.api.chats) - before <= 12
    assert kernel.value("out.reply.notna().sum().item()") == len(wandb.api.chats) - before


def test_compared_models_share_the_budget(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    # Each call can cost 0.0005 USD: one fits, two do not.
    kernel.run("%wbconfig --budget 0.0008")
    run = kernel.run("%%wbchat -m test/small -m test/eyes --max-tokens 1000\nhi")
    assert not wandb.api.chats
    assert "test/eyes: This could cost $0.00061, and $0.00019 is left of the budget. Nothing was sent." in run.error
    assert "The other models could cost $0.00061. A comparison is sent as a whole." in run.error
    assert kernel.run("%wbchat --once --max-tokens 1000 hi").ok, "the reservation has been released"


def test_unused_reservations_of_rows_are_available_to_later_rows(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    wandb.api.always = completion("Yes.", counted=usage(10, 1))
    kernel_with_catalog.run("%wbchat --once hi")
    # Sixteen rows at once could cost 0.0016 USD, all thirty cost 0.0003.
    kernel_with_catalog.run("%wbconfig --budget 0.0012\nmany = [str(number) for number in range(30)]")
    run = kernel_with_catalog.run("%%wbmap many --max-tokens 200\n{{ text }}?")
    assert run.ok, run.error
    assert len(wandb.api.chats) == 31


def test_a_chat_above_the_budget_is_refused(kernel_with_catalog: Kernel, wandb: Wandb) -> None:
    kernel = kernel_with_catalog
    before = len(wandb.api.chats)
    kernel.run("%wbconfig --budget 0.000001")
    run = kernel.run("%wbchat --max-tokens 100 hi")
    assert "is left of the budget. Nothing was sent." in run.error
    run = kernel.run("%%wbchat --max-tokens 100 -m test/small -m test/eyes\nhi")
    assert "test/small: This could cost $0.00016, and " in run.error
    assert len(wandb.api.chats) == before
