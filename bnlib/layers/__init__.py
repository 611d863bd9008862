"""PyTorch: functions, the derived backward, drop-in modules, folding and population statistics."""

from .batch_norm import *
from .checkpointing import *
from .folding import *
from .frozen import *
from .functional import *
from .guarded import *
from .handmade import *
from .masked import *
from .population import *
