"""Imported instead of the compiled core only where that is missing, to say what to install."""

raise ImportError(
    "the compiled part of nanospan is missing for this interpreter; install a wheel for it, or run "
    "`make install` in a checkout"
)
