"""Today's code against yesterday's call."""
