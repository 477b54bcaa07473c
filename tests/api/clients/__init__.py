"""Clients that others wrote, against a running server, with nothing done to them."""
