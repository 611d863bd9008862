"""What a reader does: searches, copies code, opens an answer, plays with a figure, changes the theme."""

import json
import re
from importlib import import_module

import pytest

from .conftest import CHAPTERS, HOW, SITE, context

TEXTS = {page: (SITE / page).read_text("utf-8") for page in CHAPTERS} if SITE else {}


def containing(text):
    return [page for page in CHAPTERS if text in TEXTS[page]] or [
        pytest.param(None, marks=pytest.mark.skip(reason=HOW))
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("covariate shift", "book/covariate_shift.html"),
        ("whitening", "book/normalization.html"),
        ("momentum", "book/inference.html"),
        ("folding", "book/folding.html"),
        ("keras", "book/frameworks.html"),
        ("dropout", "book/conclusion.html"),
        ("batch_norm_backward", "book/api.html"),
    ],
)
def test_the_search_finds(page, site, words, found):
    page.goto(f"{site}/book/introduction.html")
    page.keyboard.press("Control+k")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?*")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function(r"document.querySelector('.search-summary')?.innerText.match(/\d/)")
    links = page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.pathname)")
    assert f"/{found}" in links


@pytest.mark.parametrize("name", containing('class="highlight-ipython3'))
def test_copy_buttons_copy(browser, site, name):
    if browser.browser_type.name != "chromium":
        pytest.skip("only chromium lets a test read the clipboard")
    reader = context(browser, 1280, permissions=["clipboard-read", "clipboard-write"])
    page = reader.new_page()
    page.goto(f"{site}/{name}")
    page.wait_for_selector(".copybtn", state="attached")
    cells = page.locator("article div.highlight:has(> button.copybtn:visible)")
    for i in {0, cells.count() - 1}:
        cell = cells.nth(i)
        cell.hover()
        cell.locator(".copybtn").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.split() == cell.locator("pre").inner_text().split() != []
    reader.close()


@pytest.mark.parametrize("name", containing("solution dropdown"))
@pytest.mark.parametrize("way", ["pointer", "keyboard"])
def test_folded_answers_open(page, site, name, way):
    page.goto(f"{site}/{name}")
    answers = page.locator("article .solution.dropdown, article .admonition.solution.toggle")
    page.wait_for_selector("article .solution .toggle-button")
    for i in range(answers.count()):
        answer = answers.nth(i)
        inside = answer.locator(":scope > :not(.admonition-title):not(button)").first
        assert not inside.is_visible()
        if way == "pointer":
            answer.locator(".admonition-title").first.click(position={"x": 5, "y": 5})
        else:
            answer.locator("button.toggle-button").first.focus()
            page.keyboard.press("Enter")
        inside.wait_for(state="visible", timeout=3000)


def figures(page):
    """Yield each figure to play with, its name and its data."""
    for figure in page.locator(".bn-touch").all():
        script = figure.locator("script").evaluate("script => script.textContent")
        name, data = re.search(r'currentScript\.parentElement, "(\w+)", (.*)\);\n', script).groups()
        yield figure, name, json.loads(data)


def settings(figure):
    return figure.evaluate(
        "root => Object.fromEntries([...root.querySelectorAll('input')].map("
        "i => [i.name, i.type === 'checkbox' ? i.checked : Number(i.value)]))"
    )


def says(figure, name, data):
    """The figure's sentence, and what Python's twin of the frame says of the same settings."""
    twin = import_module(f"bnlib.figures.touch.{name}")
    return figure.locator(".answer").inner_text(), twin.frame(settings(figure), data)["answer"]


@pytest.mark.parametrize("name", containing('class="bn-touch"'))
@pytest.mark.parametrize("width", [390, 1280])
def test_figures_answer_keyboard_and_pointer(browser, site, name, width):
    reader = context(browser, width)
    page = reader.new_page()
    page.goto(f"{site}/{name}")
    for figure, kind, data in figures(page):
        for control in figure.locator("input").all():
            seen = [settings(figure)]
            control.focus()
            page.keyboard.press("Space" if control.get_attribute("type") == "checkbox" else "ArrowLeft")
            seen.append(settings(figure))
            for part in (0.2, 0.8):
                box = control.bounding_box()
                page.mouse.click(box["x"] + part * box["width"], box["y"] + 0.5 * box["height"])
                seen.append(settings(figure))
                shown, expected = says(figure, kind, data)
                assert shown == expected
            assert seen[0] != seen[1], "the keyboard moves it"
            assert seen[2] != seen[3], "the pointer moves it"
    reader.close()


@pytest.mark.parametrize("name", containing('class="bn-touch"'))
def test_what_is_dragged_moves(page, site, name):
    page.goto(f"{site}/{name}")
    for figure, kind, data in figures(page):
        for handle in figure.locator("path.hold").all():
            handle.scroll_into_view_if_needed()
            box, before = handle.bounding_box(), settings(figure)
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x - 25, y + 25, steps=3)
            page.mouse.up()
            assert settings(figure) != before
            shown, expected = says(figure, kind, data)
            assert shown == expected


def test_the_theme_changes_and_stays(page, site):
    page.goto(f"{site}/book/introduction.html")
    before = page.evaluate("document.documentElement.dataset.theme")
    button = page.locator(".theme-switch-button:visible").first
    seen = set()
    for _ in range(3):
        button.click()
        seen.add(page.evaluate("document.documentElement.dataset.mode"))
    assert seen == {"light", "dark", "auto"} and before == "light"


def test_the_icons_are_drawn(page, site):
    page.goto(f"{site}/book/introduction.html")
    assert page.evaluate(
        "document.fonts.ready.then(() => document.fonts.check('900 16px \"Font Awesome 6 Free\"'))"
    )
    icons = page.evaluate(
        """[...document.querySelectorAll(".fa-solid, .fa-brands")].map(
          icon => [icon.className, getComputedStyle(icon, "::before").content])"""
    )
    assert len(icons) > 5
    assert [name for name, content in icons if not re.fullmatch('"[\ue000-\uf8ff]"', content)] == []
