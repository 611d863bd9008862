"""What the book draws: one function a figure, one module a chapter; arrays and Axes in, the Axes out."""

from .algorithm import *
from .conclusion import *
from .covariate_shift import *
from .experiments import *
from .frameworks import *
from .full_experiment import *
from .inference import *
from .normalization import *
