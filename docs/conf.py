"""How Sphinx builds the site: ``make docs``. Sources are the Markdown pages where they lie, README included."""

from importlib.metadata import version as version_of

project = "hcal_root_ad"
author = "The hcal_root_ad authors"
copyright = "The hcal_root_ad authors, BSD-3-Clause"
version = release = version_of("hcal-root-ad")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# The source folder is the repository, so that links are the same here as where the code is read.
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "harvesters/README.md", "models/**.md"]
html_theme = "furo"
html_title = "hcal_root_ad"
html_copy_source = False

myst_heading_anchors = 4
# The notebook among the pages is run again each time; what goes wrong in it stops the site.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_number_source_lines = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
# Types stand in the signature; in the list, ``np.bool_`` would be read as a link.
napoleon_attr_annotations = False
napoleon_use_rtype = False
