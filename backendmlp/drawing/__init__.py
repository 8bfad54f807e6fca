"""The drawing behind :mod:`backendmlp.plots`; importing this imports matplotlib.

Every function returns a figure of its own: no pyplot, no windows, no state.  Colours are of Okabe
and Ito's palette or of colour maps that colour-blind readers can tell apart.  Without ``titles``
a figure says nothing that a caption below it would say better.
"""

from backendmlp.drawing.answers import confusion, mistakes, predictions, short
from backendmlp.drawing.course import ACCURACY, R2, curves
from backendmlp.drawing.kinds import kinds
from backendmlp.drawing.units import HIDDEN, OUTPUT, hidden_units

__all__ = [
    "ACCURACY",
    "HIDDEN",
    "OUTPUT",
    "R2",
    "confusion",
    "curves",
    "hidden_units",
    "kinds",
    "mistakes",
    "predictions",
    "short",
]
