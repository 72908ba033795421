"""Protection against hostile image files: header checks, and limits on size, scans, memory and time."""
