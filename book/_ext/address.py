"""Where this copy of the book lives: the buttons lead there, and a copy that lives nowhere has none."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

#: The branch with the copies for Colab, which the publishing workflow writes (tools/for_colab.py).
COPIES = "colab"
REMOTE = re.compile(
    r"(?:(?:https|ssh)://(?:[^@/]+@)?|git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?"
)


def repository(environ: Mapping[str, str], remote: str) -> str | None:
    """Return the address of the repository on GitHub, or None if it is not there.

    A workflow of GitHub says it in its environment; elsewhere the checkout's remote does.
    """
    if name := environ.get("GITHUB_REPOSITORY"):
        return f"https://github.com/{name}"
    match = REMOTE.fullmatch(remote.strip())
    return f"https://github.com/{match[1]}" if match else None


def published(environ: Mapping[str, str]) -> str | None:
    """Return the address under which GitHub Pages serves what a workflow builds, or None outside of one."""
    owner, _, name = environ.get("GITHUB_REPOSITORY", "").partition("/")
    if not name:
        return None
    host = f"{owner.lower()}.github.io"
    return (
        f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"
    )


def remote_of(folder: Path) -> str:
    """Return the address that a checkout came from, or nothing."""
    try:
        found = subprocess.run(
            ["git", "remote", "get-url", "origin"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # there is no git
        return ""
    return found.stdout


def add_addresses(app: Sphinx, config: Config) -> None:
    """Add the buttons that lead to the repository, to Binder and to Colab, if there is a repository to lead to.

    Colab opens copies that a workflow of GitHub writes, so only the site of a workflow has its button.
    """
    config.html_baseurl = published(os.environ) or ""
    address = repository(os.environ, remote_of(Path(app.srcdir)))
    if address is None:
        return
    options: dict[str, Any] = {
        "repository_url": address,
        "repository_branch": "main",
        "path_to_docs": "",  # page names already begin with book/
        "use_repository_button": True,
        "use_issues_button": True,
        "use_edit_page_button": True,
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
        },
    }
    if config.html_baseurl:
        options["launch_buttons"]["colab_url"] = (
            "https://colab.research.google.com"
        )
    config.html_theme_options = {**config.html_theme_options, **options}


def open_the_copies(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Lead the button of Colab to the branch of the copies: the theme knows one branch for all buttons."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button["text"] == "Colab":
                button["url"] = button["url"].replace(
                    "/blob/main/", f"/blob/{COPIES}/"
                )


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the moments when the settings have been read, and when the theme has made its buttons."""
    app.connect("config-inited", add_addresses, priority=400)
    app.connect("html-page-context", open_the_copies, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
