"""Full-text search: BM25 over tantivy, with an analysis for Chinese and English."""
