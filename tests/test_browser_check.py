"""The check of the built pages in a browser."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs/browser_check.py"

PAGE = """<!DOCTYPE html><meta name="viewport" content="width=device-width">
<body style="margin: 0; background: #fff; color: #000"><h1>Title</h1>{}</body>"""

RIGHT = (
    "<p>words</p>"
    "<div style='overflow-x: auto'><div style='width: 3000px'>scrolls</div></div>"
)
WRONG = {
    "over the edge": "<p style='width: 700px'>wide on a phone</p>",
    "cut": "<p style='overflow: hidden; width: 50px'>Incomprehensibilities</p>",
    "sticks out of its box": "<p style='width: 60px'>Incomprehensibilities</p>",
    "contrast of 1.1": "<p style='color: #f5f5f5'>pale</p>",
    "the page is 2000 pixels wide": "<div style='width: 2000px'>wide</div>",
}


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("browser_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def program(check):
    return check.find_browser() or pytest.skip("needs Chromium or Chrome")


@pytest.fixture(scope="module")
def browser(check, program):
    with check.running(program) as browser:
        yield browser


@pytest.fixture
def faults(check, browser, tmp_path):
    """Find the faults of a page with the given body."""

    def find(body):
        (tmp_path / "page.html").write_text(PAGE.format(body))
        return check.faults_of_page(browser, tmp_path / "page.html")

    return find


def test_a_page_with_a_wide_box_that_scrolls_has_no_faults(faults):
    assert faults(RIGHT) == {}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_cut_too_wide_or_too_pale_is_found(faults, fault):
    assert any(found.startswith(fault) for found in faults(WRONG[fault]))


def test_a_fault_is_listed_with_the_windows_that_show_it(faults):
    found = faults(WRONG["over the edge"])
    wide = next(fault for fault in found if fault.startswith("over the edge"))
    assert found[wide] == ["390 light", "390 dark"]


def test_browsers_that_share_the_pages_list_the_faults_of_each(
    check, program, tmp_path
):
    bodies = [*WRONG.values(), RIGHT, WRONG["cut"]]
    pages = [tmp_path / f"{number}.html" for number in range(len(bodies))]
    for page, body in zip(pages, bodies, strict=True):
        page.write_text(PAGE.format(body))
    found = check.faults_of_pages(program, pages, n_browsers=2)
    for fault, faults in zip(WRONG, found, strict=False):
        assert any(each.startswith(fault) for each in faults)
    assert [len(faults) for faults in found[-2:]] == [0, 1]


def test_a_page_that_scrolls_sideways_as_a_whole_is_wrong(faults):
    body = "<div style='overflow-x: auto'><h1>Title</h1>{}</div>".format(
        "<div style='width: 2000px'>wide</div>"
    )
    assert any(fault.startswith("over the edge") for fault in faults(body))


def test_without_a_browser_the_pages_are_not_looked_at(tmp_path):
    (tmp_path / "page.html").write_text(PAGE.format(WRONG["over the edge"]))
    run = subprocess.run(
        [sys.executable, SCRIPT, tmp_path],
        env={"PATH": ""},
        capture_output=True,
        text=True,
    )
    if "pages in" in run.stdout:
        pytest.skip("Chrome is where macOS installs it")
    assert run.returncode == 0
    assert "No Chromium or Chrome was found" in run.stdout
