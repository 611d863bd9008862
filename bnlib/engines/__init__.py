"""Other frameworks: their own batch norms behind one face, the questions asked of them, and ONNX."""

from .base import *
from .export import *
from .flax_layer import *
from .frameworks import *
from .keras_layer import *
from .onnx_layer import *
from .questions import *
from .torch_layer import *
