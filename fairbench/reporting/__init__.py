"""Tables, plots, the HTML report, the gate and the leaderboard: functions of finished runs, rebuilt without torch."""
