"""Reports as single HTML pages: what a network gets wrong and where; and the parts that every page of ours shares."""
