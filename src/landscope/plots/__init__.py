"""Interactive figures of results; nothing is computed here but lines through given numbers."""

from landscope.plots.controls import *  # noqa: F403
from landscope.plots.landscape import *  # noqa: F403
from landscope.plots.noise import *  # noqa: F403
from landscope.plots.style import as_html as as_html
