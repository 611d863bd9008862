"""NumPy: the mathematics, in pure functions that read like the equations."""

from .axes import *
from .backward import *
from .cousins import *
from .covariate_shift import *
from .folding import *
from .forward import *
from .frameworks import *
from .numerical import *
from .statistics import *
from .whitening import *
