"""Pictures, videos and cameras as frames; drawn pictures, videos and tables of results."""
