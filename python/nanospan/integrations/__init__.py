"""Integrations with web frameworks; each module can be used without the others."""
