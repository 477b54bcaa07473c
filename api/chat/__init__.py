"""The chat layer: search, prompt, answer, and the four shapes it goes out in."""
