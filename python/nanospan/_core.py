"""Fallback for a missing compiled core: raise an ImportError that says what to install."""

raise ImportError(
    "nanospan's compiled module is missing for this Python interpreter; install a wheel built "
    "for this interpreter, or run `make install` in a checkout"
)
