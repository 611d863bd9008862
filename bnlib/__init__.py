"""Batch normalization, from the equations to a trained network.

The package has floors, and each imports only from the floors to its right::

    book, tests, benchmarks -> sweep, engines -> lab -> layers -> reference   figures, show, exercises: beside

reference
    NumPy. The mathematics: pure functions that read like the equations.
layers
    PyTorch. What one trains with: functions, the derived backward, drop-in modules, folding.
lab
    One network: MNIST, the paper's model, one training loop, probes.
sweep
    Many networks: the long experiments, what trains them, the records they leave.
engines
    Other frameworks, asked the same questions, and ONNX.
figures, show
    What the book draws, and how it shows source code and agreement on the page.
exercises
    Checks for what the reader writes, which say what is wrong.
"""

__version__ = "1.0.0"
