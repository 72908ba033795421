"""Networks timed side by side, each in a process of its own and in turns with the others."""
