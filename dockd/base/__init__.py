"""What everything stands on: errors, time, tasks, settings, the log."""
