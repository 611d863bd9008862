"""An experiment says what it varies, when it looks, and which cells of an arm are its best."""

from bnlib.sweep import Experiment, grid, looks


def test_what_is_varied_is_said_with_its_values_in_order(tiny):
    assert tiny.varied == {"norm": [None, "before"], "learning_rate": [0.1, 0.5]}


def test_looks_go_to_each_end_in_its_strides():
    assert looks((20, 10), (100, 40)) == (0, 10, 20, 60, 100)


def test_of_every_arm_the_best_cells_are_finalists():
    cells = grid(norm=(None, "before"), learning_rate=(0.1, 0.3, 1.0), std=(0.1, 0.2))
    experiment = Experiment("x", "?", 1, cells, (0, 1), tuned=("learning_rate", "std"))
    best = {(None, 0.3, 0.1): 3, (None, 1.0, 0.2): 2, ("before", 0.1, 0.2): 1, ("before", 0.1, 0.1): 0.5}
    held_out = {s: best.get((s.norm, s.learning_rate, s.std), 0) for s in experiment.settings}
    found = [(s.norm, s.learning_rate, s.std) for s in experiment.finalists(held_out)]
    assert found == list(best)
