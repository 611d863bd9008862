"""The pages of the site become one document: in order, each place with its own name, each link inside."""

from types import SimpleNamespace

import pytest
import yaml

from tools.print_book import bookmarks, contents, document, lead, printable

TOC = {
    "root": "book/introduction",
    "parts": [
        {"caption": "First & last", "chapters": [{"file": "book/a", "sections": [{"file": "book/b"}]}]},
    ],
}
PAGES = {"book/introduction", "book/a", "book/b"}


def test_the_contents_are_read_in_order():
    assert list(contents(TOC)) == [
        (2, "book/introduction", True),
        (1, "First & last", False),
        (2, "book/a", True),
        (3, "book/b", True),
    ]


@pytest.mark.parametrize(
    ("href", "target"),
    [
        ("#why", "#a--why"),
        ("b.html", "#b"),
        ("b.html#ex%C2%B2", "#b--ex%C2%B2"),
        ("https://example.org/b.html#c", "https://example.org/b.html#c"),
        ("../_modules/bnlib/show.html#x", None),  # not a page of the book
        ("../genindex.html", None),
    ],
)
def test_a_link_leads_into_the_document_or_to_another_site_or_nowhere(href, target):
    assert lead(href, "book/a", PAGES) == target


PAGE = """<header><h1>site</h1></header><article class="bd-article"><section id="why">
<h1>Why<a class="headerlink" href="#why">#</a></h1>
<details class="hide"><summary>Show code</summary><pre>draw()</pre></details>
<details class="sd-dropdown"><summary>Proof</summary><p>answer</p></details>
<div class="highlight"><pre><span></span><span class="n">x</span> <span class="k">if</span></pre></div>
<script>run()</script><button>copy</button>
<svg viewBox="0 0 2 1" aria-labelledby="one two"></svg>
<img alt="a" loading="lazy" src="../_images/x.webp"/><img alt="b" src="data:image/png;base64,A"/>
<p><a href="b.html#c">next</a> and <a href="../_modules/m.html">source</a></p>
<h2>Part</h2></section></article>"""


@pytest.fixture(scope="module")
def section():
    return printable(PAGE, "book/a", 3, PAGES)


@pytest.mark.parametrize(
    "part",
    [
        '<section class="bd-article" id="a">',
        '<section id="a--why">',
        "<h3>Why</h3>",  # below the chapter's title and the part's
        "<h4>Part</h4>",
        '<details class="sd-dropdown" open="">',
        'aria-labelledby="a--one a--two"',
        '<img alt="a" src="_images/x.webp"/>',
        'src="data:image/png;base64,A"',
        '<pre>x <span class="k">if</span></pre>',
        '<a href="#b--c">next</a> and source',
    ],
)
def test_a_page_becomes_a_section(section, part):
    assert part in section


@pytest.mark.parametrize("useless", ["Show code", "draw()", "run()", "copy", "headerlink", "site", "lazy"])
def test_what_has_no_use_on_paper_is_left_out(section, useless):
    assert useless not in section


def test_the_document_has_every_page_once_and_in_order(tmp_path):
    (tmp_path / "book").mkdir()
    for page in PAGES:
        (tmp_path / f"{page}.html").write_text(PAGE, "utf-8")
    html = document(tmp_path, TOC, {"title": "T", "author": "A & B", "copyright": "2026"})
    places = [
        html.index(text)
        for text in ("A &amp; B", 'id="introduction"', "First &amp; last", 'id="a"', 'id="b"')
    ]
    assert places == sorted(places)
    assert html.count("<h2>Why</h2>") == 2 and html.count("<h3>Why</h3>") == 1


def test_every_page_of_the_book_is_printed(pytestconfig):
    toc = yaml.safe_load((pytestconfig.rootpath / "_toc.yml").read_text("utf-8"))
    pages = [name for _, name, is_page in contents(toc) if is_page]
    files = {
        path.stem for kind in ("*.md", "*.ipynb") for path in (pytestconfig.rootpath / "book").glob(kind)
    }
    assert sorted(pages) == sorted(f"book/{stem}" for stem in files)


def entry(name, *children):
    return SimpleNamespace(name=name, children=children)


def test_bookmarks_come_in_the_order_of_the_pages():
    assert [found.name for found in bookmarks([entry(1, entry(2)), entry(3)])] == [1, 2, 3]
