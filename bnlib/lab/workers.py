"""Several processes on one machine: start them, let them meet, leave none behind."""

import multiprocessing
import pickle
import signal
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

__all__ = ["WorkersError", "run_workers"]

# Seconds that processes may take to be there: on a busy machine the import of torch alone takes many.
START = 300.0


class WorkersError(RuntimeError):
    """What went wrong, by worker.

    Attributes
    ----------
    found : dict of int to str
        The last line of each worker's error, or how its process ended.
    results : dict of int to object
        What those returned that ended well.
    """

    def __init__(self, found: dict[int, str], results: dict[int, object]) -> None:
        each = "; ".join(f"worker {rank}: {what}" for rank, what in found.items())
        super().__init__(f"expected every worker to end well (got {each})")
        self.found, self.results = found, results


def run_workers(
    function: Callable, workers: int, *arguments, limit: float = 120, patience: float = 20
) -> list:
    """Call a function in several new processes that can meet through ``torch.distributed``, by gloo.

    Parameters
    ----------
    function : callable
        Of `arguments`, the same in each process. It has to be importable, so from a module, not a notebook;
        ``torch.distributed`` tells it which worker it is. It computes on one thread.
    workers : int
    limit : float
        Seconds after which whoever still runs is killed, counted from the first meeting: until then there
        are five minutes.
    patience : float
        Seconds that a worker waits for the others at a meeting.

    Returns
    -------
    list
        What each worker returned, by rank.

    Raises
    ------
    WorkersError
        If one raises, dies or takes too long. No process is left behind, here as ever.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        job = function, workers, arguments, patience, folder
        processes = [context.Process(target=_work, args=(rank, *job), daemon=True) for rank in range(workers)]
        try:
            for process in processes:
                process.start()
            _wait(processes, Path(folder), limit)
            found = {rank: _outcome(p, Path(folder, str(rank)), limit) for rank, p in enumerate(processes)}
        finally:
            for rank, process in enumerate(processes):
                if Path(folder, str(rank)).exists():
                    process.join(10)
                if process.is_alive():
                    process.kill()
                    process.join()
    results = {rank: value for rank, (well, value) in found.items() if well}
    if len(results) < workers:
        raise WorkersError({rank: value for rank, (well, value) in found.items() if not well}, results)
    return [results[rank] for rank in range(workers)]


def _work(rank: int, function: Callable, workers: int, arguments, patience: float, folder: str) -> None:
    torch.set_num_threads(1)
    try:
        store = dist.FileStore(f"{folder}/meeting-place", workers)
        store.set(f"here-{rank}", "")
        store.wait([f"here-{other}" for other in range(workers)], timedelta(seconds=START))
        patient = timedelta(seconds=patience)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=workers, timeout=patient)
        Path(folder, f"met-{rank}").touch()
        outcome = True, function(*arguments)
    except Exception as error:
        outcome = False, f"{type(error).__name__}: {error}"
    written = Path(folder, f"unfinished-{rank}")
    written.write_bytes(pickle.dumps(outcome))
    written.rename(Path(folder, str(rank)))  # there at once, or not at all
    if dist.is_initialized():
        dist.destroy_process_group()


def _wait(processes: list, folder: Path, limit: float) -> None:
    """Until all have ended, or it has taken too long."""
    end, met = time.monotonic() + START, False

    def goes_on():
        return any(p.is_alive() and not Path(folder, str(rank)).exists() for rank, p in enumerate(processes))

    while goes_on() and time.monotonic() < end:
        if not met and len(list(folder.glob("met-*"))) == len(processes):
            end, met = time.monotonic() + limit, True
        time.sleep(0.02)


def _outcome(process, path: Path, limit: float) -> tuple[bool, object]:
    if path.exists():  # it may still be taking leave of the others
        return pickle.loads(path.read_bytes())
    if process.is_alive():
        return False, f"still running after {limit:g} s"
    code = process.exitcode
    return False, f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
