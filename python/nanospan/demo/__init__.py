"""The demo: a small memory service on an embedded PostgreSQL, seen through nanospan.

It needs the extra `demo`. Importing `nanospan.demo`, `nanospan.demo.corpus`, `.embedding` and
`.database` does not: what they need beyond the standard library they look for when it is used.
`nanospan.demo.session.run` is the whole demo.
"""
