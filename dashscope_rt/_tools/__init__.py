"""The inside of tools: hints to schema, docstrings, arguments in, results out. Pure; the public reads `tools`."""
