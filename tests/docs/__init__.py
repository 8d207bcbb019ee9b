"""The documentation: every block of code runs, every flow happens, every command exists, every page is built."""
