"""What the book draws: one function a figure, one module a chapter; arrays and Axes in, the Axes out."""

from .covariate_shift import *
from .normalization import *
