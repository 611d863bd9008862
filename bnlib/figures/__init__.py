"""What the book draws: one function a figure, one module a chapter.

Arrays and Axes go in, and the Axes come out. A shape that is not as documented, or another number of Axes,
is a ValueError. Colors, and what several figures do alike, stand in `style`.
"""

from .algorithm import *
from .comparisons import *
from .conclusion import *
from .cost import *
from .cousins import *
from .covariate_shift import *
from .depth_and_noise import *
from .experiments import *
from .folding import *
from .frameworks import *
from .full_experiment import *
from .inference import *
from .introduction import *
from .many_workers import *
from .mistakes import *
from .moving_data import *
from .normalization import *
from .scale import *
from .style import *
from .touch import *
from .why_it_works import *
