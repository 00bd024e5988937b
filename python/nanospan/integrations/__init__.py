"""Integrations with web frameworks; each module can be used independently."""
