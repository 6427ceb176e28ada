"""What a call leaves behind."""
