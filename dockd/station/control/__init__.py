"""How people and programs see a running station, and tell it what to do."""
