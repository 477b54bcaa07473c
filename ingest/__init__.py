"""Files in, records out. Start at :func:`ingest.jobs.import_file`."""
