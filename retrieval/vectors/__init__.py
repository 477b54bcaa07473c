"""Similarity search over the passages of a dataset.

- :mod:`.codes` vectors by position: the exact scan and the graph (HNSW), the one module with FAISS
- :mod:`.part` codes with passage ids, collection labels and marks on what is removed
- :mod:`.index` a dataset's index: a sealed part and a flat part for what came after
- :mod:`.snapshot` sealed parts as files

An index is derived: it can be thrown away and made again from the store without embedding anything.
"""
