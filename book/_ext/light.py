"""Pages that arrive quickly: one stylesheet with what the pages use, one script that waits, images at their size.

The theme and the extensions ask for a dozen stylesheets, which a page waits for, and a dozen scripts. The stylesheet
that takes their place holds the rules that some page can use and two fonts: that of the mathematics, and that of the
icons, of which a dozen are shown (the theme's script of 1.5 MB, which replaces them by drawings, is left out).
"""

from __future__ import annotations

import re
import shutil
from base64 import b64encode
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import tinycss2
from docutils import nodes
from fontTools import subset
from mathematics import FONT, characters
from PIL import Image
from sphinx.application import Sphinx

#: What the theme's own layout loads; basic.css is what its theme.css imports.
THEME_CSS = ["basic.css", "styles/pydata-sphinx-theme.css"]
THEME_JS = ["scripts/bootstrap.js", "scripts/pydata-sphinx-theme.js"]


def prepare(
    app: Sphinx,
    page: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Let a page ask for one stylesheet and one script, which _templates/layout.html names, and size its images."""
    if app.builder.format != "html":
        return
    asked = app.env.temp_data
    for css in context["css_files"]:
        asked.setdefault("css", {})[static_name(css)] = None
    for script in context["script_files"]:
        if script.filename:
            asked.setdefault("js", {})[static_name(script)] = None
        elif "DOCUMENTATION_OPTIONS" not in script.attributes["body"]:
            asked.setdefault("settings", {})[script.attributes["body"]] = None
    context["css_files"], context["script_files"] = [], []
    context["collapse_index"] = (
        False  # an index that folds asks for a script's settings, which no page has
    )
    if "body" in context:
        sized = re.sub(
            r'<img [^>]*src="[^"]*_images/([^"]+\.png)"[^>]*>',
            lambda match: _sized(app, *match.group(0, 1)),
            context["body"],
        )
        # the images, and the links to them
        context["body"] = re.sub(r'(_images/[^"]+)\.png"', r'\1.webp"', sized)


def static_name(asset: Any) -> str:
    """Return the path of a stylesheet or a script below _static."""
    return str(asset.filename).removeprefix("_static/")


def _sized(app: Sphinx, tag: str, name: str) -> str:
    """Give an image the width and height that it is shown with, and let it come when it is near."""
    sources = (path for path, (_, copy) in app.env.images.items() if copy == name)
    with Image.open(Path(app.srcdir, next(sources))) as image:
        width, height = image.size
    shown = re.search(r' style="width: (\d+)px;"', tag)
    if shown:
        width, height = int(shown[1]), round(height * int(shown[1]) / width)
        tag = tag.replace(shown[0], "")
    size = f'width="{width}" height="{height}"'
    return tag.replace("<img ", f'<img {size} loading="lazy" decoding="async" ')


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write book.js and book.css, and take away what no page asks for any longer."""
    if exception is not None or app.builder.format != "html":
        return
    out, static = Path(app.outdir), Path(app.outdir, "_static")
    asked = app.env.temp_data
    scripts, stylesheets = [*asked["js"], *THEME_JS], [*THEME_CSS, *asked["css"]]
    # A first "use strict" would hold for all, so there is a semicolon before it.
    js = "\n;".join(["", *asked["settings"], *texts(static, scripts)])
    (static / "book.js").write_text(js, "utf-8")
    pages = "".join(texts(out, sorted(out.rglob("*.html"))))
    css = stylesheet(static, "\n".join(texts(static, stylesheets)), pages)
    (static / "book.css").write_text(css, "utf-8")
    repack(out / "_images")
    shutil.rmtree(static / "vendor")
    for name in {
        *scripts,
        *stylesheets,
        *static.rglob("*.map"),
        *static.rglob("fontawesome.js*"),
    }:
        (static / name).unlink()


def texts(folder: Path, names: Iterable[str | Path]) -> list[str]:
    """Read files of a folder."""
    return [(folder / name).read_text("utf-8") for name in names]


def stylesheet(static: Path, css: str, pages: str) -> str:
    """Return all that the pages need: the rules of some CSS that are used, and the fonts of mathematics and icons."""
    scripts = "".join(
        texts(
            static,
            set(static.rglob("*.js")) - set(static.rglob("fontawesome.js")),
        )
    )
    words = set(re.findall(r"[\w-]+", scripts)).union(
        *map(str.split, re.findall(r'(?:class|id)="([^"]*)"', pages))
    )
    rules = "".join(used(css, words))
    icons = set(re.findall("[\ue000-\uf8ff]", rules))
    free, brands = "Font Awesome 6 Free", "Font Awesome 6 Brands"
    folder = static / "vendor" / "fontawesome" / "webfonts"
    return "".join(
        [
            font_face("Book math", FONT, characters(pages)),
            font_face(free, folder / "fa-solid-900.ttf", icons, 900),
            font_face(brands, folder / "fa-brands-400.ttf", icons),
            rules,
        ]
    )


def font_face(
    family: str, file: Path, characters: set[str], weight: int = 400
) -> str:
    """Return the CSS that brings a font along, cut down to some characters.

    The few kilobytes that are left travel in the stylesheet itself: they are there at the first paint.
    """
    options = subset.Options(
        flavor="woff2", layout_features=[], hinting=False, name_IDs=[0, 13]
    )
    packed = BytesIO()
    with subset.load_font(file, options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(text="".join(characters))
        subsetter.subset(font)
        subset.save_font(font, packed, options)
    data = b64encode(packed.getvalue()).decode()
    return (
        f'@font-face{{font-family:"{family}";font-weight:{weight};font-display:block;'
        f'src:url("data:font/woff2;base64,{data}") format("woff2")}}\n'
    )


def repack(images: Path) -> None:
    """Store PNG images as WebP, which takes a third of the bytes for the same pixels."""
    for path in images.glob("*.png"):
        with Image.open(path) as image:
            opaque = image.convert("RGB")
        opaque.save(
            path.with_suffix(".webp"), lossless=True, method=1, quality=20
        )
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
    names = [
        token.value
        for before, token in zip([None, *selector], selector, strict=False)
        if token.type == "hash" or (token.type == "ident" and before == ".")
    ]
    return words.issuperset(names)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx's events, after the theme and the other extensions have added their files."""
    app.connect("html-page-context", prepare, priority=950)
    app.connect("build-finished", finish, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
