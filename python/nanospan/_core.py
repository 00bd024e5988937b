"""Fallback that is imported if the compiled core is missing, to explain what to install."""

raise ImportError(
    "the compiled part of nanospan is missing for this interpreter; install a wheel for it, or run "
    "`make install` in a checkout"
)
