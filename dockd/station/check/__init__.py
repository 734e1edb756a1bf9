"""The doctor: looks a station over without changing anything, and says what to mend."""
