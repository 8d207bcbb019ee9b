"""The client's guarantees, judged by a peer that does exactly what a test tells it."""
