"""Figures to play with: SVG and a script, in one piece of HTML that asks nothing of a network.

Each function draws its first frame here, so a page is right without JavaScript and on paper; ``touch.js``
redraws what moves. A frame, here and there, is a function of the settings: it names parts of the figure, and
says of each its text, or its lines, each a list of (x, y) in the panel's own units.
"""

from .circle import circle
from .gamma_beta import gamma_beta
from .momentum import MOMENTA as MOMENTA
from .momentum import momentum
from .neighbors import neighbors
from .svg import Touch
from .training import training

__all__ = ["Touch", "circle", "gamma_beta", "momentum", "neighbors", "training"]
