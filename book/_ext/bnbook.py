"""What this book adds to Sphinx: figures of one size, descriptions of pages, a tidy API page."""

from __future__ import annotations

import importlib
import inspect
import re
import struct
from functools import cache
from html import escape, unescape
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import Any

from docutils import nodes
from mathematics import mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PAGE_DPI = 100  # a figure of 7 inches is 700 pixels wide on the page, however sharply it was drawn


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Take Thebe's scripts off the page: not used, loaded from elsewhere, and declared twice."""

    def is_thebe(script: Any) -> bool:
        name = getattr(script, "filename", script)
        return "thebe" in f"{name}{getattr(script, 'attributes', '')}".lower()

    scripts = context["script_files"]
    scripts[:] = [script for script in scripts if not is_thebe(script)]


def describe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Let a page be described by its first paragraph, where a search engine or a message shows a link to it."""
    first = next(doctree.findall(nodes.paragraph), None) if doctree else None
    if first is None:
        return
    paragraph = first.deepcopy()
    for formula in list(paragraph.findall(nodes.math)):
        text = re.sub("<[^>]+>", "", mathml(formula.astext(), display=False))
        formula.parent.replace(formula, nodes.Text(unescape(text)))
    context["description"] = shorten(
        paragraph.astext(), width=200, placeholder=" …"
    )
    if app.config.html_baseurl:
        context["preview"] = f"{app.config.html_baseurl}_static/preview.png"


@cache
def questions(app: Sphinx) -> dict[str, str]:
    """Return the question that each chapter answers, from the introduction's list: a link, a colon, a question."""
    found = {}
    introduction = app.env.get_doctree(app.config.root_doc)
    for item in introduction.findall(nodes.list_item):
        for link in item.findall(pending_xref):
            begin = re.escape(link.astext())
            if asked := re.match(rf"{begin}: (.*\?)", item.astext()):
                found[link["reftarget"]] = asked[1]
    return found


def ask(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Let the link to the next chapter say what that one answers."""
    if not (following := context.get("next")):
        return
    _, _, name = app.builder.relations[page]
    if question := questions(app).get(name):
        context["next_title"] = (
            f'{following["title"]} <span class="bn-question">{escape(question)}</span>'
        )


def mend(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Mend what a page of Sphinx says to a screen reader.

    The empty corner of a table heads nothing, and the bodies of all exercises and answers have one name.
    """
    if "body" in context:
        body = re.sub(r"<th[^>]*>(?:<p></p>)?</th>", "<td></td>", context["body"])
        context["body"] = re.sub(r' id="(?:exercise|solution)-content"', "", body)


def png_inches(path: Path) -> float | None:
    """Return the width in inches that a PNG was drawn for, or None if its header does not say."""
    with path.open("rb") as file:
        head = file.read(4096)
    # the chunk that holds pixels per unit; unit 1 is the metre
    resolution = head.find(b"pHYs")
    if head[:8] != b"\x89PNG\r\n\x1a\n" or resolution < 0:
        return None
    (pixels,) = struct.unpack(">I", head[16:20])
    per_unit, _, unit = struct.unpack(
        ">IIB", head[resolution + 4 : resolution + 13]
    )
    return pixels / per_unit / 0.0254 if unit == 1 else None


def size_figures(app: Sphinx, doctree: Any) -> None:
    """Show a notebook's figures at the size they were drawn for, so that all have letters of one size."""
    for image in doctree.findall(lambda node: node.tagname == "image"):
        path = Path(app.srcdir, image["uri"])  # an absolute uri stays what it is
        if (
            "jupyter_execute" in path.parts
            and path.suffix == ".png"
            and "width" not in image
        ):
            inches = png_inches(path)
            if inches:
                image["width"] = f"{round(inches * PAGE_DPI)}px"


def escape_shapes(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Let docstrings write (N, C, *spatial) and |a - b| as they are.

    To reStructuredText that star would begin an emphasis, and the bar a substitution. What is in backticks, a
    whole *emphasis*, and what is escaped already are left alone.
    """
    as_it_is = r"``.*?``|`[^`]*`|\\.|\*{1,2}(?=\S)[^*]*(?<=\S)\*{1,2}(?!\w)"
    for i, line in enumerate(lines):
        lines[i] = re.sub(
            rf"({as_it_is})|([*|](?=\S))", lambda m: m[1] or "\\" + m[2], line
        )


def skip_field_aliases(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out a named tuple's "Alias for field number 0": its docstring says what the fields are."""
    docstring = getattr(obj, "__doc__", None) or ""
    return True if docstring.startswith("Alias for field number") else None


def has_bases_to_show(module: ModuleType) -> bool:
    """Whether a class of the module builds on another that a reader should know of, such as nn.Module."""
    return any(
        inspect.isclass(obj)
        and obj.__module__ == module.__name__
        and obj.__bases__ not in ((object,), (tuple,))
        for obj in vars(module).values()
    )


class Modules(SphinxDirective):
    """Write the entry of every module of a package, by the files in its folder: no list to maintain.

    A module's anchor is ``#module-`` and its full name, so links stay good whatever is added.
    """

    required_arguments = 1

    def run(self) -> list[Any]:
        """Parse a heading and an automodule for each."""
        package = self.arguments[0]
        folder = Path(self.env.srcdir, *package.split("."))
        names = [f"{package}.{p.stem}" for p in folder.glob("[!_]*.py")]
        if not names:
            raise self.error(f"expected modules in {package} (found none)")
        lines = []
        for name in sorted(names):
            lines += [
                f"### {name.removeprefix('bnlib.')}",
                "```{eval-rst}",
                f".. automodule:: {name}",
                "   :members:",
            ]
            if has_bases_to_show(importlib.import_module(name)):
                lines += ["   :show-inheritance:"]
            lines += ["```"]
        return self.parse_text_to_nodes(
            "\n".join(lines), allow_section_headings=True
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the functions above to Sphinx's events."""
    app.add_directive("modules", Modules)
    app.connect("doctree-read", size_figures)
    # before napoleon, at 500
    app.connect("autodoc-process-docstring", escape_shapes, priority=400)
    app.connect("autodoc-skip-member", skip_field_aliases)
    # after the theme has added them
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", ask)
    app.connect("html-page-context", mend)
    return {
        "version": "1.0",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
