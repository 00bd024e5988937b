"""Track the work of other frameworks, with an independent module for each."""
