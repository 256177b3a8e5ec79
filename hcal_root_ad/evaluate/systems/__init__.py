"""The systems under evaluation, a module for each family; :mod:`hcal_root_ad.evaluate.registry` lists them."""
