"""Execute notebooks in place, so that running the same code twice gives the same file, byte for byte.

``python tools/run_notebooks.py`` runs every chapter; name files to run only those. A notebook is written only
when all of its cells have succeeded. A cell that raises, or that prints to stderr, is reported and leaves its
file as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

BOOK = Path(__file__).resolve().parent.parent / "book"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},  # without the version: it would change with each reader's Python
}
TIMEOUT = 600  # seconds a cell
TERMINAL_COLORS = re.compile(r"\x1b\[[0-9;]*m")


class NotebookError(Exception):
    """A notebook did not run; the message names the cell and what went wrong."""


class Client(NotebookClient):
    """nbclient, but Ctrl-C ends the run; by itself it only ends the kernel, and the cell seems to fail."""

    stopped = False

    async def async_start_new_kernel(self, **kwargs: object) -> None:
        """Start it, with nbclient's handlers of signals replaced."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()

        def stop() -> None:
            self.stopped = True
            self.shutdown_kernel = "immediate"  # asked gently, a kernel that is starting prints a traceback
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # nbclient leaves a task that complains
            task.cancel()

        with contextlib.suppress(RuntimeError):  # Windows has no such handlers, and needs none
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop)
        await super().async_start_new_kernel(**kwargs)


def give_ids(cells: list[dict]) -> None:
    """Give every cell an id of its own, and keep the ones that are there.

    nbformat would invent random ids, and each run would then look like a change.
    """
    taken: set[str] = set()
    for number, cell in enumerate(cells, start=1):
        name = cell.get("id")
        if not name or name in taken:
            name = f"cell-{number:02d}"
            while name in taken or any(other.get("id") == name for other in cells):
                name += "-x"
            cell["id"] = name
        taken.add(name)


def read(path: Path) -> NotebookNode:
    """Read a notebook as version 4.5 with ids on all cells; the file is not changed."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.get("nbformat") != 4:
            raise ValueError(f"expected notebook format 4 (got {raw.get('nbformat')})")
        raw["nbformat_minor"] = 5
        give_ids(raw["cells"])
        nbformat.validate(raw)
    except (AttributeError, KeyError, TypeError, ValueError, nbformat.ValidationError) as error:
        raise NotebookError(f"{path}: not a notebook ({str(error).splitlines()[0]})") from error
    return nbformat.reads(json.dumps(raw), as_version=nbformat.NO_CONVERT)


def first_line(cell: NotebookNode) -> str:
    """Return the line a reader knows the cell by."""
    return next((line for line in cell.source.splitlines() if line.strip()), "(empty)")


def complaint(cell: NotebookNode, number: int, what: str) -> str:
    """Say which cell failed, and how."""
    return f"cell {number} (id {cell.id}): {first_line(cell)}\n{TERMINAL_COLORS.sub('', what).rstrip()}"


def without_files(traceback: list[str]) -> list[str]:
    """Keep the cell's own lines and the message: the frames inside files name folders of this machine."""
    return [frame for frame in traceback if not TERMINAL_COLORS.sub("", frame).startswith("File ")]


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in a fresh kernel, then drop what differs from run to run.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place: outputs, execution counts 1..n, metadata.
    folder : Path
        Where the kernel runs.

    Raises
    ------
    NotebookError
        If a cell raises, runs out of time, or writes to stderr.
    KeyboardInterrupt
        If the run is stopped.
    """
    started: list[int] = [0]

    def on_cell_start(cell: NotebookNode, cell_index: int) -> None:
        started[0] = cell_index

    client = Client(
        notebook,
        timeout=TIMEOUT,
        kernel_name=METADATA["kernelspec"]["name"],
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,  # how a long output is cut into messages depends on the machine's speed
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=on_cell_start,
        extra_arguments=["--log-level=CRITICAL"],  # else each kernel says that it listens on TCP
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        at = started[0]
        raise NotebookError(complaint(notebook.cells[at], at + 1, str(error))) from error
    finally:
        if client.stopped:  # whatever nbclient made of it
            raise KeyboardInterrupt

    for number, cell in enumerate(notebook.cells, start=1):
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                raise NotebookError(complaint(cell, number, "wrote to stderr:\n" + output.text))
            if output.output_type == "error":  # one made on purpose; the others have ended the run
                output.traceback = without_files(output.traceback)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        # An empty cell is never sent to the kernel; a number all the same keeps the counts 1..n.
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    notebook.metadata = nbformat.from_dict(METADATA)


def write(notebook: NotebookNode, path: Path) -> bool:
    """Replace the file in one step; an interruption leaves the old one. Return whether it changed."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"
    if path.read_text(encoding="utf-8") == text:
        return False
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".ipynb")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, path.stat().st_mode)  # mkstemp makes it private; git would see the difference
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the named notebooks, or all of the book's; return 0 if every one succeeded, else 1.

    What cannot be run at all, and an interruption, end in one line and status 2.
    """
    parser = argparse.ArgumentParser(description="Execute notebooks in place, deterministically.")
    parser.error = lambda message: parser.exit(2, f"{parser.prog}: {message}\n")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every notebook in book/")
    paths = parser.parse_args(arguments).notebooks or sorted(BOOK.glob("*.ipynb"))
    try:
        for path in paths:
            read(path)
            if not os.access(path.parent, os.W_OK):
                parser.error(f"cannot write in the folder {path.parent}")
    except (NotebookError, OSError) as error:
        parser.error(str(error))
    if folder := os.environ.get("BNLIB_DATA_DIR"):
        folder = os.path.abspath(os.path.expanduser(folder))  # the kernels run elsewhere
        if not os.path.isdir(folder):
            parser.error(f"no MNIST folder {folder}")
        os.environ["BNLIB_DATA_DIR"] = folder
    # The kernels inherit these: no progress bars, and no note that the embedded images are used.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("PYTHONWARNINGS", "ignore:the official MNIST files are not at hand")

    failed = []
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.name} ...", end=" ", flush=True)
        start = time.perf_counter()
        try:
            notebook = read(path)
            execute(notebook, path.resolve().parent)
            changed = write(notebook, path)
        except KeyboardInterrupt:
            print("stopped, file left as it was", flush=True)
            parser.error(f"stopped in {path.name}; the notebooks before it are done")
        except (NotebookError, nbformat.ValidationError, OSError, ValueError, KeyError) as error:
            print("FAILED, file left as it was", flush=True)
            print(error, file=sys.stderr, flush=True)
            failed.append(path.name)
        else:
            seconds = time.perf_counter() - start
            print(f"{'changed' if changed else 'unchanged'}, {seconds:.0f} s", flush=True)
    if failed:
        print(f"{len(failed)} of {len(paths)} failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
