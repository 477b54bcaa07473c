"""Measurements of quotebase, each a command: ``python -m benchmarks quality | embedding``.

Nothing imports this package. Every report has the same shape: what ran, on what, what came out.
"""
