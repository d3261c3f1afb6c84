"""The numbers of the published protocols, of results and ground truth."""
