"""Stand-ins for two modules of MemFuse, which its own code and tests can use unchanged.

Each replaces one file of MemFuse, whose two lines then put the stand-in in the module's place, so
that a test that patches a name in the old module patches the name that is used here:

```python
import sys, nanospan.compat.memfuse.performance_monitor
sys.modules[__name__] = nanospan.compat.memfuse.performance_monitor
```

New code uses ``nanospan`` and ``nanospan.pool``, which these modules share all state with.
"""
