"""Commands of those who maintain the tutorials."""
