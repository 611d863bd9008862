"""PyTorch: functions, the derived backward, drop-in modules, their uses."""

from .as_torch import *
from .batch_norm import *
from .checkpointing import *
from .copying import *
from .cousins import *
from .folding import *
from .freezing import *
from .frozen import *
from .functional import *
from .guarded import *
from .handmade import *
from .kinds import *
from .masked import *
from .population import *
from .sync import *
from .synchronizing import *
