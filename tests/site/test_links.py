"""Every link of the built site leads to a page and to a place on it."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from .conftest import CHAPTERS, HOW, PAGES, SITE


class Page(HTMLParser):
    """The places of a page, and where its links lead."""

    def __init__(self, text):
        super().__init__()
        self.places, self.links, self.about = {"", "top"}, [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places |= {attributes.get("id"), attributes.get("name")}
        if tag == "meta":
            self.about[attributes.get("property") or attributes.get("name")] = attributes.get("content")
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]


@pytest.fixture(scope="module")
def pages():
    if not PAGES:
        pytest.skip(HOW)
    return {name: Page((SITE / name).read_text("utf-8")) for name in PAGES if not name.startswith("_static/")}


def targets(pages):
    """Yield (page, link, file, place) of each link that stays on the site."""
    for name, page in pages.items():
        for link in page.links:
            at = urlsplit(urljoin(f"//site/{name}", link))
            if at.netloc == "site" and not at.scheme:
                yield name, link, unquote(at.path[1:]), unquote(at.fragment)


def test_every_link_leads_to_a_file(pages):
    assert {(name, link) for name, link, file, _ in targets(pages) if not (SITE / file).is_file()} == set()


def test_every_link_leads_to_a_place(pages):
    lost = {
        (name, link)
        for name, link, file, place in targets(pages)
        if file in pages and place not in pages[file].places
    }
    assert lost == set()


def test_the_glossary_is_reached_from_words_of_the_text_and_not_from_too_many(pages):
    words = {
        name: re.findall(r'class="bn-term [^"]*" href="([^"]+)"', (SITE / name).read_text("utf-8"))
        for name in pages
    }
    assert sum(map(len, words.values())) > 20
    assert {
        name: links for name, links in words.items() if len(links) > 12 or len(set(links)) < len(links)
    } == {}
    assert words["book/glossary.html"] == []


def test_a_page_asks_for_nothing_twice(pages):
    scripts = {name: [link for link in page.links if ".js" in link] for name, page in pages.items()}
    assert {name: links for name, links in scripts.items() if len(links) > len(set(links))} == {}


def test_every_chapter_says_what_a_message_shows_of_it(pages):
    asked = ("description", "og:title", "og:description", "og:type")
    silent = [(name, key) for name in CHAPTERS for key in asked if not pages[name].about.get(key)]
    assert silent == []


def test_a_picture_is_shown_only_from_where_it_is(pages):
    pictures = {page.about.get("og:image") for page in pages.values()}
    assert pictures == {None} or all(address.startswith("https://") for address in pictures)
    assert (SITE / "_static/preview.png").is_file()
