"""Tools for data of one's own: python -m src.data_tools.convert, check, draw, sigmas (docs/own_data.md)."""
