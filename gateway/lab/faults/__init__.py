"""Everything that can go wrong, as data, and where it strikes."""
