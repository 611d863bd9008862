"""Links from the words of a page to the glossary: each word once, where the running text first has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

GLOSSARY = "book/glossary"


def terms(glossary: nodes.document) -> Iterator[tuple[str, str, set[str]]]:
    """Yield each term with its anchor, and with the pages that its entry sends the reader to."""
    for item in glossary.findall(nodes.definition_list_item):
        (term,) = item.findall(nodes.term)
        home = {
            link.get("reftarget", "").lstrip("/")
            for link in item.findall(addnodes.pending_xref)
        }
        yield term.astext(), term["ids"][0], home


def running_text(page: nodes.document) -> Iterator[nodes.Text]:
    """Yield the texts of a page's paragraphs that are neither emphasized nor part of a table, a caption or a link."""
    for paragraph in page.findall(nodes.paragraph):
        above = paragraph.parent
        while above is not None and not isinstance(
            above, nodes.entry | nodes.Admonition | nodes.figure | nodes.footnote
        ):
            above = above.parent
        if above is None:
            yield from (
                t for t in paragraph.children if isinstance(t, nodes.Text)
            )


def link_terms(app: Sphinx, page: nodes.document, name: str) -> None:
    """Turn the first mention of a term into a quiet link, on pages other than the glossary and the term's home.

    Only terms of two words or more: an everyday word, such as cell or share, is not often meant as a term.
    """
    if name == GLOSSARY or app.builder.format != "html":
        return
    anchors = {
        term: anchor
        for term, anchor, home in terms(app.env.get_doctree(GLOSSARY))
        if " " in term and name not in home
    }
    longest_first = sorted(map(re.escape, anchors), key=len, reverse=True)
    mention = re.compile(rf"\b({'|'.join(longest_first)})s?\b", re.IGNORECASE)
    for text in list(running_text(page)):
        parts, end = [], 0
        for found in mention.finditer(text):
            anchor = anchors.get(found[1].lower())
            if anchor is None:
                continue
            del anchors[found[1].lower()]
            link = make_refnode(
                app.builder, name, GLOSSARY, anchor, nodes.Text(found[0])
            )
            link["classes"].append("bn-term")
            parts += [nodes.Text(text[end : found.start()]), link]
            end = found.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to the moment when a page is about to be written."""
    app.connect("doctree-resolved", link_terms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
