"""Pages one after another in one session: no choice on one breaks or changes another."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.workspace import Workspace
from ui.toolkit.controls import SHARED
from ui.toolkit.router import PAGES

Open = Callable[..., AppTest]
COSTLY = {"All heads", "Compare"}
"""Switches that only add another computation."""


FOLLOWING = {"trained", "detector"}
"""Controls that take over the carried detector."""


def change_all(app: AppTest) -> None:
    """Every control of the page away from its default."""
    for box in app.main.selectbox:
        box.set_value(next((option for option in box.options if option != box.value), box.value))
    for field in app.main.multiselect:
        field.set_value(list(field.options[-1:]))
    for slider in app.main.slider:
        if not slider.disabled:
            slider.set_value(slider.max if slider.value != slider.max else slider.min)
    for switch in app.main.toggle:
        if not switch.disabled and switch.label not in COSTLY:
            switch.set_value(not switch.value)
    app.run()


def go_on(app: AppTest, first: str, second: str) -> None:
    """From the first page, all of whose controls were changed, to the second."""
    assert not app.exception and not any("could not be" in error.value for error in app.error)
    app.query_params.clear()
    app.switch_page(f"pages/{second}.py").run()
    assert not app.exception
    assert [error.value for error in app.error] == [], f"{first}, then {second}"
    # values at their default stay out of the link: nothing came along but what means the same
    assert set(app.query_params) <= SHARED | FOLLOWING | {"workspace"}, f"{first}, then {second}"


def test_a_walk_through_all_pages_breaks_and_changes_none(
    open_app: Open, searched: Workspace
) -> None:
    stems = list(PAGES)
    app = open_app(searched.path, stems[0])
    for first, second in zip(stems, [*stems[1:], stems[0]], strict=True):
        change_all(app)
        go_on(app, first, second)


@pytest.mark.slow(
    "tests/pages/test_order.py::test_a_walk_through_all_pages_breaks_and_changes_none"
)
@pytest.mark.parametrize("first", PAGES)
def test_no_order_of_two_pages_breaks_or_changes_the_second(
    open_app: Open, searched: Workspace, first: str
) -> None:
    app = open_app(searched.path, first)
    change_all(app)
    for second in [stem for stem in PAGES if stem != first]:
        go_on(app, first, second)


def test_what_means_the_same_comes_along(open_app: Open, searched: Workspace) -> None:
    names = searched.domains.generators
    app = open_app(searched.path, "transfer", train=names[2])
    app.query_params.clear()
    app.switch_page("pages/heads.py").run()
    assert app.selectbox(key="train").value == names[2]
    app.switch_page("pages/train.py").run()
    assert app.multiselect(key="trained").value == [names[2]]
    assert app.query_params["trained"] == names[2], "and the link says so"
    app.switch_page("pages/inspect.py").run()
    assert app.selectbox(key="detector").value == names[2]
    app.selectbox(key="detector").set_value(names[1]).run()
    app.switch_page("pages/heads.py").run()
    assert app.selectbox(key="train").value == names[1]


def test_a_fresh_visit_carries_nothing(open_app: Open, searched: Workspace) -> None:
    app = open_app(searched.path, "transfer")
    app.switch_page("pages/inspect.py").run()
    assert "detector" not in app.query_params
