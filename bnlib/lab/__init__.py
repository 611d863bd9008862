"""One network: the data, the models, the training loop, and the probes that look inside."""

from .adapt import *
from .cost import *
from .data import *
from .depth_and_noise import *
from .models import *
from .noisy import *
from .parallel import *
from .probes import *
from .quantized import *
from .shifts import *
from .timing import *
from .training import *
from .why_it_works import *
from .workers import *
