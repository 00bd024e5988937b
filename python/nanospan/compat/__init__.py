"""Stand-ins for modules of other projects that this package replaces."""
