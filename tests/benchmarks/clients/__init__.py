"""The clients, each a program: ``python -m tests.benchmarks.clients.bare '{"kind": "flood", …}'`` prints one JSON line."""
