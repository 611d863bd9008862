"""Print the built site as one PDF: `python tools/print_book.py`, or `make pdf`.

The pages become one document, in the order of _toc.yml, and chromium prints it once. So bookmarks, tags for
screen readers, page numbers and links from page to page are of one piece, which a merging of PDFs would not
keep. How a page looks on paper stands in book/_static/bnbook.css.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
SITE, PDF = ROOT / "_build/html", ROOT / "_build/batch-normalization.pdf"
#: What has no use on paper: folded code, controls, links to the place where one is, and to code on the site.
NOT_PRINTED = "script, button, details.hide, a.headerlink, .viewcode-link, .bn-touch .controls"
#: Code without a color of its own, of which each word would become a tag: half of the file.
PLAIN = ".highlight span:is(:not([class]), .n, .nn, .p, .w), code .pre"
#: Attributes that name places of the same page.
NAMING = ("for", "aria-labelledby", "aria-describedby", "aria-controls")
HEADINGS = "h1, h2, h3, h4, h5, h6"


def contents(toc: dict) -> Iterator[tuple[int, str, bool]]:
    """Yield of each part's caption and of each page: its level, its name, and whether it is a page."""
    yield 2, toc["root"], True
    for part in toc["parts"]:
        yield 1, part["caption"], False
        for chapter in part["chapters"]:
            yield 2, chapter["file"], True
            for section in chapter.get("sections", []):
                yield 3, section["file"], True


def place(page: str, name: str = "") -> str:
    """Return what the one document calls a place of a page, or the page itself."""
    return f"{Path(page).name}--{name}" if name else Path(page).name


def lead(href: str, page: str, pages: set[str]) -> str | None:
    """Return where a link of a page leads from paper: into the document, to another site, or nowhere."""
    if re.match(r"[a-z]+:", href):
        return href
    file, _, name = href.partition("#")
    target = f"{Path(page).parent}/{file.removesuffix('.html')}" if file else page
    return f"#{place(target, name)}" if target in pages else None


def printable(html: str, page: str, level: int, pages: set[str]) -> str:
    """Return a page's article as a section of the one document, its title a heading of some level."""
    article = BeautifulSoup(html, "html.parser").find("article")
    for useless in article.select(NOT_PRINTED):
        useless.decompose()
    for plain in article.select(PLAIN):
        plain.unwrap()
    for folded in article.select("details"):
        folded["open"] = ""
    for heading in article.select(HEADINGS):
        heading.name = f"h{min(6, int(heading.name[1]) + level - 1)}"
    for element in article.find_all(True):
        for key in {"id", *NAMING} & element.attrs.keys():
            element[key] = " ".join(place(page, name) for name in str(element[key]).split())
        if "src" in element.attrs:
            element["src"] = element["src"].removeprefix("../")
            element.attrs.pop("loading", None)  # all of it is needed at once
    for link in article.select("a[href]"):
        if target := lead(link["href"], page, pages):
            link["href"] = target
        else:
            link.unwrap()
    article.name, article["id"] = "section", place(page)
    return str(article)


def document(site: Path, toc: dict, config: dict) -> str:
    """Return all pages as one HTML document, which finds its images in the site's folder."""
    pages = {name for _, name, is_page in contents(toc) if is_page}
    sections = [
        printable((site / f"{name}.html").read_text("utf-8"), name, level, pages)
        if is_page
        else f'<section class="part"><h1>{escape(name)}</h1></section>'
        for level, name, is_page in contents(toc)
    ]
    title, author = escape(config["title"]), escape(config["author"])
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="_static/book.css">
<style>
  @page {{ @bottom-center {{ content: counter(page); font: 9pt sans-serif; color: #555; }} }}
  @page :first {{ @bottom-center {{ content: none; }} }}
  .cover, .part {{ height: 90vh; padding-top: 30vh; text-align: center; }}
  .cover, .part, .bd-article {{ break-after: page; }}
  .cover .title, .part h1 {{ font-size: 2.6rem; font-weight: 600; }}
  .bd-article h2 {{ margin-top: 0; font-size: 2.1rem; border: 0; }}
  .bd-article h3 {{ font-size: 1.5rem; }}
  .bd-article h4 {{ font-size: 1.2rem; }}
  .bd-article :is(h5, h6) {{ font-size: 1.05rem; }}
</style></head>
<body class="bd-content"><main>
<section class="cover"><p class="title">{title}</p><p>{author}, {config["copyright"]}</p>
<p>On paper all answers are open. Folded cells, which only draw or check, are left out.</p></section>
{"".join(sections)}</main></body></html>"""


def bookmarks(items: Iterable[Any]) -> Iterator[Any]:
    """Yield bookmarks, each before those under it: in the order of the pages."""
    for item in items:
        yield item
        yield from bookmarks(item.children)


def print_pdf(source: Path, target: Path, title: str, author: str) -> None:
    """Print a file of HTML, with its headings as bookmarks and its structure as tags."""
    import pikepdf
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        names = ("chromium", "chromium-browser", "google-chrome", playwright.chromium.executable_path)
        path = next(filter(None, map(shutil.which, names)), None)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(source.as_uri(), timeout=0)
        headings = page.eval_on_selector_all(
            HEADINGS, "all => all.map(heading => heading.textContent.trim())"
        )
        page.pdf(path=target, prefer_css_page_size=True, outline=True, tagged=True)
        browser.close()
    with pikepdf.open(target, allow_overwriting_input=True) as pdf:
        # chromium writes the words twice of a heading that did not fit at the end of a page
        with pdf.open_outline() as outline:
            for entry, heading in zip(bookmarks(outline.root), headings, strict=True):
                entry.title = heading
        pdf.docinfo["/Title"], pdf.docinfo["/Author"] = title, author
        pdf.Root.PageMode = pikepdf.Name.UseOutlines  # they are there to be seen
        pdf.save(target, object_stream_mode=pikepdf.ObjectStreamMode.generate)


def main(site: Path = SITE, target: Path = PDF) -> None:
    """Print the site in a folder to a file."""
    toc, config = (yaml.safe_load((ROOT / name).read_text("utf-8")) for name in ("_toc.yml", "_config.yml"))
    source = site.resolve() / "print.html"
    source.write_text(document(site, toc, config), "utf-8")
    try:
        print_pdf(source, target, config["title"], config["author"])
    finally:
        source.unlink()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
