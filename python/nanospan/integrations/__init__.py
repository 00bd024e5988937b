"""Tracking what other frameworks do; each module stands by itself."""
