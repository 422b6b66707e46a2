"""How the tests are distributed to processes."""

import pytest

pytestmark = pytest.mark.xdist_group("groups")


def test_a_group_runs_in_one_process(request: pytest.FixtureRequest) -> None:
    """Otherwise as many servers and browsers run at once as there are processes, and no other test fails."""
    has_processes = hasattr(request.config, "workerinput")
    assert request.node.nodeid.endswith("@groups") == has_processes
