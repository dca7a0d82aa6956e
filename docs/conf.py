"""How Sphinx builds the site: ``make docs``."""

import sys
from pathlib import Path

from landscope import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "landscope"
author = "the landscope developers"
copyright = author  # noqa: A001 (Sphinx reads this name)
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "commands",
    "gallery",
    "mathml",
    "public_names",
    "settings_table",
    "study_results",
]
exclude_patterns = ["_build", "_ext", "notebooks/.ipynb_checkpoints"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
nitpicky = True
# Types of other libraries: their own sites are not asked, as the site is built without a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(jaxtyping|torch|collections|pathlib|plotly|numpy|xarray|pydantic|typing|abc)\..*"),
    (r"py:.*", r"Tensor|go\.Figure"),
]
# Tables that a command wrote begin with the heading of a part.
suppress_warnings = ["myst.header"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
maximum_signature_line_length = 88

pygments_style = "friendly"
pygments_dark_style = "github-dark"

html_theme = "furo"
html_title = "landscope"
html_static_path = ["_static"]
html_css_files = ["landscope.css"]
html_js_files = [("keyboard.js", {"defer": "defer"})]
html_show_sourcelink = False
html_show_sphinx = False
html_copy_source = False
html_math_renderer = "mathml"
