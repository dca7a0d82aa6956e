"""Interactive figures of results; they draw given numbers and compute nothing else."""

from landscope.plots.against_flatness import *  # noqa: F403
from landscope.plots.between import *  # noqa: F403
from landscope.plots.controls import *  # noqa: F403
from landscope.plots.edge import *  # noqa: F403
from landscope.plots.fields import *  # noqa: F403
from landscope.plots.invariant import *  # noqa: F403
from landscope.plots.landscape import *  # noqa: F403
from landscope.plots.noise import *  # noqa: F403
from landscope.plots.noise_scale import *  # noqa: F403
from landscope.plots.over_training import *  # noqa: F403
from landscope.plots.plane import *  # noqa: F403
from landscope.plots.registry import *  # noqa: F403
from landscope.plots.response import *  # noqa: F403
from landscope.plots.run_limit import *  # noqa: F403
from landscope.plots.spectra import *  # noqa: F403
from landscope.plots.style import as_html as as_html
from landscope.plots.temperature import *  # noqa: F403
from landscope.plots.text import *  # noqa: F403
from landscope.plots.window_limit import *  # noqa: F403
