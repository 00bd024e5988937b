"""The demo: a small memory service on an embedded PostgreSQL server, monitored by nanospan.

``nanospan.demo.session.run`` runs the demo and requires the ``demo`` extra. The modules
``nanospan.demo.corpus``, ``.embedding`` and ``.database`` can be imported without that extra.
"""
