"""The demo: a small memory service on an embedded PostgreSQL, seen through perfuse.

It needs the extra `demo`. Importing `perfuse.demo`, `perfuse.demo.corpus`, `.embedding` and
`.database` does not: what they need beyond the standard library they look for when it is used.
`perfuse.demo.session.run` is the whole demo.
"""
