"""The retrieval engine: records in, scored quotes out.

Knows nothing of files, HTTP or benchmarks. Start at :class:`retrieval.library.Library`.
"""
