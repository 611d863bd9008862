"""What a page weighs: few enough bytes and requests that a phone on a slow network shows it at once.

The network is the one that browsers' tools call slow 4G: 200 kB a second, and 0.15 s to ask for anything.
What a page spends on it follows from its bytes, on any machine.
"""

import pytest

from .conftest import CHAPTERS, HOW, context

RATE, TRIP = 200_000, 0.15


@pytest.fixture(scope="module", params=CHAPTERS or [pytest.param(None, marks=pytest.mark.skip(reason=HOW))])
def traffic(request, browser, site):
    """The bytes of each reply to a first visit, headers included, and how far the page moved meanwhile."""
    if browser.browser_type.name != "chromium":
        pytest.skip("chromium counts the bytes")
    reader = context(browser, 390, device_scale_factor=3, is_mobile=True)
    page = reader.new_page()
    page.add_init_script(
        "window.moved = 0; new PerformanceObserver(list => list.getEntries().forEach(e => moved += e.value))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    sizes, names = {}, {}
    session = reader.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.requestWillBeSent", lambda e: names.update({e["requestId"]: e["request"]["url"]}))
    session.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]}))
    page.goto(f"{site}/{request.param}")
    page.wait_for_load_state("networkidle")
    asked = {names[i]: size for i, size in sizes.items() if not names[i].startswith("data:")}
    yield asked, page.evaluate("moved")
    reader.close()


def weight(asked, *kinds):
    return sum(size for name, size in asked.items() if name.partition("?")[0].endswith(kinds))


def test_it_is_painted_within_a_second(traffic):
    # The page and, once its head is there, the stylesheet that it names; nothing else is waited for.
    asked, _ = traffic
    assert 2 * TRIP + weight(asked, ".html", ".css") / RATE < 1.0


def test_all_of_it_is_there_within_two_and_a_half(traffic):
    # The third trip is for what the page's end and the stylesheet ask for.
    asked, _ = traffic
    assert 3 * TRIP + sum(asked.values()) / RATE < 2.5


def test_it_asks_for_little(traffic):
    asked, _ = traffic
    assert sum(asked.values()) < 300_000
    assert len(asked) < 20


def test_nothing_jumps(traffic):
    # Images never do. On a busy machine the mathematics' font can be a frame late, and a line then moves.
    _, moved = traffic
    assert moved < 0.1
