"""The data sets, one module each: how their files are read, and how poses are evaluated and written for submission."""
