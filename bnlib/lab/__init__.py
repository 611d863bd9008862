"""Experiments: the data, the networks, the training loop, and the probes that look inside."""

from .data import *
from .experiments import *
from .models import *
from .probes import *
from .records import *
from .timing import *
from .together import *
from .training import *
