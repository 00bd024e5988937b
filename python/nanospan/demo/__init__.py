"""The demo: a small memory service on an embedded PostgreSQL, monitored by nanospan.

``nanospan.demo.session.run`` runs the demo and needs the extra ``demo``. The modules
``nanospan.demo.corpus``, ``.embedding`` and ``.database`` can be imported without it.
"""
