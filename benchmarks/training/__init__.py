"""What sharing, packing and caching save in training, against the plain way of doing the same work."""
