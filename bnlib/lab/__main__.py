"""Run stored experiments: ``python -m bnlib.lab NAME``, ``--list`` names them."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import torch

from .data import MNIST, load_mnist
from .experiments import (
    EXPERIMENTS,
    Experiment,
    describe_data,
    fingerprint,
    plan,
    run_experiment,
    settings_of,
)
from .records import Record, read_partial, read_record, write_record


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 and one line, without the usage."""
        self.exit(2, f"{self.prog}: {' '.join(message.splitlines())}\n")


def up_to(most: int) -> Callable[[str], int]:
    """A whole number of at least 1, and not one that no machine could bear."""

    def number(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {most:,} (got {text!r})")
        return int(text)

    return number


def nonempty(text: str) -> Path:
    """A path; an empty one, as an unset variable of the shell gives, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder (got '')")
    return Path(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = OneLineParser(
        prog="python -m bnlib.lab",
        description="Run stored experiments. One that is stopped is taken up again by the same command.",
    )
    p.add_argument("names", nargs="*", metavar="NAME", help="of an experiment")
    p.add_argument("--list", action="store_true", help="say what there is, and end")
    p.add_argument("--all", action="store_true", help="run every experiment")
    p.add_argument(
        "--again", action="store_true", help="also what is finished, or was made with other settings"
    )
    p.add_argument("--steps", type=up_to(10_000_000), help="length of a run, instead of the experiment's own")
    p.add_argument("--seeds", type=up_to(1000), help="how many seeds, instead of the experiment's own")
    p.add_argument("--data-dir", type=nonempty, metavar="FOLDER", help="with the four official MNIST files")
    out = {"default": Path("book/results"), "metavar": "FOLDER", "help": "for the results"}
    p.add_argument("--out", type=nonempty, **out)
    p.add_argument("--threads", type=up_to(1000), default=1, help="that torch may use (1)")
    return p


def list_experiments() -> None:
    """Every experiment with its question, its size and how long it takes."""
    for experiment in EXPERIMENTS.values():
        runs = len(experiment.cases) * experiment.seeds
        print(
            f"{experiment.name}: {runs} runs of {experiment.looks[-1]:,} steps, "
            f"about {experiment.minutes:g} min on one core\n    {experiment.question}"
        )


def is_finished(experiment: Experiment, mark: str, folder: Path, again: bool) -> bool:
    """Whether the record is there already, made with the same settings; refuse whatever else is there."""
    path, partial = folder / f"{experiment.name}.json", folder / f"{experiment.name}.partial.npz"
    stopped = partial.exists() and read_partial(partial)[0]
    if stopped and stopped != mark and not again:
        raise ValueError(f"{partial}: a stopped run with other settings; --again starts anew")
    if not path.exists():
        return False
    record = read_record(path)
    if record.experiment != experiment.name:
        raise ValueError(f"{path}: expected a record of {experiment.name} (got one of {record.experiment})")
    if again:
        return False
    if fingerprint(record.settings, record.seeds, record.steps, record.data) != mark:
        raise ValueError(f"{path}: made with other settings; --again replaces it, --out writes elsewhere")
    return True


def run(args: argparse.Namespace, chosen: Sequence[Experiment], mnist: MNIST) -> None:
    """Run what is not finished, one experiment after the other."""
    data = describe_data(mnist)
    marks = {e.name: fingerprint(settings_of(e), *plan(e, args.seeds, args.steps), data) for e in chosen}
    # Refuse before the first hour, not after it.
    finished = {e.name: is_finished(e, marks[e.name], args.out, args.again) for e in chosen}
    if not all(finished.values()) and not os.access(args.out, os.W_OK):
        raise PermissionError(f"cannot write in the folder {args.out}; --out names another")
    for experiment in chosen:
        path = args.out / f"{experiment.name}.json"
        if finished[experiment.name]:
            say(f"{experiment.name}: finished already, with these settings ({path}); --again repeats it")
            continue
        partial = path.with_suffix(".partial.npz")
        if partial.exists() and read_partial(partial)[0] != marks[experiment.name]:
            partial.unlink()  # --again was said, else it had been refused
        how = "taken up again" if partial.exists() else f"about {experiment.minutes:g} min in full"
        say(f"{experiment.name}: {how}, data: {data['name']}")
        record = run_experiment(experiment, mnist, seeds=args.seeds, steps=args.steps, partial=partial)
        store(path, record, partial)
        say(f"{experiment.name}: {record.duration_s:,.0f} s, written to {path}")


def store(path: Path, record: Record, partial: Path) -> None:
    """Write the record, and only then remove what it was made from."""
    write_record(path, record)
    partial.unlink(missing_ok=True)


def say(text: str) -> None:
    """One line beside the progress bar, at once."""
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    p = parser()
    args = p.parse_args(argv)
    if args.list:
        list_experiments()
        return 0
    unknown = [name for name in args.names if name not in EXPERIMENTS]
    if unknown:
        p.error(f"no experiment {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}")
    if bool(args.names) == args.all:
        p.error("expected the name of an experiment, or --all, or --list")
    chosen = [EXPERIMENTS[name] for name in (dict.fromkeys(args.names) or EXPERIMENTS)]
    try:
        if not args.out.parent.is_dir():
            p.error(f"no folder {args.out.parent} for the results; --out names another")
        torch.set_num_threads(args.threads)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mnist = load_mnist(args.data_dir)
        for warning in caught:
            say(f"note: {warning.message}")
        args.out.mkdir(exist_ok=True)
        run(args, chosen, mnist)
    except (ValueError, OSError) as error:
        p.error(str(error))
    except KeyboardInterrupt:
        p.error("stopped; the same command takes it up again where it was last kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
