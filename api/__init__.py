"""The wire: HTTP in FastGPT's form, the chat layer, and the command line."""
