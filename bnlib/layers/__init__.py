"""PyTorch: functions, the derived backward, drop-in modules, folding and population statistics."""

from .batch_norm import *
from .folding import *
from .functional import *
from .handmade import *
from .population import *
