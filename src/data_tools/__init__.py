"""Tools for the user's own data: python -m src.data_tools.convert, check, draw, sigmas (docs/own_data.md)."""
