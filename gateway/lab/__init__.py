"""What stands in for the world: the rehearsal model, the rehearsal caller and their scripts."""
