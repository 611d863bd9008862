"""Mathematics written as MathML when the book is built, in a font of its own: no script draws it on the page."""

from __future__ import annotations

import re
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from unicodedata import decomposition, name
from xml.etree import ElementTree

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

CONVERTER = LatexToMathML(fancy_error=False)
LOG = logging.getLogger(__name__)

#: STIX Two Math, for which alone the package is installed.
FONT = Path(
    find_spec("ziamath").submodule_search_locations[0],
    "fonts/STIXTwoMath-Regular.ttf",
)

#: What stands for each letter that is alone in its ``mi``: a character of its own.
ITALIC = {"h": "\N{PLANCK CONSTANT}"} | {
    chr(int(decomposition(italic).removeprefix("<font> "), 16)): italic
    for italic in map(chr, range(0x1D434, 0x1D71C))
    if name(italic, "").startswith("MATHEMATICAL ITALIC")
}


def mathml(tex: str, display: bool) -> str:
    r"""Convert TeX to MathML.

    Four things are written as browsers draw them best. A prime stands beside its letter instead of above it, because
    the fonts raise it already. The line of ``\overline`` is the character that stretches and keeps its place. What an
    ``\underbrace`` holds together is left to the stylesheet: chromium cuts the ends off a long brace. So is the frame of
    a ``\boxed``, which firefox would draw a second time.

    Raises
    ------
    LatexError
        If the TeX is not understood.
    """
    text = CONVERTER.convert_with_local_state(tex, displaystyle=display)
    root = ElementTree.fromstring(
        text.replace("&ApplyFunction;", "\N{FUNCTION APPLICATION}")
    )
    for element in root.iter():
        if element.tag in ("msup", "msubsup") and element[-1].text in (
            "′",
            "″",
            "‴",
        ):
            prime = element[-1]
            prime.attrib |= {"form": "postfix", "lspace": "0", "rspace": "0"}
            if element.tag == "msup":
                element.tag = "mrow"
            else:
                letter = ElementTree.Element("mrow")
                letter.extend([element[0], prime])
                element.tag, element[:] = "msub", [letter, element[1]]
        elif element.tag == "munder" and element[-1].text == "⏟":
            element.remove(element[-1])
            element.tag = "mpadded"  # room for the brace
            element.attrib = {"class": "bn-underbrace", "depth": "+0.45em"}
        elif element.tag == "menclose":
            element.tag, element.attrib = "mrow", {"class": "bn-box"}
        elif element.tag == "mo" and element.text == "\N{COMBINING LOW LINE}":
            element.text = "\N{OVERLINE}"
    return ElementTree.tostring(root, encoding="unicode")


def _converted(self: HTML5Translator, node: nodes.Node, display: bool) -> str:
    try:
        return mathml(node.astext(), display)
    except LatexError as error:
        LOG.warning("%s in the equation %s", error, node.astext(), location=node)
        return self.encode(node.astext())


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write mathematics in a line of text."""
    self.body.append(
        self.starttag(node, "span", "", CLASS="math notranslate nohighlight")
    )
    self.body.append(_converted(self, node, display=False) + "</span>")
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation on a line of its own, with its number if it has one."""
    self.body.append(
        self.starttag(node, "div", CLASS="math notranslate nohighlight")
    )
    self.body.append(_converted(self, node, display=True))
    if node["number"]:
        self.body.append(
            f'<span class="eqno">({get_node_equation_number(self, node)})'
        )
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def keep_together(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Let no line end between a formula and what is written right behind it: a comma, or the end of a word."""
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        behind = isinstance(after, nodes.Text) and re.match(
            r"[^\s(\[“‘]{1,6}", after
        )
        # together they must fit a phone
        if behind and len(formula.astext()) < 40:
            after.parent.replace(after, nodes.Text(after[behind.end() :]))
            together = nodes.inline(classes=["bn-together"])
            formula.replace_self(together)
            together += [formula, nodes.Text(behind[0])]


def characters(pages: str) -> set[str]:
    """Return the characters that the mathematics of some pages is drawn with."""
    elements = "".join(re.findall("<math.*?</math>", pages, re.DOTALL))
    written = set(unescape(re.sub("<[^>]+>", "", elements)))
    # √ is what an msqrt draws
    return written | {ITALIC.get(letter, "√") for letter in written}


def setup(app: Sphinx) -> dict[str, bool]:
    """Make this the way in which a page's mathematics is written."""
    app.add_html_math_renderer(
        "mathml", (visit_inline, None), (visit_block, None)
    )
    app.connect("doctree-resolved", keep_together)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
