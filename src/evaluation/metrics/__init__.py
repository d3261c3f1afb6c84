"""The numbers of the published protocols."""
