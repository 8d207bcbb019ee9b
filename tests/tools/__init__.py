"""Functions the model may call, and MCP servers."""
