"""HTTP paths, a file for each noun."""
