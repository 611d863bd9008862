"""What the book adds to Sphinx, in book/_ext: mathematics, light pages, and the addresses they lead to."""

import re
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import address
import bnbook
import light
import mathematics
import numpy as np
import pytest
from docutils import nodes
from docutils.utils import new_document
from fontTools.ttLib import TTFont
from math_core import LatexError
from PIL import Image
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

# Mathematics.


def test_mathematics_is_mathml_of_its_letters():
    x_hat = '<mover accent="true"><mi>x</mi><mo stretchy="false">ˆ</mo></mover>'
    shown = mathematics.mathml(r"\hat x_i", display=False)
    assert shown == f"<math><msub>{x_hat}<mi>i</mi></msub></math>"
    assert 'display="block"' in mathematics.mathml("x", display=True)


@pytest.mark.parametrize(
    ("tex", "part"),
    [
        (r"\gamma'", "<mrow><mi>γ</mi><mo "),  # beside its letter, not above it
        (r"\gamma'_c", "<msub><mrow><mi>γ</mi><mo "),
        (r"\overline g", ">‾</mo>"),  # not the combining line, which stands a letter too far left
        (r"\underbrace{x}_y", '<mpadded class="bn-underbrace" depth="+0.45em"><mi>x</mi></mpadded>'),
        (r"\boxed{x}", '<mrow class="bn-box"><mi>x</mi></mrow>'),  # no menclose: firefox frames it again
        (r"\operatorname{Var}[x]", "<mi>Var</mi>"),
    ],
)
def test_what_browsers_draw_badly_is_written_otherwise(tex, part):
    assert part in mathematics.mathml(tex, display=False)


def test_mathematics_that_is_not_understood_is_an_error():
    with pytest.raises(LatexError):
        mathematics.mathml(r"\frac{1}{", display=False)


def test_the_font_has_the_italics_of_letters_and_the_root():
    page = "<p>Q</p>" + mathematics.mathml(r"\sqrt{h + \epsilon}", display=False)
    assert mathematics.characters(page) >= set("√h+ϵℎ𝜖")
    assert "Q" not in mathematics.characters(page)


# Light pages.


def test_a_font_is_cut_down_to_what_is_drawn():
    css = light.font_face("Book math", mathematics.FONT, set("√ℎ"))
    data = re.search(r'url\("(data:font/woff2;base64,[^"]+)"\)', css)[1]
    assert len(data) < 10_000
    with urlopen(data) as packed, TTFont(BytesIO(packed.read())) as font:
        assert {chr(code) for code in font.getBestCmap()} == set("√ℎ")
        assert "MATH" in font


CSS = """
@charset "utf-8";
.kept, .dropped { color: red } .kept:not(.dropped) > p { color: blue } #place.kept { margin: 0 }
@media (max-width: 9em) { .dropped { color: red } }
@media print { .kept { color: black } .dropped { color: red } }
:root { --size: 1px } p.dropped { color: red } a[href="#dropped"] { color: red }
"""


def test_rules_that_no_page_can_use_are_dropped():
    assert "".join(light.used(CSS, {"kept", "place"})).splitlines() == [
        ".kept{color: red}",
        ".kept:not(.dropped) > p{color: blue}",
        "#place.kept{margin: 0}",
        "@media print {.kept{color: black}",
        "}",
        ":root{--size: 1px}",
        'a[href="#dropped"]{color: red}',
    ]


def test_images_are_repacked_without_loss(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, size=(20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    light.repack(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.webp"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.webp").convert("RGB")), pixels)


def test_an_image_knows_its_size_before_it_comes(tmp_path):
    Image.new("RGB", (1400, 600)).save(tmp_path / "figure.png")
    images = {"figure.png": ({"page"}, "x.png")}
    app = SimpleNamespace(srcdir=tmp_path, env=SimpleNamespace(images=images))
    shown = light._sized(app, '<img alt="a" src="_images/x.png" style="width: 700px;" />', "x.png")
    assert shown.startswith('<img width="700" height="300" loading="lazy"') and "style" not in shown
    assert 'width="1400" height="600"' in light._sized(app, '<img src="_images/x.png" />', "x.png")


def test_the_corner_of_a_table_heads_nothing():
    context = {
        "body": '<th class="head"><p></p></th><th class="head"><p>a</p></th><section id="solution-content">'
    }
    bnbook.mend(None, "", "", context, None)
    assert context["body"] == '<td></td><th class="head"><p>a</p></th><section>'


# The glossary.

GLOSSED = """
.. glossary::

   group norm
     Statistics of a group.

   norm
     An everyday word.

   batch group norm
     At home on a page of its own.
"""


def linked(tmp_path, text, page="book/page"):
    """The words of a page that the extension links, each with its place."""
    (tmp_path / "conf.py").write_text('exclude_patterns = ["out"]', encoding="utf-8")
    (tmp_path / "book").mkdir()
    (tmp_path / "index.rst").write_text("x\n=\n\n.. toctree::\n   :glob:\n\n   book/*\n", encoding="utf-8")
    (tmp_path / "book/glossary.rst").write_text(f"Words\n=====\n{GLOSSED}", encoding="utf-8")
    (tmp_path / f"{page}.rst").write_text(f"A group norm\n============\n\n{text}\n", encoding="utf-8")
    out = tmp_path / "out"
    app = Sphinx(tmp_path, tmp_path, out, out, "html", {"extensions": ["glossary"]}, None, None)
    app.build()
    html = (out / f"{page}.html").read_text(encoding="utf-8")
    return re.findall(r'<a class="bn-term reference internal" href="([^"]+)">([^<]+)</a>', html)


def test_the_first_mention_of_a_term_is_linked(tmp_path):
    text = "A norm, `group norm`__. Group norms, a group norm; a batch group norm.\n\n__ index.html"
    assert linked(tmp_path, text) == [
        ("glossary.html#term-group-norm", "Group norms"),
        ("glossary.html#term-batch-group-norm", "batch group norm"),
    ]


def test_no_term_is_linked_in_a_table_or_a_note(tmp_path):
    assert linked(tmp_path, ".. note:: A group norm.\n\n.. list-table::\n\n   * - A group norm.") == []


def test_a_term_is_not_linked_where_its_entry_leads(monkeypatch, tmp_path):
    home = "A group. See :doc:`its page </book/page>`"
    monkeypatch.setitem(globals(), "GLOSSED", GLOSSED.replace("Statistics of a group", home))
    assert linked(tmp_path, "A group norm.") == []


# What a page says of itself, and of the next.


def described(page, baseurl=""):
    app, context = SimpleNamespace(config=SimpleNamespace(html_baseurl=baseurl)), {}
    bnbook.describe(app, "book/a", "page.html", context, page)
    return context


def paragraph(*children):
    return nodes.paragraph("", "", *children)


def test_no_line_ends_between_a_formula_and_its_comma():
    page = new_document("a")
    words = nodes.Text(", the "), nodes.Text("-th of (all)")
    page += paragraph(nodes.math("", "x"), words[0], nodes.math("", "k"), words[1])
    page += paragraph(nodes.math("", "y"), nodes.Text(" alone"))
    mathematics.keep_together(None, page, "a")
    assert [node.astext() for node in page[0]] == ["x,", " the ", "k-th", " of (all)"]
    assert [node.astext() for node in page[1]] == ["y", " alone"]


def test_a_page_is_described_by_its_first_paragraph():
    page = new_document("a")
    page += [paragraph(nodes.Text("A scale "), nodes.math("", r"\gamma"), nodes.Text(".")), paragraph()]
    assert described(page)["description"] == "A scale γ."
    page[0] += nodes.Text(" word" * 100)
    assert len(described(page)["description"]) <= 200


def test_a_picture_has_an_address_only_where_the_book_has_one(book):
    page = new_document("a")
    page += paragraph(nodes.Text("A scale."))
    assert "preview" not in described(page)
    address = described(page, "https://someone.github.io/b/")["preview"]
    assert address == "https://someone.github.io/b/_static/preview.png"
    with Image.open(book / "_static" / "preview.png") as picture:
        assert picture.size == (1200, 630)


@pytest.fixture
def introduced():
    """A book with an introduction that lists a chapter with its question and a page without."""
    items = []
    for name, text in (("a", ": Why <so>? And how? **More.**"), ("b", ", to look things up")):
        link = pending_xref("", nodes.inline("", name.upper()), reftarget=f"book/{name}")
        items.append(nodes.list_item("", paragraph(link, nodes.Text(text))))
    introduction = new_document("introduction")
    introduction += nodes.bullet_list("", *items)
    following = {"book/i": [None, None, "book/a"], "book/a": [None, None, "book/b"]}
    environment = SimpleNamespace(get_doctree=lambda name: introduction)
    return Book(
        config=SimpleNamespace(root_doc="i"), env=environment, builder=SimpleNamespace(relations=following)
    )


class Book(SimpleNamespace):
    __hash__ = object.__hash__


def test_the_link_to_the_next_chapter_says_its_question(introduced):
    context = {"next": {"title": "<b>1.</b> A"}}
    bnbook.ask(introduced, "book/i", "", context, None)
    question = '<span class="bn-question">Why &lt;so&gt;? And how?</span>'
    assert context["next_title"] == f"<b>1.</b> A {question}"


@pytest.mark.parametrize(("page", "context"), [("book/a", {"next": {"title": "B"}}), ("search", {})])
def test_where_no_question_follows_the_title_stands_alone(introduced, page, context):
    bnbook.ask(introduced, page, "", context, None)
    assert "next_title" not in context


# Addresses.


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/someone/their-book.git\n",
        "https://github.com/someone/their-book/",
        "https://a-secret@github.com/someone/their-book",
        "git@github.com:someone/their-book.git",
        "ssh://git@github.com/someone/their-book.git",
    ],
)
def test_the_repository_is_the_checkouts(remote):
    assert address.repository({}, remote) == "https://github.com/someone/their-book"


@pytest.mark.parametrize("remote", ["", "/somewhere/book.git", "https://example.org/a/b.git", "git@host:a/b"])
def test_there_is_no_repository_where_nobody_can_go(remote):
    assert address.repository({}, remote) is None


def test_a_workflow_says_where_it_is():
    workflow = {"GITHUB_REPOSITORY": "Someone/their-book"}
    assert address.repository(workflow, "") == "https://github.com/Someone/their-book"
    assert address.published(workflow) == "https://someone.github.io/their-book/"
    assert address.published({"GITHUB_REPOSITORY": "a/a.github.io"}) == "https://a.github.io/"
    assert address.published({}) is None


@pytest.mark.parametrize("name", ["", "someone/their-book"])
def test_buttons_lead_somewhere_or_are_left_out(monkeypatch, tmp_path, name):
    monkeypatch.setenv("GITHUB_REPOSITORY", name)
    config = SimpleNamespace(html_theme_options={"logo": {}}, html_baseurl="")
    address.add_addresses(SimpleNamespace(srcdir=tmp_path), config)
    assert ("repository_url" in config.html_theme_options) == ("launch_buttons" in config.html_theme_options)
    assert ("repository_url" in config.html_theme_options) == bool(name) == bool(config.html_baseurl)
    assert ("colab_url" in config.html_theme_options.get("launch_buttons", {})) == bool(name)
    assert "logo" in config.html_theme_options


def test_a_clone_has_no_button_of_colab_for_nobody_wrote_its_copies(monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setattr(address, "remote_of", lambda folder: "git@github.com:someone/their-book.git")
    config = SimpleNamespace(html_theme_options={}, html_baseurl="")
    address.add_addresses(SimpleNamespace(srcdir=tmp_path), config)
    assert "binderhub_url" in config.html_theme_options["launch_buttons"]
    assert "colab_url" not in config.html_theme_options["launch_buttons"]


def test_colab_opens_the_copy_of_a_chapter_and_binder_the_chapter():
    binder = {"text": "Binder", "url": "https://b.org/v2/gh/a/b/main?urlpath=lab/tree/book/x.ipynb"}
    colab = {"text": "Colab", "url": "https://c.com/github/a/b/blob/main/book/x.ipynb"}
    buttons = [{"type": "link"}, {"type": "group", "buttons": [dict(binder), dict(colab)]}]
    address.open_the_copies(None, "", "", {"header_buttons": buttons}, None)
    assert buttons[1]["buttons"] == [
        binder,
        {**colab, "url": "https://c.com/github/a/b/blob/colab/book/x.ipynb"},
    ]


def test_nothing_names_an_address_of_the_book(root):
    # A site and a repository were named that nobody served: links in the README and on every page were dead.
    kinds = ("*.md", "*.cff", "*.toml", "*.yml", "book/*.md", "book/*.ipynb", ".github/workflows/*.yml")
    files = [path for kind in kinds for path in Path(root).glob(kind)]
    address = re.compile(r"batch-?norm[\w-]*\.github\.io|github\.com/[\w-]*batch-?norm[\w-]*/")
    assert [path.name for path in files if address.search(path.read_text(encoding="utf-8"))] == []
