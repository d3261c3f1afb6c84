"""The data sets, a file each: how their files are read, how poses on them are scored and handed in."""
