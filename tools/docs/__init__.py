"""What of docs/ is written from the code, and the pictures there; not in the wheel."""
