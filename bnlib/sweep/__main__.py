"""Run stored experiments: ``python -m bnlib.sweep NAME``, ``--list`` names them."""

import argparse
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from bnlib.lab import MNIST, load_mnist

from .catalogue import EXPERIMENTS
from .engine import describe_data, is_record_of, plan, run_experiment
from .experiment import Experiment
from .records import read_record, write_record


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m bnlib.sweep",
        usage="%(prog)s [--list | --all | NAME ...] [options]",
        description="Run stored experiments. One that was stopped goes on after its last finished group.",
    )
    p.add_argument("names", nargs="*", metavar="NAME", help="of an experiment")
    p.add_argument("--list", action="store_true", help="say what there is, and end")
    p.add_argument("--all", action="store_true", help="run every experiment")
    p.add_argument(
        "--again", action="store_true", help="also what is finished, or was made with other settings"
    )
    p.add_argument("--steps", type=int, help="length of a run, instead of the experiment's own")
    p.add_argument("--seeds", type=int, help="how many seeds, instead of the experiment's own")
    p.add_argument(
        "--jobs", type=int, default=1, help="how many groups of runs go side by side (1); -1: one a core"
    )
    p.add_argument("--data-dir", type=Path, metavar="FOLDER", help="with the four official MNIST files")
    p.add_argument("--out", type=Path, default=Path("book/results"), metavar="FOLDER", help="for the results")
    return p


def list_experiments() -> None:
    """Every experiment with its question, its size and how long it takes."""
    for experiment in EXPERIMENTS.values():
        runs = len(experiment.cases) * experiment.seeds
        print(
            f"{experiment.name}: {runs} runs of {experiment.looks[-1]:,} steps, "
            f"about {experiment.minutes:g} min on one core\n    {experiment.question}"
        )


def is_finished(experiment: Experiment, args: argparse.Namespace, mnist: MNIST) -> bool:
    """Whether the record is there already, made with the same settings; refuse whatever else is there."""
    path = args.out / f"{experiment.name}.json"
    if not path.exists():
        return False
    record = read_record(path)
    if record.experiment != experiment.name:
        raise ValueError(f"{path}: expected a record of {experiment.name} (got one of {record.experiment})")
    if args.again:
        return False
    same_data = record.data == describe_data(mnist)
    if not same_data or not is_record_of(record, experiment, *plan(experiment, args.seeds, args.steps)):
        raise ValueError(f"{path}: made with other settings; --again replaces it, --out writes elsewhere")
    return True


def run(args: argparse.Namespace, chosen: Sequence[Experiment], mnist: MNIST) -> None:
    """Run what is not finished, one experiment after the other."""
    # Refuse before the first hour, not after it.
    finished = [is_finished(experiment, args, mnist) for experiment in chosen]
    args.out.mkdir(exist_ok=True)
    if not all(finished) and not os.access(args.out, os.W_OK):
        raise PermissionError(f"cannot write in the folder {args.out}; --out names another")
    for experiment, done in zip(chosen, finished, strict=True):
        path = args.out / f"{experiment.name}.json"
        if done:
            say(f"{experiment.name}: finished already, with these settings ({path}); --again repeats it")
            continue
        unfinished = path.with_suffix(".unfinished")
        how = "goes on" if unfinished.exists() else f"about {experiment.minutes:g} min on one core"
        say(f"{experiment.name}: {how}, data: {describe_data(mnist).name}")
        options = {"seeds": args.seeds, "steps": args.steps, "jobs": args.jobs}
        record = run_experiment(experiment, mnist, unfinished=unfinished, **options)
        write_record(path, record)
        shutil.rmtree(unfinished)  # only now that the record is there
        say(f"{experiment.name}: {record.duration_s:,.0f} s, written to {path}")


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
    if args.jobs == 0:
        p.error("expected how many jobs, or -1 for one a core (got 0)")
    chosen = [EXPERIMENTS[name] for name in (dict.fromkeys(args.names) or EXPERIMENTS)]
    try:
        if not args.out.parent.is_dir():
            raise FileNotFoundError(f"no folder {args.out.parent} for the results; --out names another")
        for experiment in chosen:
            plan(experiment, args.seeds, args.steps)  # refuses numbers that are not positive
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mnist = load_mnist(args.data_dir)
        for warning in caught:
            say(f"note: {warning.message}")
        run(args, chosen, mnist)
    except (ValueError, OSError) as error:
        p.exit(2, f"{p.prog}: {error}\n")
    except KeyboardInterrupt:
        p.exit(2, f"{p.prog}: stopped; the same command goes on after the last finished group of runs\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
