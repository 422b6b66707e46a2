"""What each magic does, in one module per magic.

These modules connect the engine, which reports progress, to the front end, which draws it.
"""
