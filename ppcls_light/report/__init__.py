"""Tables and pictures of trainings and evaluations."""
