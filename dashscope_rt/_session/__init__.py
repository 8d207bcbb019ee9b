"""The inside of a session: one connection's life, its state, its callbacks, and how a question is put."""
