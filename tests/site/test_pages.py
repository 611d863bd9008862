"""Every page, in both themes, on a phone and on a desk: nothing missing, nothing cut, readable by all."""

import re
from collections import Counter
from itertools import product

import pytest

from .conftest import HOW, READ, context

AXE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Visit:
    """A page that has been opened, and what happened on the way."""

    def __init__(self, page, address, width):
        self.page, self.width, self.errors, self.outside, self.failed = page, width, [], [], []
        site = re.match(r"https?://[^/]+/", address)[0]
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.on(
            "request",
            lambda request: request.url.startswith((site, "data:")) or self.outside.append(request.url),
        )
        page.on("requestfailed", lambda request: self.failed.append(request.url))
        page.on("response", lambda reply: reply.ok or self.failed.append(reply.url))
        page.goto(address)
        page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
        page.wait_for_function("[...document.images].every(image => image.complete)")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, id="-".join(map(str, case)))
        for case in product(READ, ("light", "dark"), (390, 1280))
    ]
    or [pytest.param(None, marks=pytest.mark.skip(reason=HOW))],
)
def visit(request, browser, site):
    name, theme, width = request.param
    reader = context(browser, width, theme)
    yield Visit(reader.new_page(), f"{site}/{name}", width)
    reader.close()


def test_nothing_goes_wrong(visit):
    assert visit.errors == []


def test_nothing_is_missing(visit):
    assert visit.failed == []
    assert visit.page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)") == []


def test_nothing_comes_from_elsewhere(visit):
    assert visit.outside == []


def test_everyone_can_read_it(visit):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=HOW).Axe()
    # what passed need not be told in full, which would take longer than the checks themselves
    options = {"runOnly": AXE, "resultTypes": ["violations"]}
    found = axe.run(visit.page, options=options).response["violations"]
    assert [(rule["id"], [node["html"][:120] for node in rule["nodes"][:3]]) for rule in found] == []


def test_it_does_not_scroll_sideways(visit):
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= visit.width


def test_no_code_is_cut_on_a_desk(visit):
    if visit.width < 1280:
        pytest.skip("a phone scrolls code sideways, and shows that it does")
    cut = "pre => pre.filter(p => p.clientWidth && p.scrollWidth > p.clientWidth + 1).map(p => p.innerText)"
    assert visit.page.eval_on_selector_all("article pre", cut) == []


def test_all_mathematics_is_drawn(visit):
    drawn = visit.page.evaluate(
        """async () => {
          await document.fonts.ready;
          const found = {empty: [], text: [], font: true};
          for (const place of document.querySelectorAll(".math")) {
            const math = place.querySelector("math"), box = math?.getBoundingClientRect();
            const drawn = math && (!place.checkVisibility() || box.width && box.height);
            if (!drawn) found.empty.push(place.innerText);
            if (/[\\\\$]/.test(place.innerText)) found.text.push(place.innerText);
            found.font = document.fonts.check("16px 'Book math'");
          }
          return found;
        }"""
    )
    assert drawn == {"empty": [], "text": [], "font": True}


#: What a reader must never see: TeX between dollars, a role, a fence, a TeX command, a Markdown link.
RAW = re.compile(
    r"\$[^\s$][^$\n]*\$|\{[\w:]+\}`|:::|\\[a-z]{3,}|\]\((?:https?:|#|[\w/-]+\.(?:md|ipynb|html))"
)


def test_no_markup_is_left(visit):
    text = visit.page.evaluate(
        """() => {
          const copy = document.querySelector("article, main").cloneNode(true);
          copy.querySelectorAll("pre, code, script, style").forEach(code => code.remove());
          return copy.textContent;
        }"""
    )
    assert RAW.findall(text) == []


def test_no_two_places_have_one_name(visit):
    names = visit.page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
    assert [name for name, times in Counter(names).items() if times > 1] == []
