"""The SQLite schema, as the migrations that make it. Append; never edit what has been released.

Tables refer to one another by integer keys; the 24-hex ids are for the outside. Passage ids,
collection keys and removals are numbered by the one row of ``sequence``.
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE sequence (last INTEGER NOT NULL)",
        "INSERT INTO sequence VALUES (0)",
        """CREATE TABLE datasets (
            key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE, intro TEXT NOT NULL,
            model_name TEXT NOT NULL, model_dim INTEGER NOT NULL, model_fingerprint TEXT NOT NULL,
            created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL)""",
        """CREATE TABLE collections (
            key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
            dataset_key INTEGER NOT NULL REFERENCES datasets ON DELETE CASCADE,
            name TEXT NOT NULL, tags TEXT NOT NULL, forbid INTEGER NOT NULL,
            created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL)""",
        "CREATE INDEX collections_by_dataset ON collections (dataset_key, name)",
        """CREATE TABLE records (
            key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
            collection_key INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE,
            q TEXT NOT NULL, a TEXT NOT NULL, chunk_index INTEGER NOT NULL, tokens INTEGER NOT NULL,
            content_hash BLOB NOT NULL, updated_ms INTEGER NOT NULL)""",
        "CREATE UNIQUE INDEX records_by_content ON records (collection_key, content_hash)",
        "CREATE INDEX records_by_collection ON records (collection_key, key)",
        """CREATE TABLE passages (
            id INTEGER PRIMARY KEY,
            record_key INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,
            collection_key INTEGER NOT NULL, dataset_key INTEGER NOT NULL,
            text TEXT NOT NULL, is_default INTEGER NOT NULL, embedding BLOB NOT NULL)""",
        "CREATE INDEX passages_by_record ON passages (record_key)",
        "CREATE INDEX passages_by_dataset ON passages (dataset_key, id)",
        """CREATE TABLE removals (
            seq INTEGER PRIMARY KEY, passage_id INTEGER NOT NULL,
            dataset_key INTEGER NOT NULL REFERENCES datasets ON DELETE CASCADE)""",
        "CREATE INDEX removals_by_dataset ON removals (dataset_key, seq)",
        """CREATE TABLE documents (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL,
            grouped_by TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (kind, id))""",
        "CREATE INDEX documents_by_group ON documents (kind, grouped_by, seq)",
    ),
    ("CREATE INDEX collections_forbidden ON collections (dataset_key) WHERE forbid = 1",),
    (
        "ALTER TABLE records ADD COLUMN known_as TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE records ADD COLUMN title TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE records ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}'",
        "CREATE INDEX records_by_key ON records (collection_key, known_as) WHERE known_as != ''",
        "ALTER TABLE passages ADD COLUMN start INTEGER NOT NULL DEFAULT 0",
    ),
    (
        "ALTER TABLE datasets ADD COLUMN parent_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE datasets ADD COLUMN avatar TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE datasets ADD COLUMN is_deleted INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX datasets_deleted ON datasets (key) WHERE is_deleted = 1",
        # Not among the datasets: names of those are unique.
        """CREATE TABLE folders (
            key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, intro TEXT NOT NULL,
            model_name TEXT NOT NULL, model_dim INTEGER NOT NULL, model_fingerprint TEXT NOT NULL,
            created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL,
            parent_id TEXT NOT NULL, avatar TEXT NOT NULL)""",
        "ALTER TABLE collections ADD COLUMN parent_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE collections ADD COLUMN kind TEXT NOT NULL DEFAULT 'virtual'",
        "ALTER TABLE collections ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}'",
        "CREATE INDEX collections_by_parent ON collections (dataset_key, parent_id, key)",
    ),
    (
        "ALTER TABLE datasets ADD COLUMN edition INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE passages ADD COLUMN edition INTEGER NOT NULL DEFAULT 0",
        "DROP INDEX passages_by_dataset",
        "CREATE INDEX passages_by_edition ON passages (dataset_key, edition, id)",
        """CREATE TABLE editions (
            dataset_key INTEGER PRIMARY KEY REFERENCES datasets ON DELETE CASCADE, edition INTEGER NOT NULL,
            model_name TEXT NOT NULL, model_dim INTEGER NOT NULL, model_fingerprint TEXT NOT NULL,
            is_former INTEGER NOT NULL)""",
    ),
)
