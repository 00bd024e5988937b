"""Integrations with other frameworks, each in an independent module."""
