"""The systems under evaluation, a module for each family; :mod:`studies.evaluate.registry` lists them."""
