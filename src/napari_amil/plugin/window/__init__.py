"""What every panel is made of: forms, jobs, theme, and the child process behind them."""
