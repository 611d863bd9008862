"""What `make lab` opens: a chapter runs in JupyterLab from top to bottom, and reads as on the site."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest

from .conftest import HOW, context

ROOT = Path(__file__).resolve().parents[2]
#: A chapter with numbered equations and exercises, of short runs.
CHAPTER = "scale.ipynb"
MINUTE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own, with a copy of the chapter: its address and the copy."""
    pytest.importorskip("jupyterlab", reason=HOW)
    pytest.importorskip("jupyterlab_myst", reason=HOW)
    folder = tmp_path_factory.mktemp("lab")
    copy = Path(shutil.copy(ROOT / "book" / CHAPTER, folder))
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    # By itself it draws only the cells that are in view.
    settings = folder / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}', encoding="utf-8")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--IdentityProvider.token=", f"--ServerApp.port={port}", f"--ServerApp.root_dir={folder}"]
    command += [f"--LabApp.user_settings_dir={folder / 'settings'}"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    with (folder / "log").open("w", encoding="utf-8") as log:
        own["PYTHONPATH"] = path
        server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 120
        while not answers(f"{address}/api"):
            said = (folder / "log").read_text(encoding="utf-8")
            assert server.poll() is None and time.monotonic() < end, said
            time.sleep(0.2)
        yield address, copy
    finally:
        server.terminate()  # it takes its kernels along
        server.wait(60)


def answers(address):
    try:
        with urlopen(address, timeout=5):
            return True
    except URLError:
        return False


def test_a_chapter_runs_and_is_drawn_in_jupyterlab(browser, lab):
    if browser.browser_type.name != "chromium":
        pytest.skip("JupyterLab is tried in one browser")
    address, copy = lab
    cells = nbformat.read(copy, as_version=nbformat.NO_CONVERT).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    reader = context(browser, 1280)
    reader.set_default_timeout(4 * MINUTE)
    page = reader.new_page()
    page.goto(f"{address}/lab/tree/{copy.name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", state="attached")

    # The extension draws after JupyterLab has: wait until every equation and exercise has its number, and no
    # markup is left; what is folded away counts too.
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    equations, exercises = text.count("$$ ("), text.count("{exercise}")
    assert equations > 3 and exercises > 3
    expected = [f"({n + 1})" for n in range(equations)] + [f"Exercise {n + 1}" for n in range(exercises)]
    page.wait_for_function(
        """([expected, raw]) => {
          const drawn = [...document.querySelectorAll(".jp-MarkdownCell .myst")];
          const shown = drawn.map(cell => cell.textContent).join();
          return expected.every(part => shown.includes(part)) && !raw.some(part => shown.includes(part));
        }""",
        arg=[expected, ["{eq}`", "{ref}`", "{exercise}", ":label:", "$$"]],
    )

    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    last = page.locator(".jp-CodeCell .jp-InputPrompt").last
    page.wait_for_function("prompt => prompt.innerText === '[*]:'", arg=last.element_handle())
    page.wait_for_function(
        "prompt => /\\d/.test(prompt.innerText)", arg=last.element_handle(), timeout=5 * MINUTE
    )
    page.keyboard.press("Control+s")
    page.wait_for_function("!document.querySelector('.jp-mod-dirty')")
    reader.close()

    ran = [c for c in nbformat.read(copy, as_version=nbformat.NO_CONVERT).cells if c.cell_type == "code"]
    assert [cell.execution_count for cell in ran] == list(range(1, len(code) + 1))
    meant = [cell.id for cell in code if any(output.output_type == "error" for output in cell.outputs)]
    assert [c.id for c in ran if any(output.output_type == "error" for output in c.outputs)] == meant
