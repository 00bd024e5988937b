"""Stands in for the compiled core where it is missing; Python prefers the compiled one."""

raise ImportError(
    "the compiled part of nanospan is missing for this interpreter; install a wheel for it, or run "
    "`make install` in a checkout"
)
