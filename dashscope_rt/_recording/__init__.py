"""Recordings as files: the format, and what is taken out of them. It knows nothing of sessions."""
