"""Pages without a test of their own: what they tell a user to type works."""

import pytest
from page_groups import FROM_NOTHING, OTHERS, with_steps


@pytest.mark.long
@pytest.mark.parametrize("page", with_steps(OTHERS))
def test_follow(page, home_at, demo, follow):
    follow(page, home_at("bare" if page in FROM_NOTHING else "model", demo))
