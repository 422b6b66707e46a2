"""How the tests are shared out to processes."""

import pytest

pytestmark = pytest.mark.xdist_group("groups")


def test_a_group_is_kept_to_one_process(request: pytest.FixtureRequest) -> None:
    """Where it is not, as many servers and browsers run at once as there are processes, and nothing else is amiss."""
    has_processes = hasattr(request.config, "workerinput")
    assert request.node.nodeid.endswith("@groups") == has_processes
