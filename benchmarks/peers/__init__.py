"""Other systems beside the project, on the same data and machine: ``python -m benchmarks peers``.

Each peer is a module of its own that runs in a virtual environment of its own, with the exact packages of
``locks/``; none is a dependency of the project. What a peer is measured with, and why its author would
agree, is said at the head of its module, and goes from there into benchmarks/README.md.
"""
