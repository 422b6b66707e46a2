"""The IPython side: loading and unloading, the magics, Tab completion.

Each magic parses its line and calls its module in `commands`.
"""
