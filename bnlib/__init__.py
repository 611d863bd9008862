"""Batch normalization, from the equations to a trained network.

The package has three floors, and each imports only from the floors to its right::

    book, tests  ->  lab  ->  layers  ->  reference        figures, show: beside

reference
    NumPy. The mathematics: pure functions that read like the equations.
layers
    PyTorch. What one trains with: functions, the derived backward, drop-in modules, folding.
lab
    Experiments: MNIST, the paper's network, one training loop, probes.
figures, show
    What the book draws, and how it shows source code and agreement on the page.
"""

__version__ = "1.0.0"
