"""Training: one loop for every method, its recipe, schedules, validation per class, selection and exact resume."""
