"""Fuzz targets for everything in nanospan that reads foreign bytes, and programs to run them.

``python -m nanospan_fuzz`` runs all targets, including those of the Rust crates; see
``CONTRIBUTING.md``.
"""
