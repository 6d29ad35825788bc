"""Benchmarks of training methods that really ran: suites, their jobs, and the leaderboard."""
