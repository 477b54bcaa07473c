"""Files in, records out. Start at :func:`ingest.imports.import_file`."""
