"""On paper: the summary is one sheet, and the book is one PDF with bookmarks, tags and links."""

import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from io import BytesIO

import pytest
import yaml

from tools.print_book import ROOT, contents, main

from .conftest import CHAPTERS, HOW, SITE, context


@pytest.fixture(scope="module")
def pikepdf():
    return pytest.importorskip("pikepdf", reason=HOW)


@pytest.fixture(scope="module")
def chromium(browser):
    if browser.browser_type.name != "chromium":
        pytest.skip("only chromium prints to a file")
    return browser


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_summary_is_one_sheet_of_a4(chromium, site, pikepdf, theme):
    reader = context(chromium, 1280, theme)
    page = reader.new_page()
    page.goto(f"{site}/book/summary.html")
    with pikepdf.open(BytesIO(page.pdf(prefer_css_page_size=True))) as pdf:
        assert len(pdf.pages) == 1
        assert [round(float(side) / 72 * 25.4) for side in pdf.pages[0].mediabox[2:]] == [210, 297]
    reader.close()


def test_a_page_is_only_its_text_on_paper(chromium, site):
    reader = context(chromium, 1280, "dark")
    page = reader.new_page()
    page.goto(f"{site}/book/inference.html")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    text = page.locator("body").inner_text()
    assert "Solution to" in text and page.locator(".solution pre").last.is_visible()
    assert re.search("Show code|Hide code|Search|Contents|Copyright", text) is None
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    reader.close()


@pytest.fixture(scope="module")
def book(chromium, pikepdf, tmp_path_factory):
    path = tmp_path_factory.mktemp("print") / "book.pdf"
    with ThreadPoolExecutor(1) as pool:  # playwright begins once in a thread
        pool.submit(main, SITE, path).result()
    with pikepdf.open(path) as pdf:
        yield pdf


def test_the_book_is_printed_whole(book):
    assert len(book.pages) > 5 * len(CHAPTERS)
    assert not (SITE / "print.html").exists()


def titles(items, level=0):
    """Yield (level, title) of every bookmark."""
    for item in items:
        yield level, item.title
        yield from titles(item.children, level + 1)


def test_every_chapter_has_a_bookmark_below_its_part(book):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    with book.open_outline() as outline:
        found = list(titles(outline.root))
    parts = [name for _, name, is_page in contents(toc) if not is_page]
    pages = [(SITE / f"{name}.html").read_text("utf-8") for _, name, is_page in contents(toc) if is_page]
    headings = [re.search('<h1>(.*)<a class="headerlink"', page)[1] for page in pages]
    chapters = [unescape(re.sub("<[^>]+>", "", heading)) for heading in headings]
    assert [title for level, title in found if level == 0] == [chapters[0], *parts]
    assert set(chapters) - {title for _, title in found} == set()
    assert {level for level, _ in found} >= {0, 1, 2}


def test_it_can_be_read_aloud_and_says_what_it_is(book):
    assert book.Root.MarkInfo.Marked and book.Root.StructTreeRoot and book.Root.Lang == "en"
    assert book.docinfo["/Title"] and book.docinfo["/Author"]


def test_its_links_lead_inside(book):
    links = [note for page in book.pages for note in page.get("/Annots", [])]
    addresses = [str(link.A.URI) for link in links if "/URI" in link.get("/A", {})]
    assert [address for address in addresses if not address.startswith("http")] == []
    assert len(links) - len(addresses) > 10 * len(CHAPTERS)
