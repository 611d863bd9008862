"""Pages that arrive quickly: one stylesheet with what the pages use, scripts that wait, images at their size.

The theme brings two megabytes along. A page waits for its stylesheets, so they become one file that holds the rules
some page can use, the icons that are shown (without the script that draws them) and the mathematics' font.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import tinycss2
from docutils import nodes
from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.ttLib import TTFont
from mathematics import font_face
from PIL import Image
from sphinx.application import Sphinx

STYLESHEET = "book.css"
#: The theme's, in its order; basic.css is what theme.css imports.
THEME_CSS = ["basic.css", "styles/pydata-sphinx-theme.css"]
#: The icons' own rules and fonts, of which a dozen of two thousand icons would be used.
ICON_SELECTOR = re.compile(r"\.fa-|\.fa[bsr]?\b|\.sr-only|\.svg-inline")
ICON_CSS = """
.fa-solid::before, .fa-brands::before { content: ""; display: inline-block; width: 1.25em; height: 1em;
  vertical-align: -0.125em; background: currentColor; mask: var(--icon) center / contain no-repeat; }
.fa-lg { font-size: 1.25em; line-height: 0.05em; }
@media (forced-colors: active) { .fa-solid::before, .fa-brands::before { background: CanvasText; forced-color-adjust: none; } }
"""


def prepare(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Let a page ask for one stylesheet, run its scripts once it is read, and know the size of its images."""
    if app.builder.format != "html":
        return
    app.env.temp_data.setdefault("css", {}).update(
        dict.fromkeys(css.filename for css in context["css_files"])
    )
    context["css_files"] = []
    # What search.html adds expects the others to have run.
    if page != "search":
        for script in context["script_files"]:
            if getattr(script, "filename", None):
                script.attributes["defer"] = "defer"
    if "body" in context:
        context["body"] = re.sub(
            r'<img [^>]*src="[^"]*_images/([^"]+)\.png"[^>]*>',
            lambda match: _image(app, match),
            context["body"],
        )


def _image(app: Sphinx, match: re.Match[str]) -> str:
    path = next(
        Path(app.srcdir, source)
        for source, (_, name) in app.env.images.items()
        if name == f"{match[1]}.png"
    )
    with Image.open(path) as image:
        width, height = image.size
    tag = match[0].replace(f"{match[1]}.png", f"{match[1]}.webp")
    shown = re.search(r"width: (\d+)px;?", tag)
    if shown:
        width, height = int(shown[1]), round(height * int(shown[1]) / width)
        tag = tag.replace(shown[0], "").replace(' style=""', "")
    return tag.replace(
        "<img ",
        f'<img width="{width}" height="{height}" loading="lazy" decoding="async" ',
    )


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write the stylesheet, repack the images without loss, and take away what no page asks for any longer."""
    if exception is not None or app.builder.format != "html":
        return
    out, static = Path(app.outdir), Path(app.outdir, "_static")
    pages = "".join(
        path.read_text("utf-8") for path in sorted(out.rglob("*.html"))
    )
    scripts = "".join(
        path.read_text("utf-8")
        for path in static.rglob("*.js")
        if path.name != "fontawesome.js"
    )
    words = set(re.findall(r"[\w-]+", pages + scripts))
    names = THEME_CSS + [
        name.removeprefix("_static/") for name in app.env.temp_data["css"]
    ]
    css = "\n".join((static / name).read_text("utf-8") for name in names)
    mathematics = re.sub(
        "<[^>]+>", "", "".join(re.findall("<math.*?</math>", pages, re.DOTALL))
    )
    theme = static / "styles" / "pydata-sphinx-theme.css"
    parts = [
        font_face(mathematics),
        "".join(used(css, words)),
        ICON_CSS,
        *icons(theme, static / "vendor/fontawesome/webfonts", words),
    ]
    (static / STYLESHEET).write_text("".join(parts), "utf-8")
    for path in (out / "_images").glob("*.png"):
        with Image.open(path) as image:
            opaque = image.convert("RGB")
        opaque.save(
            path.with_suffix(".webp"), lossless=True, method=1, quality=20
        )
        path.unlink()
    for name in names:
        (static / name).unlink(missing_ok=True)
    shutil.rmtree(static / "vendor")
    for path in {*static.rglob("*.map"), *static.rglob("fontawesome.js*")}:
        path.unlink()


def used(css: str, words: set[str]) -> Iterator[str]:
    """Yield the rules of a stylesheet of which every class and id is a word of some page or script."""
    rules = tinycss2.parse_stylesheet(
        css, skip_comments=True, skip_whitespace=True
    )
    return _used(rules, words)


def _used(rules: Iterable[Any], words: set[str]) -> Iterator[str]:
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [
                tinycss2.serialize(selector).strip()
                for selector in _split(rule.prelude)
                if _is_used(selector, words)
            ]
            if selectors:
                yield f"{','.join(selectors)}{{{tinycss2.serialize(rule.content).strip()}}}\n"
        elif rule.type == "at-rule":
            if rule.lower_at_keyword in ("media", "supports"):
                inner = tinycss2.parse_rule_list(
                    rule.content, skip_comments=True, skip_whitespace=True
                )
                kept = "".join(_used(inner, words))
                if kept:
                    yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{kept}}}\n"
            elif rule.lower_at_keyword not in ("charset", "import", "font-face"):
                yield rule.serialize()


def _split(prelude: list[Any]) -> Iterator[list[Any]]:
    selector: list[Any] = []
    for token in prelude:
        if token == ",":
            yield selector
            selector = []
        else:
            selector.append(token)
    yield selector


def _is_used(selector: list[Any], words: set[str]) -> bool:
    if ICON_SELECTOR.search(tinycss2.serialize(selector)):
        return False
    names = [
        token.value
        for before, token in zip([None, *selector], selector, strict=False)
        if token.type == "hash" or (token.type == "ident" and before == ".")
    ]
    return words.issuperset(names)


def icons(theme: Path, fonts: Path, words: set[str]) -> Iterator[str]:
    """Yield, for each icon that a page shows, a rule with its outline."""
    codes = {
        name: int(code, 16)
        for names, code in re.findall(
            r'([^{}]+)\{content:"\\([0-9a-f]+)"\}', theme.read_text("utf-8")
        )
        for name in re.findall(r"\.(fa-[\w-]+)", names)
        if name in words
    }
    for file in ("fa-solid-900.ttf", "fa-brands-400.ttf"):
        font = TTFont(fonts / file)
        glyphs, characters = font.getGlyphSet(), font.getBestCmap()
        top, height = font["hhea"].ascent, font["head"].unitsPerEm
        for name, code in sorted(codes.items()):
            if code not in characters:
                continue
            glyph = glyphs[characters[code]]
            pen = SVGPathPen(glyphs, ntos=lambda number: f"{number:.0f}")
            glyph.draw(pen)
            svg = (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {glyph.width} {height}">'
                f'<path transform="matrix(1 0 0 -1 0 {top})" d="{pen.getCommands()}"/></svg>'
            )
            data = quote(svg, safe=" /:=()")
            yield f'.{name}{{--icon:url("data:image/svg+xml,{data}")}}\n'


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx's events, after the theme and the other extensions have added their files."""
    app.connect("html-page-context", prepare, priority=950)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
